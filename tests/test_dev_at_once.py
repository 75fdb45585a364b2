"""Several dev.py commands started at the same time on a fresh tree: real processes, a real venv and pip, and
a small package to install."""

import fcntl
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support_kill import until

DEV = Path(__file__).resolve().parent.parent / "dev.py"

PATIENCE = 200
"""Seconds. No result: only how long a machine may be busy with other things before a test gives up."""

PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "sparsemod"
version = "0"
"""
BACKEND = """
import shutil

def build_editable(folder, config_settings=None, metadata_directory=None):
    shutil.copy("editable/sparsemod-0-py3-none-any.whl", folder)
    return "sparsemod-0-py3-none-any.whl"
"""
TINY = """
import sys

def main():
    print("tiny", *sys.argv[1:])
"""


def write_wheel(folder: Path, name: str, files: dict[str, str], scripts: str = "") -> None:
    info = f"{name}-0.dist-info"
    members = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 0\nProvides-Extra: dev\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": scripts,
    }
    members[f"{info}/RECORD"] = "".join(f"{member},,\n" for member in [*members, f"{info}/RECORD"])
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}-0-py3-none-any.whl", "w") as archive:
        for member, text in members.items():
            archive.writestr(member, text)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A checkout with the real dev.py and a project without requirements; the build tools are empty wheels."""
    tree = tmp_path / "tree"
    tree.mkdir()
    shutil.copy(DEV, tree)
    for name, text in {"pyproject.toml": PYPROJECT, "backend.py": BACKEND, "tiny.py": TINY}.items():
        (tree / name).write_text(text)
    (tree / "constraints.txt").write_text("hatchling==0\neditables==0\n")
    scripts = "[console_scripts]\nsparsemod = tiny:main\n"
    write_wheel(tree / "editable", "sparsemod", {"sparsemod.pth": f"{tree}\n"}, scripts)
    for name in ("hatchling", "editables"):
        write_wheel(tree / "wheels", name, {f"{name}.py": ""})
    return tree


@pytest.mark.long
def test_commands_at_once_on_a_fresh_tree(tree: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    environment |= {
        "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tree / "wheels"), "PIP_CONFIG_FILE": os.devnull,
        "SPARSEMOD_VENV": "", "SPARSEMOD_NO_UV": "1", "SHELL": "/bin/sh",
    }  # fmt: skip
    commands = [["demo", "--now"], ["shell", "-c", "sparsemod from a shell"], ["demo", "again"]]
    logs = [tree / f"{number}.log" for number in range(len(commands))]
    with (tree / ".venv.lock").open("w") as lock:
        # Hold the lock while they start, so that all of them wait for it when it is released.
        fcntl.flock(lock, fcntl.LOCK_EX)
        processes = []
        for command, log in zip(commands, logs, strict=True):
            with log.open("w") as errors:
                process = subprocess.Popen(
                    [sys.executable, tree / "dev.py", *command],
                    stdout=subprocess.PIPE, stderr=errors, env=environment, text=True,
                )  # fmt: skip
            processes.append(process)
        try:
            until(lambda: all("waiting for it" in log.read_text() for log in logs), PATIENCE, "all to wait")
            fcntl.flock(lock, fcntl.LOCK_UN)
            printed = [process.communicate(timeout=PATIENCE)[0] for process in processes]
        finally:
            for process in processes:
                process.kill()
    said = "".join(log.read_text() for log in logs)
    assert [process.returncode for process in processes] == [0, 0, 0], said
    assert printed == ["tiny demo --now\n", "tiny from a shell\n", "tiny demo again\n"]
    for words in (f"creating {tree / '.venv'}", "installing the requirements", "environment ready"):
        assert said.count(words) == 1, said
