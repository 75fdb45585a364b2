"""A serial line: raw bytes, eight bits, no parity, over termios (Linux and macOS), with a time limit for each line of text."""

import contextlib
import os
import select
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from sparsemod.errors import BoardError, EnvironmentFailure, InvalidInput

_PATTERNS = ("ttyACM*", "ttyUSB*", "serial/by-id/*", "cu.usb*")


class SerialLine:
    """An open port. `timeout`: seconds without a byte until `lines` raises BoardError.

    Raises InvalidInput for a port that does not exist or cannot be opened, or an unknown baud rate.
    """

    def __init__(self, port: str, baud: int, timeout: float) -> None:
        try:
            import termios
            import tty
        except ImportError:
            raise EnvironmentFailure("serial lines need termios, which Linux and macOS have") from None
        speed = getattr(termios, f"B{baud}", None)
        if speed is None:
            known = sorted(int(name[1:]) for name in dir(termios) if name[0] == "B" and name[1:].isdigit())
            raise InvalidInput("--baud", baud, f"one of {', '.join(map(str, known[1:]))}")
        self.port, self.timeout = port, timeout
        try:
            self._file = os.open(port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        except OSError as error:
            raise InvalidInput("--port", port, f"a serial port ({error.strerror}); {_ports()}") from None
        try:
            tty.setraw(self._file)
            settings = termios.tcgetattr(self._file)
            settings[2] |= termios.CLOCAL | termios.CREAD
            settings[4] = settings[5] = speed
            termios.tcsetattr(self._file, termios.TCSANOW, settings)
            termios.tcflush(self._file, termios.TCIOFLUSH)
        except termios.error as error:
            os.close(self._file)
            raise InvalidInput("--port", port, f"a serial port ({error.args[-1]}); {_ports()}") from None
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the port."""
        os.close(self._file)

    def send(self, line: str) -> None:
        """Send a line. Raises BoardError when the port takes no bytes within the time limit, or is gone."""
        left = f"{line}\n".encode()
        while left:
            if not select.select([], [self._file], [], self.timeout)[1]:
                raise BoardError(f"{self.port}: the port took no bytes within {self.timeout:g} s")
            with self._translated():
                left = left[os.write(self._file, left) :]

    def lines(self) -> Iterator[bytes]:
        """Yield the lines that arrive. Raises BoardError when no byte arrives within the time limit, or the port is gone."""
        while True:
            line, found, rest = self._rest.partition(b"\n")
            if found:
                self._rest = rest
                yield line.strip()
                continue
            if not select.select([self._file], [], [], self.timeout)[0]:
                seen = f" (it sent {self._rest[:40]!r})" if self._rest else ""
                raise BoardError(f"{self.port}: no answer within {self.timeout:g} s{seen}")
            with self._translated():
                self._rest += os.read(self._file, 65536)

    def drain(self, quiet: float) -> bytes:
        """Read until the line is quiet for `quiet` seconds, at most for the time limit; return what was read."""
        read, self._rest = self._rest, b""
        ends = time.monotonic() + self.timeout
        while time.monotonic() < ends and select.select([self._file], [], [], quiet)[0]:
            try:
                found = os.read(self._file, 65536)
            except OSError:
                break
            if not found:
                break
            read += found
        return read

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except BlockingIOError:
            time.sleep(0.005)
        except OSError as error:
            raise BoardError(f"{self.port}: the port is gone ({error.strerror})") from error


def _ports() -> str:
    found = sorted(str(path) for pattern in _PATTERNS for path in Path("/dev").glob(pattern))
    return f"ports here: {', '.join(found)}" if found else "this machine has no USB serial port now"
