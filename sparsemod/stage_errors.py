"""Exceptions of other code inside a stage that judges one network, as errors of that network."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sparsemod.errors import BuildError, SparsemodError

_LIBRARIES = ("site-packages", "dist-packages")


@contextmanager
def stage_errors(stage: str) -> Iterator[None]:
    """Within it an exception that is not ours leaves as a BuildError that names the stage, the type, and the place (file and line).

    So it fails the network under test, not the run around it. What the machine lacks (memory, OSErrors such as a full disk) leaves as it is:
    it says nothing about the network.
    """
    try:
        yield
    except (SparsemodError, MemoryError, OSError):
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        words = str(error).strip().splitlines()
        text = f"{type(error).__name__}: {words[0]}" if words else type(error).__name__
        raise BuildError(f"{stage} raised {text} ({place_of(error)})") from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory, of the machine or of a GPU, was too small: for the error or its cause. torch's allocators raise RuntimeErrors."""
    if error.__cause__ is not None and is_out_of_memory(error.__cause__):
        return True
    if isinstance(error, MemoryError):
        return True
    kinds = {kind.__name__ for kind in type(error).__mro__}
    words = ("out of memory", "can't allocate memory")
    return "OutOfMemoryError" in kinds or (
        isinstance(error, RuntimeError) and any(part in str(error) for part in words)
    )


def place_of(error: BaseException) -> str:
    """File and line where the exception was raised: the deepest frame that is the user's or sparsemod's."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = str(Path(__file__).parent)
    chosen = next(
        (
            frame
            for frame in reversed(frames)
            if frame.filename.startswith(ours) or not any(part in frame.filename for part in _LIBRARIES)
        ),
        frames[-1] if frames else None,
    )
    return f"{Path(chosen.filename).name}, line {chosen.lineno}" if chosen else "place unknown"


def type_name(value: object) -> str:
    """The value's type as a sentence names it: `a torch.utils.data.DataLoader`."""
    kind = type(value)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__.split('.')[0]}."
    return f"{module}{kind.__name__}"
