"""Failures of the machine, as opposed to failures of a candidate.

Examples are a full disk, missing data, a missing package or module, and a lost GPU. Another machine, or the
same machine later, may evaluate the candidate. Such a failure uses no attempt and is never recorded as a
trial's result.
"""

import errno
from collections.abc import Iterator

from sparsemod.errors import (
    DataMissing,
    DigestMismatch,
    EnvironmentFailure,
    ServerUnavailable,
    ToolsMissing,
    UnknownName,
)
from sparsemod.spec.methods import FAMILIES

_PLACE_ERRNO = frozenset(
    {
        errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.EIO, errno.ENODEV, errno.ESTALE, errno.EHOSTDOWN,
    }
)  # fmt: skip
"""Numbers of an OSError: no space, quota exceeded, read-only, too many open files, a lost disk or mount."""

_PLACE_NAMES = frozenset(
    {
        "network.family", "dataset.name", "target.device", "source.name", "pipeline",
        *(f"{family.path}.{family.key}" for family in FAMILIES.values()),
    }
)  # fmt: skip
"""Fields of a spec with names that must be registered on the machine."""

_GPU_GONE = (
    "No CUDA GPUs are available",
    "no CUDA-capable device",
    "busy or unavailable",
    "CUDA driver version",
    "CUDA driver initialization failed",
    "NVIDIA driver",
    "uncorrectable ECC",
    "GPU is lost",
    "not compiled with CUDA",
)
"""Parts of torch's messages about an unusable GPU.

An out-of-memory GPU is not among them: a smaller candidate may fit.
"""


def environment_failure(error: BaseException) -> EnvironmentFailure | None:
    """Return the EnvironmentFailure that `error` or one of its causes stands for, else None."""
    for cause in _chain(error):
        if isinstance(cause, EnvironmentFailure):
            return cause
        if isinstance(cause, OSError) and cause.errno in _PLACE_ERRNO:
            file_name = f": {cause.filename}" if cause.filename else ""
            return EnvironmentFailure(f"{cause.strerror}{file_name}", whole=True)
        if isinstance(cause, RuntimeError) and any(words in str(cause) for words in _GPU_GONE):
            return EnvironmentFailure(" ".join(str(cause).split()), whole=True)
        if isinstance(cause, DataMissing | DigestMismatch | ToolsMissing | ServerUnavailable):
            return EnvironmentFailure(str(cause))
        if isinstance(cause, UnknownName) and _is_plugin_field(cause.field):
            return EnvironmentFailure(str(cause))
        if isinstance(cause, ImportError):
            return EnvironmentFailure(f"{type(cause).__name__}: {cause}")
    return None


def _is_plugin_field(field: str) -> bool:
    return field in _PLACE_NAMES or field.startswith("pipeline.")


def data_failure(error: BaseException) -> EnvironmentFailure | None:
    """Return the EnvironmentFailure for an error while data were loaded.

    Here every refusal of the system (no such file, no connection) is the machine's failure.
    """
    failure = environment_failure(error)
    if failure is None and any(isinstance(cause, OSError) for cause in _chain(error)):
        return EnvironmentFailure(str(error))
    return failure


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error, its cause, the cause of that, and so on."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
