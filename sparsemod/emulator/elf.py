"""Section sizes of a linked 32-bit little-endian ELF file."""

import struct
from pathlib import Path

from sparsemod.errors import InvalidInput


def section_sizes(path: Path) -> dict[str, int]:
    """Return section name -> bytes. Raises InvalidInput for other files."""
    data = path.read_bytes()
    if data[:6] != b"\x7fELF\x01\x01":
        raise InvalidInput("ELF file", str(path), "32 bits, little endian")
    (table,) = struct.unpack_from("<I", data, 32)
    width, count, names = struct.unpack_from("<3H", data, 46)
    headers = [struct.unpack_from("<10I", data, table + width * index) for index in range(count)]
    start = headers[names][4]

    def name(offset: int) -> str:
        return data[start + offset : data.index(b"\0", start + offset)].decode()

    return {name(header[0]): header[5] for header in headers}
