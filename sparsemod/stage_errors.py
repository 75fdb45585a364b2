"""Turn exceptions of foreign code inside a pipeline stage into errors of the network under test."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sparsemod.errors import BuildError, SparsemodError

_LIBRARIES = ("site-packages", "dist-packages")


@contextmanager
def stage_errors(stage: str) -> Iterator[None]:
    """Convert a foreign exception in the block into a BuildError with stage, type and place (file and line).

    The error then fails the network under test and not the whole run. SparsemodError, MemoryError, other
    out-of-memory errors and OSError (such as a full disk) pass unchanged.
    """
    try:
        yield
    except (SparsemodError, MemoryError, OSError):
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        message = str(error).strip().splitlines()
        text = f"{type(error).__name__}: {message[0]}" if message else type(error).__name__
        raise BuildError(f"{stage} raised {text} ({place_of(error)})") from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error or its cause reports exhausted memory of the machine or of a GPU.

    torch's allocators raise RuntimeErrors, so their message decides.
    """
    if error.__cause__ is not None and is_out_of_memory(error.__cause__):
        return True
    if isinstance(error, MemoryError):
        return True
    kinds = {kind.__name__ for kind in type(error).__mro__}
    phrases = ("out of memory", "can't allocate memory")
    return "OutOfMemoryError" in kinds or (
        isinstance(error, RuntimeError) and any(phrase in str(error) for phrase in phrases)
    )


def place_of(error: BaseException) -> str:
    """Return file and line of the exception: the deepest frame in the user's code or in sparsemod."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = str(Path(__file__).parent)
    users_frame = next(
        (
            frame
            for frame in reversed(frames)
            if frame.filename.startswith(ours) or not any(part in frame.filename for part in _LIBRARIES)
        ),
        frames[-1] if frames else None,
    )
    return f"{Path(users_frame.filename).name}, line {users_frame.lineno}" if users_frame else "place unknown"


def type_name(value: object) -> str:
    """Return the type's name, after its top-level package unless it is built in: `torch.DataLoader`."""
    kind = type(value)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__.split('.')[0]}."
    return f"{module}{kind.__name__}"
