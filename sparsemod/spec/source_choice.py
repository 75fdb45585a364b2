"""The spec's `source`: a registered candidate source, chosen by name, and its form in earlier specs."""

from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict

from sparsemod.errors import InvalidInput, UnknownName
from sparsemod.sources.base import SOURCES, Round, Source, SourceConfig, SourceContext
from sparsemod.space.space import Space
from sparsemod.spec.translation import validated

DEFAULT = "search"

Path = tuple[str, ...]


class UnknownSource(SourceConfig):
    """A source that this process does not have, kept unchanged.

    A client may read and submit the spec of a server that has the source.
    """

    model_config = ConfigDict(extra="allow")

    def create(self, context: SourceContext) -> Source:
        """Raise UnknownName."""
        raise UnknownName("source.name", self.name, SOURCES.names())

    def plan(self) -> tuple[Round, ...]:
        """Return no rounds, because they are unknown."""
        return ()

    def check(self, space: Space) -> None:
        """Raise UnknownName."""
        raise UnknownName("source.name", self.name, SOURCES.names())


def source_from(data: Any) -> SourceConfig:
    """Return the config of a source from plain data.

    Return an UnknownSource when no source of that name is registered here. Raises InvalidInput.
    """
    if isinstance(data, SourceConfig):
        return data
    if not isinstance(data, Mapping):
        raise InvalidInput("source", data, "a mapping with `name` and the settings of that source")
    name = data.get("name")
    if not isinstance(name, str):
        raise InvalidInput("source.name", name, f"one of {', '.join(SOURCES.names())}")
    member = SOURCES.get(name) if name in SOURCES.names() else UnknownSource
    return validated(member, data, "source")


def moves(data: Mapping[str, Any]) -> dict[str, tuple[str, Path]]:
    """Return the top-level keys of an earlier spec -> the source that owns them, and their place now.

    Raises InvalidInput when the spec has both `source` and one of them.
    """
    moved: dict[str, tuple[str, Path]] = {}
    for name in SOURCES.names():
        for key, place in SOURCES.get(name).top_level.items():
            if key in data:
                moved[key] = (name, ("source", place) if place else ("source",))
    for key in moved:
        if "source" in data:
            raise InvalidInput(
                key, data[key], "left out: `source` holds the settings of the candidate source"
            )
    return moved


def current(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return `data` with the keys of an earlier format moved under `source`. Raises InvalidInput."""
    moved = moves(data)
    result = {key: value for key, value in data.items() if key not in moved}
    for key, (name, place) in moved.items():
        source = result.setdefault("source", {"name": name})
        if len(place) > 1:
            source[place[1]] = data[key]
        elif isinstance(data[key], Mapping):
            source.update(data[key])
        else:
            raise InvalidInput(key, data[key], "a mapping")
    return result
