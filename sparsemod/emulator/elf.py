"""Sizes of sections and functions of a linked 32-bit little-endian ELF file."""

import struct
from pathlib import Path

from sparsemod.errors import InvalidInput

_FUNCTION = 2  # the type of a function's symbol


def section_sizes(path: Path) -> dict[str, int]:
    """Return section name -> bytes. Raises InvalidInput for other files."""
    data, headers, start = _sections(path)
    return {_text(data, start + header[0]): header[5] for header in headers}


def function_sizes(path: Path) -> dict[str, int]:
    """Return function -> bytes of its code and of the constants within it, together with the parts that the compiler split off.

    Raises InvalidInput for other files."""
    data, headers, start = _sections(path)
    tables = [header for header in headers if _text(data, start + header[0]) == ".symtab"]
    found: dict[str, int] = {}
    for header in tables:
        names = headers[header[6]][4]
        for place in range(header[4], header[4] + header[5], 16):
            name, _, size, kind = struct.unpack_from("<3IB", data, place)
            if kind & 15 == _FUNCTION:
                function = _text(data, names + name).partition(".")[0]
                found[function] = found.get(function, 0) + size
    return found


def _sections(path: Path) -> tuple[bytes, list[tuple[int, ...]], int]:
    """Return the content, the headers of the sections and the place of their names."""
    data = path.read_bytes()
    if data[:6] != b"\x7fELF\x01\x01":
        raise InvalidInput("ELF file", str(path), "32 bits, little endian")
    (table,) = struct.unpack_from("<I", data, 32)
    width, count, names = struct.unpack_from("<3H", data, 46)
    headers = [struct.unpack_from("<10I", data, table + width * index) for index in range(count)]
    return data, headers, headers[names][4]


def _text(data: bytes, start: int) -> str:
    return data[start : data.index(b"\0", start)].decode()
