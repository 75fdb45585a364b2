"""Files that hold an experiment: YAML, with `include:` of other files, and SpArSeMod's `config.cfg`.

`load` gives the spec of either kind of file, `read` also what a `config.cfg` says beside the spec, `dump` writes a spec as YAML.
Every mistake is an InvalidSpec that names file and line, key, value and what is allowed.

YAML is read by its version 1.2 rules: `1e-3` is a number, `no` and `12:30` are text; a key that stands twice is an error.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from sparsemod.errors import InvalidInput, InvalidSpec
from sparsemod.records import Value
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.spec.source_choice import current, moves

YAML_SUFFIXES = (".yaml", ".yml", ".json")
CONFIG_SUFFIXES = (".cfg", ".ini")
INCLUDE = "include"
MAX_BYTES = 1_000_000
"""Of one file: a spec is a page or two; anything larger is not a spec."""

MAX_KEYS = 20_000
MAX_TEXT = 500_000

Place = tuple[str | int, ...]


@dataclass(frozen=True)
class Plain:
    """A file's data before validation, and for each key the place ("file:line") it comes from."""

    data: dict[str, Any]
    places: dict[Place, str] = field(default_factory=dict)

    def place(self, dotted: str) -> str | None:
        """Where the key with this dotted name stands, or the nearest key around it."""
        key: Place = tuple(int(part) if part.isdigit() else part for part in dotted.split("."))
        while key:
            if key in self.places:
                return self.places[key]
            key = key[:-1]
        return None

    def over(self, base: "Plain") -> "Plain":
        """These keys laid over `base`: mappings are merged key by key, anything else is replaced."""
        places = {
            key: place for key, place in base.places.items() if not _replaced(key, base.data, self.data)
        }
        return Plain(_merged(base.data, self.data), places | self.places)

    def current(self) -> "Plain":
        """These keys where the present form of a spec has them. Raises InvalidSpec."""
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
    """A file's experiment, and the settings of SpArSeMod's `config.cfg` that are no part of an experiment.

    `root` is the folder of results, None where the file names none; `debug` asks that a network that cannot be built ends the run
    instead of being recorded as a failed trial. `plain` and `keys` (a field of the spec -> the key of a `config.cfg` that it comes from)
    tell where in the file a mistake stands that shows only later, when the family, the data or the device is known.
    """

    spec: ExperimentSpec
    root: Path | None = None
    debug: bool = False
    plain: Plain = field(default_factory=lambda: Plain({}), repr=False)
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)

    def located(self, error: InvalidInput) -> InvalidInput:
        """The same error with the file and line that its field comes from; as it is when it names a place or the field is not the file's."""
        place = self.plain.place(error.field)
        if error.source is not None or place is None:
            return error
        key = self.keys.get(error.field)
        return type(error)(
            f"{key} ({error.field})" if key else error.field, error.value, error.allowed, place
        )

    @contextmanager
    def locating(self) -> Iterator[None]:
        """Within it an InvalidInput leaves as `located` tells it."""
        try:
            yield
        except InvalidInput as error:
            found = self.located(error)
            if found is error:
                raise
            raise found from error


def load(path: Path | str) -> ExperimentSpec:
    """The spec in a .yaml, .yml, .json, .cfg or .ini file. Raises InvalidSpec."""
    return read(path).spec


def read(path: Path | str) -> SpecFile:
    """The spec and the settings beside it in a .yaml, .yml, .json, .cfg or .ini file. Raises InvalidSpec."""
    path = Path(path)
    if path.suffix.lower() in CONFIG_SUFFIXES:
        # spec_config reads YAML for its `include` key, through this module.
        from sparsemod.spec.config_cfg import read_config

        return read_config(path)
    plain = read_plain(path)
    return SpecFile(parse(plain, str(path)), plain=plain)


def loads(text: str, source: str = "text") -> ExperimentSpec:
    """The spec in a YAML or JSON text; `include` is not possible here. Raises InvalidSpec."""
    plain = _parse_yaml(text, source).current()
    if INCLUDE in plain.data:
        raise InvalidSpec(INCLUDE, plain.data[INCLUDE], "only possible in a file", plain.place(INCLUDE))
    return parse(plain, source)


def dump(spec: ExperimentSpec) -> str:
    """The whole spec, defaults included, as YAML that `loads` reads back to an equal spec."""
    # ASCII only: written as they are, some line separators come back as another character.
    return yaml.dump(spec.to_dict(), Dumper=_Dumper, sort_keys=False, allow_unicode=False, width=110)


def scalar(text: str, field: str = "value") -> Value:
    """A number, true, false or text, as a spec file would read it. Raises InvalidSpec that names `field`."""
    try:
        data = _parse_yaml(f"value: {text}", "text").data
    except InvalidSpec:
        data = {}
    value = data.get("value")
    if len(data) != 1 or not isinstance(value, int | float | str):
        raise InvalidSpec(field, text, "a number, true, false or a word")
    return value


def parse(plain: Plain, source: str) -> ExperimentSpec:
    """Validate a file's data; an error, and each of its `others`, names the line that its field comes from. Raises InvalidSpec."""
    try:
        return ExperimentSpec.parse(plain.data, source)
    except InvalidInput as error:
        found = _placed(error, plain)
        found.others = tuple(_placed(other, plain) for other in error.others)
        raise found from None


def _placed(error: InvalidInput, plain: Plain) -> InvalidInput:
    return type(error)(error.field, error.value, error.allowed, plain.place(error.field) or error.source)


def read_plain(path: Path, including: tuple[Path, ...] = ()) -> Plain:
    """The data of a YAML file over those of the files that it includes, in their order. Raises InvalidSpec."""
    resolved = path.resolve()
    if resolved in including:
        chain = " -> ".join(str(file) for file in (*including, resolved))
        raise InvalidSpec(
            INCLUDE, str(path), f"a file that does not include itself: {chain}", str(including[-1])
        )
    plain = _parse_yaml(read_text(path), str(path)).current()
    if INCLUDE not in plain.data:
        return plain
    place, given = plain.place(INCLUDE), plain.data.pop(INCLUDE)
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise InvalidSpec(INCLUDE, given, "a file name, or a list of them, relative to this file", place)
    base = Plain({})
    for name in names:
        file = path.parent / name
        if file.suffix.lower() not in YAML_SUFFIXES or not file.is_file():
            known = "an existing file ending in " + ", ".join(YAML_SUFFIXES)
            raise InvalidSpec(INCLUDE, name, f"{known}, relative to {path.parent}", place)
        base = read_plain(file, (*including, resolved)).over(base)
    return plain.over(base)


def read_text(path: Path) -> str:
    """The text of a spec file. Raises InvalidSpec when it cannot be read."""
    known = f"an existing text file ending in {', '.join(YAML_SUFFIXES + CONFIG_SUFFIXES)}"
    if path.suffix.lower() not in YAML_SUFFIXES + CONFIG_SUFFIXES:
        raise InvalidSpec("file", str(path), known)
    try:
        with path.open("rb") as handle:
            content = handle.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise InvalidSpec("file", str(path), f"at most {MAX_BYTES:,} bytes")
        return content.decode("utf-8-sig")
    except OSError as error:
        raise InvalidSpec("file", str(path), f"{known}; {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InvalidSpec("file", str(path), f"UTF-8 text; byte {error.start} is none") from None


# -- YAML ------------------------------------------------------------------------------------------------------------------------

# The scalars of YAML 1.2's core schema, and `<<` for merges; PyYAML's own are 1.1, where 1e-3 is text and `no` is a flag.
_SCALARS: tuple[tuple[str, str, str], ...] = (
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", "~nN\0"),
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("tag:yaml.org,2002:int", r"[-+]?[0-9]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("tag:yaml.org,2002:merge", r"<<", "<"),
)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012 - add_implicit_resolver fills the class's own


class _Dumper(yaml.SafeDumper):
    # PyYAML's own rules stay and ours come on top: text that either version takes for something else is quoted.
    yaml_implicit_resolvers = {  # noqa: RUF012 - as above
        first: list(rules) for first, rules in yaml.SafeDumper.yaml_implicit_resolvers.items()
    }


for _tag, _pattern, _first in _SCALARS:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(
            _tag, re.compile(f"^(?:{_pattern})$"), ["" if c == "\0" else c for c in _first]
        )


def _decimal(loader: _Loader, node: yaml.ScalarNode) -> int:
    # YAML 1.1, and so SafeLoader, reads 010 as 8.
    text = str(loader.construct_scalar(node))
    return int(text, 16 if text.startswith("0x") else 10)


_Loader.add_constructor("tag:yaml.org,2002:int", _decimal)


def _parse_yaml(text: str, source: str) -> Plain:
    if len(text) > MAX_TEXT:
        raise InvalidSpec("spec", f"{len(text):,} characters", f"at most {MAX_TEXT:,}", source)
    try:
        loader = _Loader(text)
    except yaml.YAMLError as error:
        raise InvalidSpec("spec", str(error).splitlines()[0], "printable text", source) from None
    try:
        node = loader.get_single_node()
        if node is None:
            raise InvalidSpec("spec", None, "a mapping of keys to values; this is empty", source)
        places: dict[Place, str] = {}
        for key, line in _keys(node, (), source):
            places[key] = f"{source}:{line}"
            # A few lines of aliases can stand for billions of values.
            if len(places) > MAX_KEYS:
                raise InvalidSpec(
                    "spec", f"over {MAX_KEYS:,} keys and items", "fewer, aliases counted", source
                )
        data = loader.construct_document(node)
    except InvalidSpec:
        raise  # it is a ValueError too
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{source}:{mark.line + 1}" if mark else source
        raise InvalidSpec("spec", error.problem or "?", "well-formed YAML", where) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidSpec("spec", str(error).splitlines()[0], "well-formed YAML", source) from None
    finally:
        loader.dispose()
    if not isinstance(data, dict):
        raise InvalidSpec("spec", data, "a mapping of keys to values", source)
    return Plain(data, places)


def _keys(node: yaml.Node, path: Place, source: str) -> Iterator[tuple[Place, int]]:
    """Every key's path and line (from 1). Raises InvalidSpec for a key that is no text or stands twice."""
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            name = str(key_node.value)
            dotted = ".".join(map(str, (*path, name)))
            if key_node.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
                raise InvalidSpec(dotted, name, "a key must be text (quote it)", f"{source}:{line}")
            if name in seen:
                raise InvalidSpec(
                    dotted, name, f"each key once; it stands in line {seen[name]} too", f"{source}:{line}"
                )
            seen[name] = line
            yield (*path, name), line
            yield from _keys(value_node, (*path, name), source)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield (*path, index), item.start_mark.line + 1
            yield from _keys(item, (*path, index), source)


# -- merging ---------------------------------------------------------------------------------------------------------------------


def _merged(base: Mapping[str, Any], top: Mapping[str, Any], path: Place = ()) -> dict[str, Any]:
    result = dict(base)
    for key, value in top.items():
        held = base.get(key)
        if isinstance(held, Mapping) and isinstance(value, Mapping) and not _whole((*path, key), held, value):
            result[key] = _merged(held, value, (*path, key))
        else:
            result[key] = value
    return result


def _whole(path: Place, below: Any, above: Any) -> bool:
    """Whether the mapping `above` at `path` replaces `below` instead of being merged with it."""
    if path == ("source",):  # settings of one source are none of another
        return "name" in above and "name" in below and above["name"] != below["name"]
    # A parameter of the space is one value: {low, high} of one file and {values} of another must not mix.
    return len(path) == 2 and path[0] == "space"


def _replaced(key: Place, base: Mapping[str, Any], top: Mapping[str, Any]) -> bool:
    """Whether the value of `base` at `key` is hidden by `top`."""
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
