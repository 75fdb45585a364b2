"""docker/Dockerfile without an engine: the copied files exist and suffice, the base image is pinned, and the
user is unprivileged."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from shutil import copy, copytree, ignore_patterns

from support_compose import DOCKERFILE, ROOT, SERVICES_USER, copied, instructions

STEPS = instructions()
KNOWN = {"ARG", "FROM", "ENV", "RUN", "WORKDIR", "COPY", "USER", "EXPOSE", "ENTRYPOINT", "CMD"}


def test_every_instruction_is_one() -> None:
    assert {step.name for step in STEPS} <= KNOWN
    # Before the first FROM only ARG may stand.
    assert {step.name for step in STEPS if step.stage == 0} == {"ARG"}


def test_the_base_image_is_pinned() -> None:
    defaults = dict(step.text.split("=", 1) for step in STEPS if step.name == "ARG" and step.stage == 0)
    bases = [step.words[0] for step in STEPS if step.name == "FROM"]
    assert bases == ["${PYTHON_IMAGE}"] * 2, "both stages: the environment's interpreter is the base's"
    found = re.fullmatch(r"python:(\d+\.\d+)\.\d+-slim-[a-z]+@sha256:[0-9a-f]{64}", defaults["PYTHON_IMAGE"])
    assert found
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == f">={found[1]}"


def test_packages_come_in_the_pinned_versions() -> None:
    installs = [step.text for step in STEPS if step.name == "RUN" and "pip install" in step.text]
    assert len(installs) == 3
    for text in installs:
        assert text.count("pip install") == text.count("pip install -c constraints.txt")
    assert "--no-build-isolation" in installs[-1], "else the build's own requirements would be unpinned"
    assert re.search(r"^torch==", (ROOT / "constraints.txt").read_text(), flags=re.MULTILINE)


def test_torch_comes_from_pytorchs_index() -> None:
    (declared,) = [step.text for step in STEPS if step.name == "ARG" and step.text.startswith("TORCH_INDEX")]
    assert declared == "TORCH_INDEX=https://download.pytorch.org/whl/cpu"
    hosts = set(re.findall(r"https?://([^/\s]+)", DOCKERFILE.read_text()))
    assert hosts == {"download.pytorch.org"}


def test_it_runs_as_an_unprivileged_user() -> None:
    last = max(step.stage for step in STEPS)
    users = [step.text for step in STEPS if step.name == "USER"]
    assert users == [SERVICES_USER]
    user, group = users[0].split(":")
    (made,) = [step.text for step in STEPS if "useradd" in step.text]
    assert f"--uid {user} " in made and f"--gid {group} " in made and int(user) >= 1000
    after = [step for step in STEPS[[step.name for step in STEPS].index("USER") :] if step.stage == last]
    assert {step.name for step in after} <= {"USER", "WORKDIR", "EXPOSE", "ENTRYPOINT", "CMD"}


def test_it_starts_a_command_of_the_package() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    (entry,) = [step.text for step in STEPS if step.name == "ENTRYPOINT"]
    assert entry == '["sparsemod"]' and "sparsemod" in scripts
    (folder,) = {step.words[-1] for step in STEPS if step.name == "COPY" and "--from=build" in step.text}
    paths = [word for step in STEPS if step.name == "ENV" for word in step.words if word.startswith("PATH=")]
    assert paths == [f"PATH={folder}/bin:$PATH"] * 2


def test_only_copied_files_are_in_the_build_context() -> None:
    assert all((ROOT / name).exists() for name in copied())
    rules = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert rules[0] == "*"
    assert sorted(rule[1:] for rule in rules if rule.startswith("!")) == sorted(copied())


def test_the_copied_files_build_the_package(tmp_path: Path) -> None:
    for name in copied():
        source = ROOT / name
        if source.is_dir():
            copytree(source, tmp_path / name, ignore=ignore_patterns("__pycache__"))
        else:
            copy(source, tmp_path / name)
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    for package in ("sparsemod", "service"):
        for path in (ROOT / package).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert str(path.relative_to(ROOT)) in inside
