"""Check for and call the programs that the emulator needs, from Debian packages."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from sparsemod.emulator.architectures import ARM, Architecture
from sparsemod.errors import DoesNotFit, EmulationError, ToolsMissing

_OVERFLOW = "overflowed by "


def available(core: str = "cortex-m4") -> str | None:
    """Return None if networks can be emulated here, else a sentence.

    It names the missing programs and the command that installs them.
    """
    from sparsemod.emulator.machines import machine

    return _missing(os.environ.get("PATH", ""), machine(core).architecture)


@cache
def _missing(path: str, architecture: Architecture = ARM) -> str | None:
    programs = dict(architecture.packages)
    absent = [program for program in programs if shutil.which(program, path=path) is None]
    packages = {programs[program] for program in absent}
    title, library = architecture.library
    if not absent and not _has_library(architecture):
        absent, packages = [f"the compiler's C library ({title})"], {library}
    if not absent:
        return None
    if architecture.gcc in absent:
        packages.add(library)
    return f"no emulated device: {', '.join(absent)} missing; apt-get install {' '.join(sorted(packages))}"


def _has_library(architecture: Architecture) -> bool:
    command = [architecture.gcc, f"-print-file-name={architecture.probe}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # If the compiler does not find the file, it prints the bare name.
    return done.returncode == 0 and os.path.isabs(done.stdout.strip())


def require(core: str) -> None:
    """Raise ToolsMissing, with the sentence of `available`, when programs are missing."""
    missing = available(core)
    if missing is not None:
        raise ToolsMissing(missing)


@cache
def versions(architecture: Architecture = ARM) -> tuple[str, str]:
    """Return the versions of compiler and QEMU, such as "GCC 12.2.1" and "QEMU 7.2.22"."""
    gcc = _output([architecture.gcc, "-dumpfullversion"])
    qemu = _output([architecture.qemu, "--version"]).split("version ")[-1].split()[0]
    return f"GCC {gcc.strip()}", f"QEMU {qemu}"


def _output(command: Sequence[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def compile_c(
    arguments: Sequence[str], folder: Path, seconds: float = 120.0, architecture: Architecture = ARM
) -> None:
    """Run the compiler in `folder`.

    Raises DoesNotFit when a memory region is too small, else EmulationError with the first errors.
    """
    done = call([architecture.gcc, *arguments], folder, seconds)
    if done.returncode == 0:
        return
    lines = done.stderr.splitlines()
    for line in lines:
        if _OVERFLOW in line:
            region = line.split("region `")[-1].split("'")[0]
            raise DoesNotFit(region, int(line.split(_OVERFLOW)[1].split()[0]))
    errors = [line for line in lines if "error" in line or "undefined" in line] or lines[:1]
    raise EmulationError(f"compiler: {'; '.join(errors[:3]) or f'exit status {done.returncode}'}")


def call(command: Sequence[str], folder: Path, seconds: float) -> "subprocess.CompletedProcess[str]":
    """Run a program with a time limit in seconds.

    Raises EmulationError when it exceeds the limit or cannot start.
    """
    try:
        return subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise EmulationError(f"{command[0]} did not end within {seconds:g} s") from None
    except OSError as error:
        raise EmulationError(f"{command[0]}: {error}") from error
