#!/usr/bin/env python3
"""Create the development environment and run a command in it.

    python3 dev.py demo              a small search on this machine, from the first trial to the Pareto front
    python3 dev.py test [-- ARGS]    every check, then the tests; ARGS go to pytest
    python3 dev.py check             only ruff, mypy, the import contracts and the documentation
    python3 dev.py rooms [--files]   the rooms of the code: lines, imports between them, cycles
    python3 dev.py shell             a shell with `sparsemod`, `worker`, `pytest`, ... on its PATH

The first command creates `.venv` (or the folder named by SPARSEMOD_VENV) with the versions of constraints.txt. Later
commands update it when pyproject.toml or constraints.txt change, and recreate it when it is broken. Several commands
may run at once. pip's settings (PIP_INDEX_URL, PIP_FIND_LINKS, pip.conf, ...) apply, also to uv, which installs the
packages where it is available (SPARSEMOD_NO_UV=1 uses pip instead).

This file and tools/ use only the standard library, because they run before anything is installed.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent
OLDEST = (3, 11)

# Debian packages that the tests need and PyPI does not have; installed only in CI, as root, when missing.
APT_PACKAGES: tuple[str, ...] = (
    "chromium",
    "cmake",
    "g++",
    "gcc-arm-none-eabi",
    "gcc-riscv64-unknown-elf",
    "libnewlib-arm-none-eabi",
    "make",
    "openssl",
    "picolibc-riscv64-unknown-elf",
    "qemu-system-arm",
    "qemu-system-misc",
    "qemu-user",
)


class DevError(Exception):
    """Error that ends a command; the message says what to do."""


def say(text: str) -> None:
    """Print a progress line to stderr; stdout belongs to the command."""
    print(f"dev.py: {text}", file=sys.stderr, flush=True)


# ---- the environment -------------------------------------------------------------------------------------


def venv_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of the environment: SPARSEMOD_VENV, or `.venv` beside this file."""
    folder = environ.get("SPARSEMOD_VENV", "")
    return Path(folder).expanduser().absolute() if folder else ROOT / ".venv"


def fingerprint(root: Path = ROOT) -> str:
    """Return a digest of everything the environment depends on: two files, the interpreter, the checkout's path."""
    digest = hashlib.sha256()
    for name in ("pyproject.toml", "constraints.txt"):
        digest.update((root / name).read_bytes())
    digest.update(f"{sys.version_info[:3]} {root}".encode())
    return digest.hexdigest()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock while the environment is inspected or changed; the system releases it on a kill."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another dev.py is preparing the environment; waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def works(venv: Path) -> bool:
    """Return True when the environment's interpreter starts, has this interpreter's version, and has pip."""
    python = venv / "bin" / "python"
    if not python.exists():
        return False
    code = f"import sys, pip; sys.exit(sys.version_info[:2] != {tuple(sys.version_info[:2])})"
    return subprocess.run([python, "-c", code], check=False, capture_output=True).returncode == 0


def ensure_venv() -> Path:
    """Return the folder of an environment with this checkout and its pinned requirements; create it if needed.

    Raises:
        DevError: The environment cannot be created. The message gives the reason and what to do.
    """
    venv = venv_folder()
    stamp, unfinished = venv / ".sparsemod-stamp", venv / ".sparsemod-unfinished"
    wanted = fingerprint()
    with locked(venv.with_name(venv.name + ".lock")):
        if stamp.exists() and stamp.read_text() == wanted and (venv / "bin" / "python").exists():
            return venv
        if venv.exists() and (unfinished.exists() or not works(venv)):
            remove_broken(venv)
        started = time.monotonic()
        if not venv.exists():
            say(f"creating {venv}")
            make_venv(venv)
        # Remove the old stamp first: after a kill from here on, the environment must not pass for complete.
        stamp.unlink(missing_ok=True)
        unfinished.touch()
        try:
            install(venv)
        except DevError:
            # pip rolls back a failed installation itself; only a killed one must leave the mark.
            unfinished.unlink(missing_ok=True)
            raise
        unfinished.unlink()
        stamp.write_text(wanted)
        say(f"environment ready after {time.monotonic() - started:.0f} s")
    return venv


def remove_broken(venv: Path) -> None:
    """Delete a broken environment. Raise DevError for a folder that is not an environment."""
    if (
        any(venv.iterdir())
        and not (venv / "pyvenv.cfg").exists()
        and not (venv / ".sparsemod-unfinished").exists()
    ):
        raise DevError(
            f"{venv} is neither a virtual environment nor empty: set SPARSEMOD_VENV to another folder"
        )
    say(f"{venv} is broken or incomplete; recreating it")
    shutil.rmtree(venv)


def make_venv(venv: Path) -> None:
    """Create an empty environment with pip in it."""
    venv.mkdir(parents=True)
    (venv / ".sparsemod-unfinished").touch()
    done = subprocess.run(
        [sys.executable, "-m", "venv", venv], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        shutil.rmtree(venv, ignore_errors=True)
        raise DevError(
            f"{sys.executable} -m venv failed:\n{done.stdout}\n"
            "On Debian and Ubuntu: apt-get install python3-venv; then run the command again."
        )


def pip_settings(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return pip's settings from its files and environment variables: option (`find-links`, ...) -> value."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], check=False, capture_output=True, text=True
    )
    settings: dict[str, str] = {}
    for line in listed.stdout.splitlines():
        key, _, value = line.partition("=")
        section, _, option = key.partition(".")
        if section in {"global", "install"} and option:
            settings[option] = str(ast.literal_eval(value.strip()))  # pip prints a Python literal
    for name, value in environ.items():
        if name.startswith("PIP_") and value:
            settings[name.removeprefix("PIP_").lower().replace("_", "-")] = value
    return settings


def uv_command(uv: str, python: Path, settings: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """Return `uv pip install` with pip's settings, and the environment variables that it needs in addition."""
    # pip takes the best version of all indexes. uv must do the same, or it does not find the pinned versions.
    command = [
        uv,
        "--quiet",
        "pip",
        "install",
        "--python",
        str(python),
        "--index-strategy",
        "unsafe-best-match",
    ]
    for option in ("index-url", "extra-index-url", "find-links"):
        for value in settings.get(option, "").split():
            command += [f"--{option}", value]
    if settings.get("no-index", "").lower() in {"1", "true", "yes", "on"}:
        command.append("--no-index")
    certificates = settings.get("cert", "")
    return command, {"SSL_CERT_FILE": certificates} if certificates else {}


def install(venv: Path) -> None:
    """Install the pinned requirements and this checkout (editable).

    Install the build backend first and turn isolation off, so that constraints.txt pins every version. Raise DevError
    when neither uv nor pip succeeds.
    """
    python = venv / "bin" / "python"
    pins = ["-c", str(ROOT / "constraints.txt")]
    steps = [
        [*pins, "hatchling", "editables"],
        [*pins, "--no-build-isolation", "-e", f"{ROOT}[dev]"],
    ]
    tools: list[tuple[str, list[str], dict[str, str]]] = []
    uv = shutil.which("uv")
    if uv and not os.environ.get("SPARSEMOD_NO_UV"):
        tools.append(("uv", *uv_command(uv, python, pip_settings())))
    quiet = ["-qq", "--disable-pip-version-check"]  # errors only
    tools.append(("pip", [str(python), "-m", "pip", "install", *quiet], {}))
    for number, (name, command, extra) in enumerate(tools, 1):
        say(f"installing the requirements with {name} (minutes the first time; torch is the large one)")
        environment = os.environ | extra
        done = (subprocess.run([*command, *step], env=environment, cwd=ROOT, check=False) for step in steps)
        if all(step.returncode == 0 for step in done):
            return
        if number < len(tools):
            say(f"{name} failed; trying {tools[number][0]}")
    raise DevError(
        "the requirements could not be installed; see pip's message above.\n"
        "  - no network, or the index does not answer: see `pip config list`, set PIP_INDEX_URL or PIP_FIND_LINKS\n"
        "  - no space: torch needs about 1 GB in its CPU build, 6 GB in its default one\n"
        f"Then run the command again; it continues where it stopped. To start from scratch, delete {venv}."
    )


def apt_packages(environ: Mapping[str, str] = os.environ) -> None:
    """Install the missing APT_PACKAGES; do nothing unless this is CI, on a Debian system, as root.

    Raises:
        DevError: apt-get failed.
    """
    if environ.get("CI", "").lower() not in {"1", "true"} or os.geteuid() != 0 or not shutil.which("apt-get"):
        return
    missing = [
        name
        for name in APT_PACKAGES
        if subprocess.run(["dpkg", "-s", name], check=False, capture_output=True).returncode
    ]
    if not missing:
        return
    say(f"installing Debian packages: {' '.join(missing)}")
    quiet = {**environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", *missing]):
        if subprocess.run(
            ["apt-get", "-q", *command], env=quiet, stdout=subprocess.DEVNULL, check=False
        ).returncode:
            raise DevError(f"apt-get {' '.join(command)} failed; see its message above")


# ---- the commands ----------------------------------------------------------------------------------------


def inside(venv: Path) -> dict[str, str]:
    """Return the environment variables for a process in the virtual environment."""
    variables = dict(os.environ)
    variables["VIRTUAL_ENV"] = str(venv)
    variables["PATH"] = f"{venv / 'bin'}{os.pathsep}{variables.get('PATH', os.defpath)}"
    variables.pop("PYTHONHOME", None)
    return variables


def become(command: Sequence[str], variables: Mapping[str, str]) -> int:
    """Replace this process by the command, so that the command receives signals and sets the exit code."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execvpe(command[0], list(command), dict(variables))


def static_checks(venv: Path) -> list[str]:
    """Run the static checks of tools/checks.py and return the names of failed ones."""
    from tools.checks import run_checks

    return run_checks(ROOT, venv, inside(venv))


def command_demo(arguments: Sequence[str]) -> int:
    """Run `sparsemod demo`."""
    venv = ensure_venv()
    return become([str(venv / "bin" / "sparsemod"), "demo", *arguments], inside(venv))


def command_check(arguments: Sequence[str]) -> int:
    """Run the static checks."""
    if arguments:
        raise DevError(f"check takes no arguments, got {' '.join(arguments)}")
    return 1 if static_checks(ensure_venv()) else 0


def command_test(arguments: Sequence[str]) -> int:
    """Run the static checks, then the tests; pytest's summary is printed last."""
    apt_packages()
    venv = ensure_venv()
    failed = static_checks(venv)
    variables = inside(venv)
    # Two test processes may share two cores: further threads of torch would only compete with each other.
    variables.setdefault("OMP_NUM_THREADS", "1")
    # tests/conftest.py repeats the failed checks above pytest's last line, where they are seen.
    variables["SPARSEMOD_FAILED_CHECKS"] = " ".join(failed)
    command = [str(venv / "bin" / "python"), "-m", "pytest", "-n", "2", *arguments]
    if not failed:
        return become(command, variables)
    return subprocess.run(command, cwd=ROOT, env=variables, check=False).returncode or 1


def command_rooms(arguments: Sequence[str]) -> int:
    """Print the rooms of the code; this needs no environment."""
    return become([sys.executable, str(ROOT / "tools" / "rooms.py"), *arguments], os.environ)


def command_shell(arguments: Sequence[str]) -> int:
    """Start the user's shell inside the environment."""
    venv = ensure_venv()
    shell = os.environ.get("SHELL") or "/bin/sh"
    say(f"{shell} with {venv}; leave it with `exit`")
    return become([shell, *arguments], inside(venv))


COMMANDS = {
    "demo": command_demo,
    "test": command_test,
    "check": command_check,
    "rooms": command_rooms,
    "shell": command_shell,
}


def main(argv: Sequence[str]) -> int:
    """Run the command named first; pass the arguments after it, or after `--`, to the command."""
    parser = argparse.ArgumentParser(
        prog="dev.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=sorted(COMMANDS))
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="passed to the command")
    options = parser.parse_args(argv)
    arguments = options.arguments[1:] if options.arguments[:1] == ["--"] else options.arguments
    os.chdir(ROOT)
    try:
        return COMMANDS[options.command](arguments)
    except DevError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    if sys.version_info < OLDEST:
        version = ".".join(map(str, sys.version_info[:3]))
        say(f"Python {'.'.join(map(str, OLDEST))} or newer is needed, this is {version} ({sys.executable})")
        say("run it with a newer one, for example: python3.11 dev.py demo")
        sys.exit(1)
    sys.exit(main(sys.argv[1:]))
