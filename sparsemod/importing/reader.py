"""The registry of model formats, and what reading a file returns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sparsemod.errors import InvalidInput, SparsemodError, Unsupported
from sparsemod.importing.source import Source
from sparsemod.layouts import Shape
from sparsemod.registry import Registry
from sparsemod.stage_errors import is_out_of_memory

if TYPE_CHECKING:
    from torch import nn

    from sparsemod.quantization.integer_network import IntegerNetwork


@dataclass(frozen=True, eq=False)
class Imported:
    """A model that was read: a float `module`, or of an int8 file the integer `network`.

    `title` names the format: "ONNX, int8". `shape` is that of one sample, channels first. `channels_last`: the file's own
    images are (H, W, C). `notes` are remarks for the user.
    """

    name: str
    title: str
    shape: Shape
    module: "nn.Module | None" = None
    network: "IntegerNetwork | None" = None
    channels_last: bool = False
    notes: tuple[str, ...] = ()


class Reader:
    """A model format. The first sentence of the class's description is its title."""

    suffixes: ClassVar[tuple[str, ...]] = ()
    imports: ClassVar[bool] = False
    """Whether the model is Python code, which only commands on this machine import."""

    def recognizes(self, content: bytes) -> bool:
        """Return whether the first bytes of a file may belong to the format."""
        return True

    def read(self, source: Source, shape: Shape | None = None) -> Imported:
        """Read a model. `shape`: of one sample, where the file does not state it.

        Raises InvalidInput for a broken file, Unsupported with all unsupported operators, ToolsMissing.
        """
        raise NotImplementedError


READERS: Registry[type[Reader]] = Registry(
    "model format", "sparsemod.model_readers", builtin=("sparsemod.importing.readers @READERS",)
)


def formats() -> dict[str, str]:
    """Return suffix -> name of the format."""
    return {suffix: name for name in READERS.names() for suffix in READERS.get(name).suffixes}


def read_model(source: Source, shape: Sequence[int] | None = None) -> Imported:
    """Read a model file by its suffix.

    Raises InvalidInput for another suffix or a broken file, Unsupported with all unsupported operators, ToolsMissing.
    """
    known = formats()
    suffix = "." + source.name.rpartition(".")[2].lower()
    if suffix not in known:
        raise InvalidInput("model file", source.name, f"a file that ends in {', '.join(sorted(known))}")
    reader = READERS.get(known[suffix])()
    try:
        return reader.read(source, None if shape is None else tuple(shape))
    except Unsupported as error:
        if source.name in str(error):
            raise
        raise Unsupported(
            error.operator,
            error.layer,
            source.by,
            error.supported,
            error.hint,
            place=error.place,
            others=error.others,
        ) from error
    except InvalidInput as error:
        raise error if error.source else error.at(source=source.name) from error
    except (SparsemodError, OSError):
        raise
    except Exception as error:
        # The content of a file may be anything, and so may be what parsers raise.
        if is_out_of_memory(error):
            raise
        words = (str(error).strip().splitlines() or [""])[0]
        raise source.broken(f"{type(error).__name__}: {words}".rstrip(": ")) from error
