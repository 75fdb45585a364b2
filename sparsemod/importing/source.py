"""A model file in memory, and the limits that a file must keep."""

from dataclasses import dataclass
from pathlib import Path

from sparsemod.errors import InvalidInput, NotFound

MB = 1 << 20
MOST_BYTES = 256 * MB
MOST_ELEMENTS = 1 << 26
"""Elements of one tensor: 64 Mi, more than the memory of any device here by far."""
MOST_OPERATORS = 20_000
RANK = 8


@dataclass(frozen=True)
class Source:
    """A file: its `name` for messages, its content, and the folder of files that belong to it (None: it must stand alone)."""

    name: str
    content: bytes
    folder: Path | None = None

    @property
    def by(self) -> str:
        """The reading of this file, as the subject of an error."""
        return f"reading {self.name}"

    @classmethod
    def of(cls, path: Path, most: int = MOST_BYTES) -> "Source":
        """Read a file. Raises NotFound, InvalidInput for a file that is too large."""
        if not path.is_file():
            raise NotFound("model file", str(path))
        size = path.stat().st_size
        if size > most:
            raise InvalidInput("model file", f"{path.name}, {size:,} bytes", f"at most {most:,} bytes")
        return cls(path.name, path.read_bytes(), path.resolve().parent)

    def broken(self, what: object, layer: str = "", operator: str = "") -> InvalidInput:
        """Return the error of a file that does not hold what its format promises."""
        place = f"layer {layer!r} ({operator})" if layer else "model"
        return InvalidInput(
            place, what if isinstance(what, str) else str(what), "a complete model file", self.name
        )

    def beside(self, name: str) -> bytes:
        """Return the content of a file that this one names. Raises InvalidInput outside the folder, or for a large file."""
        if self.folder is None:
            raise InvalidInput(
                "external data", name, "no other files: save the model with its weights inside", self.name
            )
        path = (self.folder / name).resolve()
        if not path.is_relative_to(self.folder.resolve()) or not path.is_file():
            raise InvalidInput("external data", name, f"a file in the folder of {self.name}", self.name)
        return Source.of(path).content


def checked_shape(sizes: object, source: Source, what: str) -> tuple[int, ...]:
    """Return a shape of whole numbers. Raises InvalidInput for sizes below 0, many axes, or too many elements."""
    import math

    shape = tuple(int(size) for size in sizes)  # type: ignore[attr-defined]
    if len(shape) > RANK or any(size < 0 for size in shape) or math.prod(shape) > MOST_ELEMENTS:
        allowed = f"at most {RANK} axes and {MOST_ELEMENTS:,} elements"
        raise InvalidInput(f"shape of {what}", shape, allowed, source.name)
    return shape
