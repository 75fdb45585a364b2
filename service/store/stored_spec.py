"""Stored specs that may not validate any more, after an update of the program, a restored backup or an edit
of the database.

An invalid spec affects its own experiment only. The experiment can be shown, stopped, exported and mended.
Operations that need the whole spec (suggestions, claims, extensions) are refused with the reason.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sparsemod.errors import Conflict, InvalidInput, InvalidSpec
from sparsemod.spec.experiment import ExperimentSpec

UNREADABLE = "unreadable"
"""Name of the dataset or the family when the stored spec has no valid one."""

_MOST_REPAIRS = 100


class StoredSpecInvalid(Conflict):
    """The stored spec of `experiment` does not validate. `mistake` is the first reason."""

    def __init__(self, experiment: int, mistake: str) -> None:
        self.experiment, self.mistake = experiment, mistake
        super().__init__(
            f"the stored spec of experiment {experiment} is not valid: {mistake}; `sparsemod mend {experiment} SPEC` replaces it"
        )


@dataclass(frozen=True)
class StoredSpec:
    """A parsed stored spec.

    `error` is None when it is valid; otherwise `spec` has defaults in place of the invalid parts.
    """

    data: Any
    spec: ExperimentSpec
    error: InvalidInput | None = None

    @cached_property
    def json(self) -> str:
        """The spec as in the answer to a claim."""
        return self.spec.model_dump_json()


def read_stored(data: Any) -> StoredSpec:
    """Parse `data`. Raise nothing: `error` describes what does not validate."""
    try:
        return StoredSpec(data, ExperimentSpec.stored(data))
    except InvalidInput as error:
        return StoredSpec(data, _readable(data), error)
    except Exception as error:  # noqa: BLE001 - the database may hold data of any shape
        reason = InvalidSpec("spec", data, f"a valid spec ({type(error).__name__}: {error})")
        return StoredSpec(data, _readable(None), reason)


def _readable(data: Any) -> ExperimentSpec:
    """Parse `data` with defaults in place of the invalid parts."""
    names: dict[str, Any] = {"dataset": {"name": UNREADABLE}, "network": {"family": UNREADABLE}}
    readable: dict[str, Any] = copy.deepcopy(dict(data)) if isinstance(data, Mapping) else {}
    for _ in range(_MOST_REPAIRS):
        try:
            return ExperimentSpec.stored(readable)
        except InvalidInput as error:
            if not _remove(readable, error.field):
                missing = {name: part for name, part in names.items() if name not in readable}
                if not missing:
                    break
                readable |= missing
        except Exception:  # noqa: BLE001
            break
    return ExperimentSpec.stored(names)


def _remove(data: dict[str, Any], field: str) -> bool:
    """Remove the innermost part of `data` on the dotted path `field`. Return whether there was one."""
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
