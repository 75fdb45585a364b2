"""Boards: an emulated machine whose serial line is a pseudo-terminal, and a real board on a serial port."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sparsemod.board.firmware import Firmware
from sparsemod.board.image import build_image
from sparsemod.board.project import write_network
from sparsemod.board.serial_line import SerialLine
from sparsemod.board.session import Identity, Session
from sparsemod.emulator import machine
from sparsemod.emulator.toolchain import require, versions
from sparsemod.errors import BoardError, DoesNotFit
from sparsemod.files import scratch

TIMEOUT = 10.0
"""Default seconds without a byte until a board counts as silent."""
START_SECONDS = 20.0
"""Seconds in which a board must start after it was loaded."""
_PTY = re.compile(r"redirected to (\S+)")

UNITS = {
    "dwt": "cycles",
    "systick": "cycles",
    "mcycle": "cycles",
    "minstret": "instructions",
    "zephyr": "ticks",
}
"""Counter of the firmware -> unit of what it counts."""


@dataclass(frozen=True)
class Time:
    """How ticks of the firmware's counter become a number: divided by `per_unit`, in `unit`. `provenance`: what counted, as a phrase.

    `hertz`: units per second, 0 where unknown."""

    unit: str
    per_unit: float
    provenance: str
    hertz: float


class Board(Protocol):
    """Something that runs a firmware and answers over a serial line."""

    @property
    def core(self) -> str:
        """The core whose kernels the firmware has."""

    @property
    def title(self) -> str:
        """The board and where it is, as a phrase."""

    @property
    def most_golden(self) -> int | None:
        """The most bytes of golden vectors in its flash, where known."""

    def run(self, firmware: Firmware) -> AbstractContextManager[tuple[Session, Identity]]:
        """Load the firmware, open the line and identify it, for the time of a `with` block."""

    def time(self, identity: Identity) -> Time:
        """Return what the firmware's counter counts."""


class QemuBoard:
    """An emulated machine as a board: QEMU with its serial line on a pseudo-terminal.

    `timeout`: seconds without a byte until it counts as silent; `start`: seconds in which it must start. `image`: an ELF file to run in place of the firmware, for tests of boards with other firmware. Raises UnknownName for a core without a
    machine, ToolsMissing with the Debian packages.
    """

    def __init__(
        self,
        core: str = "cortex-m4",
        *,
        timeout: float = TIMEOUT,
        start: float = START_SECONDS,
        image: Path | None = None,
    ) -> None:
        self.machine = machine(core)
        require(core)
        self.timeout, self.start, self.image = timeout, start, image

    @property
    def core(self) -> str:
        """The machine's core."""
        return self.machine.core

    @property
    def title(self) -> str:
        """QEMU, the machine and the line."""
        return (
            f"{versions(self.machine.architecture)[1]} {self.machine.board}, serial line on a pseudo-terminal"
        )

    @property
    def most_golden(self) -> int | None:
        """Half of the machine's read-only memory."""
        return self.machine.rom_bytes // 2

    @contextmanager
    def run(self, firmware: Firmware) -> Iterator[tuple[Session, Identity]]:
        """Build the firmware, start QEMU, open the line, and end QEMU afterwards. Raises BoardError, DoesNotFit, EmulationError."""
        with scratch("sparsemod-board-") as folder:
            elf = self.image or build_image(firmware, self.machine, folder)
            architecture = self.machine.architecture
            command = [
                architecture.qemu, "-M", self.machine.board, *self.machine.options, "-display", "none", "-monitor", "none", "-parallel", "none",
                "-icount", f"shift={architecture.counter.shift},sleep=off", "-serial", "pty", "-kernel", str(elf),
            ]  # fmt: skip
            with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:  # fmt: skip
                try:
                    with SerialLine(_pseudo_terminal(process), 115200, self.timeout) as line:
                        session = Session(line)
                        yield session, session.identify(firmware, str(elf), self.start)
                finally:
                    process.kill()

    def time(self, identity: Identity) -> Time:
        """QEMU's counters count instructions."""
        counter = self.machine.architecture.counter
        return Time(
            "instructions",
            counter.per_instruction(self.machine.clock),
            f"{identity.counter} of {self.title}: QEMU counts instructions, not cycles",
            0.0,
        )


class SerialBoard:
    """A real board on a serial port, with a project whose folder `network` belongs to sparsemod.

    `load`: a shell command that builds and flashes the project, run in its folder; "" when you do both yourself. `core`: the core of its
    kernels. `flash`: bytes, where known.
    """

    def __init__(
        self,
        port: str,
        core: str,
        *,
        baud: int = 115200,
        timeout: float = TIMEOUT,
        project: Path | None = None,
        load: str = "",
        flash: int | None = None,
    ) -> None:
        self.port, self._core, self.baud, self.timeout = port, core, baud, timeout
        self.project, self.load, self.flash = project, load, flash

    @property
    def core(self) -> str:
        """The core whose kernels the firmware has."""
        return self._core

    @property
    def title(self) -> str:
        """The port and the baud rate."""
        return f"the board on {self.port} ({self.baud} baud)"

    @property
    def most_golden(self) -> int | None:
        """Half of the flash, where it is known."""
        return None if self.flash is None else self.flash // 2

    @contextmanager
    def run(self, firmware: Firmware) -> Iterator[tuple[Session, Identity]]:
        """Write the network into the project, run the load command, and open the line. Raises BoardError, InvalidInput."""
        if self.load and self.project is not None:
            write_network(firmware, self.project)
            _load(self.load, self.project)
        where = (
            f"the project in {self.project}"
            if self.project is not None
            else "the firmware that --project writes"
        )
        with SerialLine(self.port, self.baud, self.timeout) as line:
            session = Session(line)
            yield session, session.identify(firmware, where, START_SECONDS if self.load else 0.0)

    def time(self, identity: Identity) -> Time:
        """Return what the firmware's counter counts."""
        unit = UNITS.get(identity.counter, "ticks")
        rate = f" at {identity.hertz / 1e6:g} MHz" if identity.hertz else ""
        return Time(unit, 1.0, f"{identity.counter} counter of {self.title}{rate}", float(identity.hertz))


def _pseudo_terminal(process: "subprocess.Popen[str]") -> str:
    """Return the path of QEMU's pseudo-terminal. Raises BoardError when QEMU ends before it names one."""
    seen = []
    for line in process.stdout or ():
        found = _PTY.search(line)
        if found:
            return found.group(1)
        seen.append(line.strip())
    raise BoardError(f"QEMU ended without a serial line: {' '.join(seen)[-300:] or 'no message'}")


def _load(command: str, folder: Path) -> None:
    """Run the user's command that builds and flashes. Raises BoardError with its last lines, DoesNotFit when its linker says so."""
    done = subprocess.run(
        command, shell=True, cwd=folder, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode == 0:
        return
    output = (done.stdout + done.stderr).strip()
    over = re.search(r"region `(\w+)' overflowed by (\d+)", output)
    if over:
        raise DoesNotFit(over.group(1), int(over.group(2)), "the board")
    raise BoardError(
        f"--load {command!r} ended with status {done.returncode}: {output[-500:] or 'no output'}"
    )
