"""The dialogue with the firmware: one command, some lines with checksums, and a last line."""

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparsemod.board.firmware import VERSION, Firmware
from sparsemod.board.serial_line import SerialLine
from sparsemod.errors import BoardError

_TRIES = 3
_QUIET = 0.2
_STARTING = 1.0
"""Seconds of silence until a board that may still start is asked again."""


@dataclass(frozen=True)
class Identity:
    """What a firmware says about itself; `hertz` of its counter, 0 where it does not know."""

    digest: str
    layers: int
    samples: int
    counter: str
    hertz: int


@dataclass(frozen=True)
class Compared:
    """A layer as the firmware compared it: number of elements that differ (1 where it has only checksums), the first one, and the CRC-32."""

    differing: int
    first: int
    expected: int
    found: int
    checksum: int


class Session:
    """A dialogue over an open line."""

    def __init__(self, line: SerialLine) -> None:
        self.line = line
        self._number, self._last = 0, b""

    def identify(self, wanted: Firmware, where: str, patience: float = 0.0) -> Identity:
        """Ask what runs on the board. `where`: the firmware that should, for messages. `patience`: seconds until the board must have started.

        Raises BoardError when nothing or something else answers, or the firmware of another network."""
        ends, whole = time.monotonic() + patience, self.line.timeout
        while True:
            # A board that starts may lose a command: ask again soon.
            last = time.monotonic() > ends
            self.line.timeout = whole if last else min(whole, _STARTING)
            try:
                rows = self._ask("I 0 0", f"flash {where}")
                break
            except BoardError:
                if last:
                    raise
            finally:
                self.line.timeout = whole
        words = rows[0][1:] if len(rows) == 1 else []
        if len(words) != 7 or words[0] != "sparsemod":
            raise BoardError(
                f"{self.line.port} answers {' '.join(words)!r}, not as this firmware does: flash {where}"
            )
        if int(words[1]) != VERSION:
            raise BoardError(
                f"{self.line.port}: the board's firmware has version {words[1]} of the dialogue, and this release has {VERSION}: flash {where}"
            )
        found = Identity(words[2], int(words[3]), int(words[4]), words[5], int(words[6]))
        if found.digest != wanted.digest:
            raise BoardError(
                f"{self.line.port}: the board runs the firmware of another network or other samples (digest {found.digest}, expected {wanted.digest}): flash {where}"
            )
        return found

    def compare(self, sample: int) -> list[Compared]:
        """Return every layer of a sample, in order of execution."""
        rows = self._ask(f"C {sample} 0")
        return [Compared(int(r[2]), int(r[3]), int(r[4]), int(r[5]), int(r[6], 16)) for r in rows]

    def output(self, sample: int, layer: int) -> NDArray[np.int8]:
        """Return the bytes of a layer's output on the board."""
        content = b"".join(bytes.fromhex(row[2]) for row in self._ask(f"V {sample} {layer}"))
        return np.frombuffer(content, np.int8)

    def ticks(self, sample: int) -> list[int]:
        """Return the ticks of every layer of a sample, without those of reading the counter."""
        rows = self._ask(f"T {sample} 0")
        overhead = int(rows[-1][1], 16)
        return [max(0, int(row[2], 16) - overhead) for row in rows[:-1]]

    def _ask(self, command: str, remedy: str = "") -> list[list[str]]:
        """Return the words of the answer's lines. Damaged answers are asked for again. Raises BoardError."""
        remedy = f"; {remedy}" if remedy else ""
        for _ in range(_TRIES):
            self._number += 1
            self.line.send(f"{command} {self._number}")
            try:
                rows = self._rows()
            except BoardError as error:
                raise BoardError(f"{error}{remedy}") from None
            if rows is not None:
                return rows
            seen = self.line.drain(_QUIET)
        raise BoardError(
            f"{self.line.port}: the answers to {command!r} are damaged or from other firmware ({seen[:40] or self._last[:40]!r}); lower --baud{remedy}"
        )

    def _rows(self) -> list[list[str]] | None:
        """Return the words of lines until the end of the last command's answer, or None when a line is damaged.

        Answers to earlier commands, which may come late, are left out."""
        rows: list[list[str]] = []
        for line in self.line.lines():
            self._last = line
            if not line:
                continue
            body, _, check = line.rpartition(b"*")
            total = 0
            for byte in body:
                total ^= byte
            if check != f"{total:02x}".encode():
                return None
            words = body.decode("ascii", "replace").split()
            if words[:1] != ["E"]:
                rows.append(words)
            elif words[1:] != [str(self._number)]:
                rows = []
            elif rows == [["?"]]:
                raise BoardError(f"{self.line.port}: the firmware does not know this command")
            else:
                return rows
        return None
