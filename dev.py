#!/usr/bin/env python3
"""Make the development environment, and run what one wants in it.

    python3 dev.py demo              a small search on this machine, from the first trial to the Pareto front
    python3 dev.py test [-- ARGS]    every check, then the tests; ARGS go to pytest
    python3 dev.py check             ruff, mypy, the import contracts and the documentation only
    python3 dev.py rooms [--files]   the rooms of the code: lines, imports between them, cycles
    python3 dev.py shell             a shell in which `sparsemod`, `worker`, `pytest`, ... are found

The first start makes `.venv` (or the folder named by SPARSEMOD_VENV) with the versions of constraints.txt. It is
brought up to date when pyproject.toml or constraints.txt change, made again when it is broken, and left alone
otherwise. Several of these commands may be started at once. pip's own settings (PIP_INDEX_URL, PIP_FIND_LINKS,
pip.conf, ...) hold, also for uv, which does the installation where it is found (SPARSEMOD_NO_UV=1 keeps to pip).

Only the standard library is used here: nothing is installed when this file is run.
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
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent
OLDEST = (3, 11)

# Debian packages that the tests need and PyPI does not carry; installed only in CI, as root, where missing.
APT_PACKAGES: tuple[str, ...] = (
    "chromium",
    "g++",
    "gcc-arm-none-eabi",
    "libnewlib-arm-none-eabi",
    "qemu-system-arm",
    "qemu-user",
)


TYPESCRIPT = "5.9.3"


class DevError(Exception):
    """What stops a command; its text says what to do."""


def say(text: str) -> None:
    """Print a line about what goes on; to stderr, so that stdout stays the command's own."""
    print(f"dev.py: {text}", file=sys.stderr, flush=True)


# ---- the environment -------------------------------------------------------------------------------------


def venv_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the environment lies: SPARSEMOD_VENV, or `.venv` beside this file."""
    named = environ.get("SPARSEMOD_VENV", "")
    return Path(named).expanduser().absolute() if named else ROOT / ".venv"


def fingerprint(root: Path = ROOT) -> str:
    """A digest of what decides the environment: two files, the interpreter, where the checkout lies."""
    digest = hashlib.sha256()
    for name in ("pyproject.toml", "constraints.txt"):
        digest.update((root / name).read_bytes())
    digest.update(f"{sys.version_info[:3]} {root}".encode())
    return digest.hexdigest()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock while the environment is looked at or changed; the system frees it on a kill."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another dev.py is preparing the environment; waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def works(venv: Path) -> bool:
    """True when the environment's interpreter starts, is the version that runs this, and has pip."""
    python = venv / "bin" / "python"
    if not python.exists():
        return False
    code = f"import sys, pip; sys.exit(sys.version_info[:2] != {tuple(sys.version_info[:2])})"
    return subprocess.run([python, "-c", code], check=False, capture_output=True).returncode == 0


def ensure_venv() -> Path:
    """Return the folder of an environment with this checkout and its pinned requirements, made if needed.

    Raises:
        DevError: It cannot be made; says why and what to do.
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
            say(f"making {venv}")
            make_venv(venv)
        # The old stamp goes first: a kill from here on leaves nothing that could be taken for a good one.
        stamp.unlink(missing_ok=True)
        unfinished.touch()
        try:
            install(venv)
        except DevError:
            # pip undoes a failed installation itself; only a killed one leaves the folder marked as no good.
            unfinished.unlink(missing_ok=True)
            raise
        unfinished.unlink()
        stamp.write_text(wanted)
        say(f"environment ready after {time.monotonic() - started:.0f} s")
    return venv


def remove_broken(venv: Path) -> None:
    """Delete an environment that does not work, but never a folder that is no environment."""
    if (
        any(venv.iterdir())
        and not (venv / "pyvenv.cfg").exists()
        and not (venv / ".sparsemod-unfinished").exists()
    ):
        raise DevError(
            f"{venv} is no virtual environment and not empty: name another folder in SPARSEMOD_VENV"
        )
    say(f"{venv} is broken or half made; making it again")
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
    """pip's settings, from its files and environment variables, by option (`find-links`, `index-url`, ...)."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], check=False, capture_output=True, text=True
    )
    settings: dict[str, str] = {}
    for line in listed.stdout.splitlines():
        key, _, value = line.partition("=")
        section, _, option = key.partition(".")
        if section in {"global", "install"} and option:
            settings[option] = str(ast.literal_eval(value.strip()))  # printed as Python writes text
    for name, value in environ.items():
        if name.startswith("PIP_") and value:
            settings[name.removeprefix("PIP_").lower().replace("_", "-")] = value
    return settings


def uv_command(uv: str, python: Path, settings: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """`uv pip install` with pip's own settings handed on, and the environment variables it needs besides."""
    # pip takes the best version of all indexes; so must uv, or the pins could not be found.
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
    """Install the pinned requirements and, editable, this checkout.

    The build backend comes first and isolation is off, so that no version is chosen outside constraints.txt.
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
            say(f"{name} could not do it; trying {tools[number][0]}")
    raise DevError(
        "the requirements could not be installed; pip's message stands above.\n"
        "  - no network, or a silent index: see `pip config list`, set PIP_INDEX_URL or PIP_FIND_LINKS\n"
        "  - no space: torch needs about 1 GB in its CPU build, 6 GB in its default one\n"
        f"Then run the command again: it goes on by itself. To start afresh, delete {venv}."
    )


def apt_packages(environ: Mapping[str, str] = os.environ) -> None:
    """In CI, as root, on a Debian system: install those of APT_PACKAGES that are missing.

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
            raise DevError(f"apt-get {' '.join(command)} failed; its message stands above")


# ---- the commands ----------------------------------------------------------------------------------------


def inside(venv: Path) -> dict[str, str]:
    """The environment variables of a process that runs in the virtual environment."""
    variables = dict(os.environ)
    variables["VIRTUAL_ENV"] = str(venv)
    variables["PATH"] = f"{venv / 'bin'}{os.pathsep}{variables.get('PATH', os.defpath)}"
    variables.pop("PYTHONHOME", None)
    return variables


def become(command: Sequence[str], variables: Mapping[str, str]) -> int:
    """Replace this process by the command, so that signals and the exit code are the command's own."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execvpe(command[0], list(command), dict(variables))


def checks(venv: Path, site: Path) -> dict[str, list[str]]:
    """The static checks by name; the documentation is built into the folder `site`."""
    tool = venv / "bin"
    return {
        "mypy": [str(tool / "mypy")],
        "docs": [str(tool / "mkdocs"), "build", "--strict", "--quiet", "--site-dir", str(site)],
        "ruff": [str(tool / "ruff"), "check", "--output-format", "concise", "."],
        "format": [str(tool / "ruff"), "format", "--check", "--output-format", "concise", "."],
        "imports": [str(tool / "lint-imports")],
    }


def page_check() -> list[str] | None:
    """The command that checks the types of the dashboard's modules; None, said in a line, where npm has no TypeScript to offer."""
    npm = shutil.which("npm")
    if npm is None:
        print("page     skipped: npm is not there", flush=True)
        return None
    tsc = [npm, "exec", "--yes", f"--package=typescript@{TYPESCRIPT}", "--", "tsc"]
    try:
        there = (
            subprocess.run([*tsc, "--version"], check=False, capture_output=True, timeout=120).returncode == 0
        )
    except subprocess.TimeoutExpired:
        there = False
    if not there:
        print("page     skipped: npm could not get TypeScript", flush=True)
        return None
    return [*tsc, "--project", str(ROOT / "service" / "dashboard" / "jsconfig.json")]


def run_checks(venv: Path) -> list[str]:
    """Run the static checks, two at a time; print the output of those that fail, and return their names."""

    def one(item: tuple[str, list[str]]) -> tuple[str, subprocess.CompletedProcess[str], float]:
        started = time.monotonic()
        done = subprocess.run(
            item[1],
            check=False,
            cwd=ROOT,
            env=inside(venv),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return item[0], done, time.monotonic() - started

    failed = []
    page = page_check()
    with tempfile.TemporaryDirectory(prefix="sparsemod-docs-") as site, ThreadPoolExecutor(2) as pool:
        for name, done, seconds in pool.map(
            one, [*checks(venv, Path(site)).items(), *([("page", page)] if page else [])]
        ):
            print(f"{name:8} {'failed' if done.returncode else 'ok'} ({seconds:.1f} s)", flush=True)
            if done.returncode:
                failed.append(name)
                print(done.stdout, flush=True)
    return failed


def command_demo(arguments: Sequence[str]) -> int:
    """Run `sparsemod demo`."""
    venv = ensure_venv()
    return become([str(venv / "bin" / "sparsemod"), "demo", *arguments], inside(venv))


def command_check(arguments: Sequence[str]) -> int:
    """Run the static checks."""
    if arguments:
        raise DevError(f"check takes no arguments, got {' '.join(arguments)}")
    return 1 if run_checks(ensure_venv()) else 0


def command_test(arguments: Sequence[str]) -> int:
    """Run the static checks, then the tests; pytest's closing summary is the last that is printed."""
    apt_packages()
    venv = ensure_venv()
    failed = run_checks(venv)
    variables = inside(venv)
    # Two test processes on, say, two cores: threads of torch's own would only get in each other's way.
    variables.setdefault("OMP_NUM_THREADS", "1")
    # tests/conftest.py repeats the failed checks above pytest's last line, where one looks.
    variables["SPARSEMOD_FAILED_CHECKS"] = " ".join(failed)
    command = [str(venv / "bin" / "python"), "-m", "pytest", "-n", "2", *arguments]
    if not failed:
        return become(command, variables)
    return subprocess.run(command, cwd=ROOT, env=variables, check=False).returncode or 1


def command_rooms(arguments: Sequence[str]) -> int:
    """Print the rooms of the code; needs no environment."""
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
    """Run the command named first; what follows it, or follows `--`, is the command's own."""
    parser = argparse.ArgumentParser(
        prog="dev.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=sorted(COMMANDS))
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="handed on to the command")
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
        found = ".".join(map(str, sys.version_info[:3]))
        say(f"Python {'.'.join(map(str, OLDEST))} or newer is needed, this is {found} ({sys.executable})")
        say("start it with a newer one, for example: python3.11 dev.py demo")
        sys.exit(1)
    sys.exit(main(sys.argv[1:]))
