"""A stored spec that may not validate any more: after an update of the program, a restored backup, an edit of the database.

Such a spec is the trouble of its own experiment. The experiment is shown, stopped, exported and mended; only what needs the whole spec
(suggestions, claims, an extension) is refused, with the reason.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sparsemod.errors import Conflict, InvalidInput, InvalidSpec
from sparsemod.spec.experiment import ExperimentSpec

UNREADABLE = "unreadable"
"""Name of the dataset or the family where the stored spec has none that can be read."""

_MOST_REPAIRS = 100


class StoredSpecInvalid(Conflict):
    """The stored spec of experiment `experiment` does not validate; `mistake` is the first reason."""

    def __init__(self, experiment: int, mistake: str) -> None:
        self.experiment, self.mistake = experiment, mistake
        super().__init__(
            f"the stored spec of experiment {experiment} is not valid: {mistake}; `sparsemod mend {experiment} SPEC` replaces it"
        )


@dataclass(frozen=True)
class StoredSpec:
    """A stored spec as it can be read. `error` is None for a valid one; else `spec` has defaults in the places that cannot be read."""

    data: Any
    spec: ExperimentSpec
    error: InvalidInput | None = None


def read_stored(data: Any) -> StoredSpec:
    """The spec in `data`. Raises nothing: what cannot be read is described by `error`."""
    try:
        return StoredSpec(data, ExperimentSpec.stored(data))
    except InvalidInput as error:
        return StoredSpec(data, _readable(data), error)
    except Exception as error:  # noqa: BLE001 - data of any shape may stand in the database
        reason = InvalidSpec("spec", data, f"a valid spec ({type(error).__name__}: {error})")
        return StoredSpec(data, _readable(None), reason)


def _readable(data: Any) -> ExperimentSpec:
    """`data` with defaults in place of everything that does not validate."""
    names: dict[str, Any] = {"dataset": {"name": UNREADABLE}, "network": {"family": UNREADABLE}}
    kept: dict[str, Any] = copy.deepcopy(dict(data)) if isinstance(data, Mapping) else {}
    for _ in range(_MOST_REPAIRS):
        try:
            return ExperimentSpec.stored(kept)
        except InvalidInput as error:
            if not _remove(kept, error.field):
                missing = {name: part for name, part in names.items() if name not in kept}
                if not missing:
                    break
                kept |= missing
        except Exception:  # noqa: BLE001
            break
    return ExperimentSpec.stored(names)


def _remove(data: dict[str, Any], field: str) -> bool:
    """Remove the innermost part of `data` that `field` (a dotted path) leads to; whether there was one."""
    holder: Any = None
    name: str | int = ""
    inner: Any = data
    for part in field.split("."):
        if isinstance(inner, dict) and part in inner:
            holder, name = inner, part
        elif isinstance(inner, list) and part.isdecimal() and int(part) < len(inner):
            holder, name = inner, int(part)
        else:
            break
        inner = holder[name]
    if holder is None:
        return False
    del holder[name]
    return True
