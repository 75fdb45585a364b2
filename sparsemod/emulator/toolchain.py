"""Check for and call the programs that the emulator needs, from Debian packages."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from sparsemod.errors import DoesNotFit, EmulationError, ToolsMissing

PACKAGES = {
    "qemu-system-arm": "qemu-system-arm",
    "arm-none-eabi-gcc": "gcc-arm-none-eabi",
    "arm-none-eabi-ar": "binutils-arm-none-eabi",
}
C_LIBRARY = "libnewlib-arm-none-eabi"
_OVERFLOW = "overflowed by "


def available(core: str = "cortex-m4") -> str | None:
    """Return None if networks can be emulated here, else a sentence.

    It names the missing programs and the command that installs them.
    """
    from sparsemod.emulator.machines import machine

    machine(core)
    return _missing(os.environ.get("PATH", ""))


@cache
def _missing(path: str) -> str | None:
    absent = [program for program in PACKAGES if shutil.which(program, path=path) is None]
    packages = {PACKAGES[program] for program in absent}
    if not absent and not _has_library():
        absent, packages = ["the compiler's C library (newlib)"], {C_LIBRARY}
    if not absent:
        return None
    if "gcc-arm-none-eabi" in packages:
        packages.add(C_LIBRARY)
    return f"no emulated device: {', '.join(absent)} missing; apt-get install {' '.join(sorted(packages))}"


def _has_library() -> bool:
    done = subprocess.run(
        ["arm-none-eabi-gcc", "-print-file-name=libc.a"], capture_output=True, text=True, check=False
    )
    # If the compiler does not find the file, it prints the bare name.
    return done.returncode == 0 and os.path.isabs(done.stdout.strip())


def require(core: str) -> None:
    """Raise ToolsMissing, with the sentence of `available`, when programs are missing."""
    missing = available(core)
    if missing is not None:
        raise ToolsMissing(missing)


@cache
def versions() -> tuple[str, str]:
    """Return the versions of compiler and QEMU, such as "GCC 12.2.1" and "QEMU 7.2.22"."""
    gcc = _output(["arm-none-eabi-gcc", "-dumpfullversion"])
    qemu = _output(["qemu-system-arm", "--version"]).split("version ")[-1].split()[0]
    return f"GCC {gcc.strip()}", f"QEMU {qemu}"


def _output(command: Sequence[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def compile_c(arguments: Sequence[str], folder: Path, seconds: float = 120.0) -> None:
    """Run the compiler in `folder`.

    Raises DoesNotFit when a memory region is too small, else EmulationError with the first errors.
    """
    done = call(["arm-none-eabi-gcc", *arguments], folder, seconds)
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
