"""dev.py: when it creates, updates or keeps the environment; locks, settings, pins, messages."""

import ast
import importlib.metadata
import importlib.util
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parent.parent


def _dev() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dev", ROOT / "dev.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


dev = _dev()


class Installations:
    """Replaces an installation, which takes minutes; `fail` makes it end like a failed pip."""

    def __init__(self) -> None:
        self.count, self.fail = 0, False

    def __call__(self, venv: Path) -> None:
        self.count += 1
        if self.fail:
            raise dev.DevError("could not be installed")


@pytest.fixture(scope="module")
def empty_venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    venv = tmp_path_factory.mktemp("made") / "env"
    dev.make_venv(venv)
    return venv


@pytest.fixture
def installations(empty_venv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installations:
    counter = Installations()
    # Copy a real environment, because creating one takes seconds.
    monkeypatch.setattr(dev, "make_venv", lambda venv: shutil.copytree(empty_venv, venv, symlinks=True))
    monkeypatch.setenv("SPARSEMOD_VENV", str(tmp_path / "env"))
    monkeypatch.setattr(dev, "install", counter)
    return counter


@pytest.mark.long
def test_an_environment_is_made_once_and_brought_up_to_date(
    installations: Installations, monkeypatch: pytest.MonkeyPatch
) -> None:
    venv = dev.ensure_venv()
    assert dev.works(venv)
    assert installations.count == 1
    assert dev.ensure_venv() == venv
    assert installations.count == 1
    (venv / "kept").touch()
    monkeypatch.setattr(dev, "fingerprint", lambda: "other requirements")
    dev.ensure_venv()
    assert installations.count == 2
    assert (venv / "kept").exists(), "an update must not throw the environment away"


def test_a_broken_environment_is_made_again(installations: Installations) -> None:
    venv = dev.ensure_venv()
    (venv / "kept").touch()
    (venv / "bin" / "python").unlink()
    dev.ensure_venv()
    assert dev.works(venv)
    assert not (venv / "kept").exists()
    # Killed in the middle of an installation: the interpreter works, the packages may be incomplete.
    (venv / ".sparsemod-stamp").unlink()
    (venv / ".sparsemod-unfinished").touch()
    (venv / "kept").touch()
    dev.ensure_venv()
    assert not (venv / "kept").exists()
    assert installations.count == 3


def test_a_failed_installation_leaves_no_stamp(installations: Installations) -> None:
    installations.fail = True
    for _ in range(2):
        with pytest.raises(dev.DevError, match="could not be installed"):
            dev.ensure_venv()
    installations.fail = False
    dev.ensure_venv()
    assert installations.count == 3


def test_a_folder_without_an_environment_is_never_deleted(
    installations: Installations, tmp_path: Path
) -> None:
    precious = tmp_path / "env" / "thesis.txt"
    precious.parent.mkdir()
    precious.write_text("all of it")
    with pytest.raises(dev.DevError, match="SPARSEMOD_VENV"):
        dev.ensure_venv()
    assert precious.read_text() == "all of it"
    assert installations.count == 0


def _hold(path: str, entered: Any) -> None:
    with dev.locked(Path(path)):
        entered.set()
        time.sleep(0.5)
        Path(path + ".done").touch()


def test_the_second_to_come_waits_for_the_first(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    entered = context.Event()
    path = tmp_path / "lock"
    process = context.Process(target=_hold, args=(str(path), entered))
    process.start()
    assert entered.wait(30)
    with dev.locked(path):
        assert Path(f"{path}.done").exists()
    process.join(30)


def test_pip_settings_come_from_its_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", "/wheels /more")
    monkeypatch.setenv("PIP_CERT", "/ca.crt")
    settings = dev.pip_settings()
    assert settings["find-links"] == "/wheels /more"
    assert settings["cert"] == "/ca.crt"


def test_pip_settings_come_from_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "pip.conf"
    file.write_text("[global]\nextra-index-url = https://one.example/simple\n  https://two.example/simple\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    assert dev.pip_settings()["extra-index-url"].split() == [
        "https://one.example/simple",
        "https://two.example/simple",
    ]


def test_uv_gets_pips_settings() -> None:
    settings = {"find-links": "/a /b", "index-url": "https://i.example", "no-index": "1", "cert": "/ca.crt"}
    command, extra = dev.uv_command("uv", Path("/env/bin/python"), settings)
    text = " ".join(command)
    assert "--python /env/bin/python" in text
    assert "--find-links /a --find-links /b" in text
    assert "--index-url https://i.example" in text
    assert "--no-index" in command
    assert extra == {"SSL_CERT_FILE": "/ca.crt"}


def test_the_fingerprint_follows_the_requirements(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_text("a")
    first = dev.fingerprint(tmp_path)
    assert first == dev.fingerprint(tmp_path)
    (tmp_path / "constraints.txt").write_text("b")
    assert first != dev.fingerprint(tmp_path)


def test_no_package_needed_means_no_apt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dev, "APT_PACKAGES", ())
    monkeypatch.setenv("PATH", "/nowhere")
    dev.apt_packages({"CI": "true"})
    dev.apt_packages({})


def test_an_older_python_can_read_the_file() -> None:
    # It is that Python which must print the message about its age.
    ast.parse((ROOT / "dev.py").read_text(), feature_version=(3, 8))


def test_failed_checks_are_named_and_their_output_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bin").mkdir()
    for name, line in {
        "mypy": "echo a type is wrong; exit 1",
        "ruff": "true",
        "mkdocs": "true",
        "lint-imports": "pwd; exit 3",
    }.items():
        program = tmp_path / "bin" / name
        program.write_text(f"#!/bin/sh\n{line}\n")
        program.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert dev.static_checks(tmp_path) == ["mypy", "imports"]
    said = capsys.readouterr().out
    assert "a type is wrong\n" in said and f"{ROOT}\n" in said and "page     skipped" in said
    assert [line.split("(")[0].strip() for line in said.splitlines() if line.endswith(" s)")] == [
        "mypy     failed", "docs     ok", "ruff     ok", "format   ok", "imports  failed",
    ]  # fmt: skip


def test_the_commands_need_nothing_but_python(tmp_path: Path) -> None:
    code = "import dev, tools.checks, tools.rooms, sys; print({m.split('.')[0] for m in sys.modules if 'site-packages' in str(getattr(sys.modules[m], '__file__', ''))})"
    found = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found.stdout == "set()\n"


@pytest.mark.parametrize(("arguments", "code"), [(["--help"], 0), (["dance"], 2), ([], 2)])
def test_the_command_line(arguments: list[str], code: int) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "dev.py", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    for command in dev.COMMANDS:
        assert command in done.stdout + done.stderr


# -- the pins --------------------------------------------------------------------------------------------------------------------


def pins() -> dict[str, str]:
    """constraints.txt as normalized name -> version."""
    found = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, _, version = line.partition("==")
            found[_normal(name)] = version
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_requirement_is_pinned_to_the_installed_version() -> None:
    pinned = pins()
    waiting = [("sparsemod", extra) for extra in ("", "dev", "docs", "bench")]
    seen = set()
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        distribution = importlib.metadata.distribution(name)
        if name != "sparsemod":
            assert pinned.get(name) == distribution.version.split("+")[0], f"{name} in constraints.txt"
        for text in distribution.requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                waiting += [(_normal(requirement.name), wanted) for wanted in ("", *requirement.extras)]


def test_every_pin_runs_on_the_first_release_of_a_python_version() -> None:
    """Debian 12 has Python 3.11.2: a pin that needs 3.11.5 makes the first command of a newcomer fail."""
    oldest = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    release = f"{oldest.removeprefix('>=')}.0"
    for distribution in importlib.metadata.distributions():
        needed = distribution.metadata["Requires-Python"]
        if needed and _normal(distribution.name) in pins():
            assert release in SpecifierSet(needed), (
                f"{distribution.name} {distribution.version} needs {needed}"
            )


def test_pins_name_no_place_and_no_build() -> None:
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        assert line.startswith("#") or re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9.!]+", line), line


def test_the_licence_is_apache_2() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text and "Version 2.0, January 2004" in text
    assert importlib.metadata.metadata("sparsemod")["License-Expression"] == "Apache-2.0"
    for path in [*(ROOT / "sparsemod").rglob("*.py"), *(ROOT / "service").rglob("*.py")]:
        assert "GNU General Public" not in path.read_text(), path


def test_continuous_integration_runs_the_tests() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    assert "dev.py test" in script.read_text()
