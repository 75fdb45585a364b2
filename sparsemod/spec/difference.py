"""The difference between two specs, in words."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from sparsemod.spec.experiment import ExperimentSpec

MOST_NAMED = 3


def difference(stored: ExperimentSpec, given: ExperimentSpec) -> str:
    """Return the keys whose values differ, with both values; empty for equal specs."""
    found = list(_differences(stored.to_dict(), given.to_dict(), ""))
    words = [f"{key} was {_shown(old)}, now {_shown(new)}" for key, old, new in found[:MOST_NAMED]]
    more = len(found) - len(words)
    return "; ".join([*words, *([f"{more} more"] if more > 0 else [])])


def _differences(old: Any, new: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from _differences(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))
    elif old != new:
        yield path, old, new


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
