"""The data of spec files before validation: the place of each key, included files, errors with their line."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sparsemod.errors import InvalidInput, InvalidSpec
from sparsemod.plugins import Names
from sparsemod.spec.config_test import TestSettings
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.spec.source_choice import current, moves
from sparsemod.yaml_text import Place, parse_yaml

YAML_SUFFIXES = (".yaml", ".yml", ".json")
CONFIG_SUFFIXES = (".cfg", ".ini")
INCLUDE = "include"
MAX_BYTES = 1_000_000
"""Largest size of one file; a spec is a page or two."""


@dataclass(frozen=True)
class Plain:
    """A file's data before validation, and the place ("file:line") of each key."""

    data: dict[str, Any]
    places: dict[Place, str] = field(default_factory=dict)

    def place(self, dotted: str) -> str | None:
        """Return the place of the key with this dotted name, or of the nearest enclosing key."""
        key: Place = tuple(int(part) if part.isdigit() else part for part in dotted.split("."))
        while key:
            if key in self.places:
                return self.places[key]
            key = key[:-1]
        return None

    def over(self, base: "Plain") -> "Plain":
        """Return these keys merged over `base`: mappings are merged key by key, other values are replaced."""
        places = {
            key: place for key, place in base.places.items() if not _replaced(key, base.data, self.data)
        }
        return Plain(_merged(base.data, self.data), places | self.places)

    def current(self) -> "Plain":
        """Return these keys in the layout of the current spec format. Raises InvalidSpec."""
        try:
            moved, data = moves(self.data), current(self.data)
        except InvalidInput as error:
            raise InvalidSpec(error.field, error.value, error.allowed, self.place(error.field)) from None
        places: dict[Place, str] = {}
        for key, place in self.places.items():
            if key and key[0] in moved:
                target = moved[str(key[0])][1]
                places.setdefault(("source",), place)
                places[(*target, *key[1:])] = place
            else:
                places[key] = place
        return Plain(data, places)


@dataclass(frozen=True)
class SpecFile:
    """A file's experiment, and the settings of SpArSeMod's `config.cfg` that do not belong to an experiment.

    `root` is the folder of results, None where the file names none. With `debug`, the errors of failed networks
    are printed; the search goes on. `device`: the torch device of `cuda_n`. `test`: the section [TEST];
    `tests`: whether the file asks for the test instead of a training (`train = off`). `plain` and `keys` (field of the spec ->
    its key in `config.cfg`) locate errors in the file that appear only later, when the family, the data or
    the device is known.
    """

    spec: ExperimentSpec
    root: Path | None = None
    debug: bool = False
    plain: Plain = field(default_factory=lambda: Plain({}), repr=False)
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    device: str | None = None
    tests: bool = False
    test: TestSettings | None = None

    def located(self, error: InvalidInput) -> InvalidInput:
        """Return the error with the file and line of its field.

        Return it unchanged when it already names a place or the field is not from the file.
        """
        place = self.plain.place(error.field)
        if error.source is not None or place is None:
            return error
        key = self.keys.get(error.field)
        return type(error)(
            f"{key} ({error.field})" if key else error.field, error.value, error.allowed, place
        )

    @contextmanager
    def locating(self) -> Iterator[None]:
        """Convert an InvalidInput raised in the body by `located`."""
        try:
            yield
        except InvalidInput as error:
            located = self.located(error)
            if located is error:
                raise
            raise located from error


def parse(plain: Plain, source: str, names: Names = Names.KNOWN) -> ExperimentSpec:
    """Validate a file's data. Raises InvalidSpec; it and each of its `others` names the line of its field."""
    try:
        return ExperimentSpec.parse(plain.data, source, names)
    except InvalidInput as error:
        located = _placed(error, plain)
        located.others = tuple(_placed(other, plain) for other in error.others)
        raise located from None


def _placed(error: InvalidInput, plain: Plain) -> InvalidInput:
    return type(error)(error.field, error.value, error.allowed, plain.place(error.field) or error.source)


def read_plain(path: Path, including: tuple[Path, ...] = ()) -> Plain:
    """Return the data of a YAML file, merged over its included files in order. Raises InvalidSpec."""
    resolved = path.resolve()
    if resolved in including:
        chain = " -> ".join(str(file) for file in (*including, resolved))
        raise InvalidSpec(
            INCLUDE, str(path), f"a file that does not include itself: {chain}", str(including[-1])
        )
    plain = parse_plain(read_text(path), str(path))
    if INCLUDE not in plain.data:
        return plain
    place, value = plain.place(INCLUDE), plain.data.pop(INCLUDE)
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise InvalidSpec(INCLUDE, value, "a file name, or a list of them, relative to this file", place)
    base = Plain({})
    for name in names:
        file = path.parent / name
        if file.suffix.lower() not in YAML_SUFFIXES or not file.is_file():
            allowed = "an existing file ending in " + ", ".join(YAML_SUFFIXES)
            raise InvalidSpec(INCLUDE, name, f"{allowed}, relative to {path.parent}", place)
        base = read_plain(file, (*including, resolved)).over(base)
    return plain.over(base)


def read_text(path: Path) -> str:
    """Return the text of a spec file. Raises InvalidSpec when it cannot be read."""
    allowed = f"an existing text file ending in {', '.join(YAML_SUFFIXES + CONFIG_SUFFIXES)}"
    if path.suffix.lower() not in YAML_SUFFIXES + CONFIG_SUFFIXES:
        raise InvalidSpec("file", str(path), allowed)
    try:
        with path.open("rb") as handle:
            content = handle.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise InvalidSpec("file", str(path), f"at most {MAX_BYTES:,} bytes")
        return content.decode("utf-8-sig")
    except OSError as error:
        raise InvalidSpec("file", str(path), f"{allowed}; {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InvalidSpec("file", str(path), f"UTF-8 text; byte {error.start} is invalid") from None


def parse_plain(text: str, source: str) -> Plain:
    """Return the data of a YAML or JSON text, in the current spec format. Raises InvalidSpec."""
    return Plain(*parse_yaml(text, source)).current()


# -- merging ---------------------------------------------------------------------------------------------------------------------


def _merged(base: Mapping[str, Any], top: Mapping[str, Any], path: Place = ()) -> dict[str, Any]:
    result = dict(base)
    for key, value in top.items():
        below = base.get(key)
        if (
            isinstance(below, Mapping)
            and isinstance(value, Mapping)
            and not _whole((*path, key), below, value)
        ):
            result[key] = _merged(below, value, (*path, key))
        else:
            result[key] = value
    return result


def _whole(path: Place, below: Any, above: Any) -> bool:
    """Return whether the mapping `above` at `path` replaces `below` instead of being merged with it."""
    if path == ("source",):  # settings of different sources do not mix
        return "name" in above and "name" in below and above["name"] != below["name"]
    # Do not merge a parameter of the space: {low, high} of one file and {values} of another must not mix.
    return len(path) == 2 and path[0] == "space"


def _replaced(key: Place, base: Mapping[str, Any], top: Mapping[str, Any]) -> bool:
    """Return whether `top` hides the value of `base` at `key`."""
    below: Any = base
    above: Any = top
    for depth, part in enumerate(key):
        if not (isinstance(below, Mapping) and isinstance(above, Mapping)):
            return True
        if _whole(key[:depth], below, above):
            return True
        if part not in above:
            return False
        below, above = below[part], above[part]
    return True
