"""Read and write YAML by the core schema of YAML 1.2, with the line of every key.

`1e-3` is a number; `no`, `12:30` and `2026-01-01` are text. ruamel.yaml does the parsing. Duplicate keys are
errors, as are aliases that expand to very many values.
"""

import io
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.resolver import VersionedResolver
from ruamel.yaml.tag import Tag

from sparsemod.errors import InvalidSpec

MAX_KEYS = 20_000
MAX_TEXT = 500_000

Place = tuple[str | int, ...]
"""The path to a value: keys, and indices in lists."""

_TAG = "tag:yaml.org,2002:"
_NUMBERS = (f"{_TAG}int", f"{_TAG}float")


_SHORT_FLOAT = re.compile(r"[-+]?\.[0-9]+[eE][0-9]+")


class _Resolver(VersionedResolver):
    """YAML 1.2's core schema: ruamel.yaml's rules without dates, `=`, `0b1`, `1_000`; with `.5e2`."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        if kind is ScalarNode and implicit[0] and _SHORT_FLOAT.fullmatch(value):
            return Tag(suffix=f"{_TAG}float")
        tag = super().resolve(kind, value, implicit)
        not_core = str(tag) in _NUMBERS and ("_" in value or "0b" in value)
        if not_core or str(tag) in (f"{_TAG}timestamp", f"{_TAG}value"):
            return self.DEFAULT_SCALAR_TAG
        return tag


def parse_yaml(text: str, source: str) -> tuple[dict[str, Any], dict[Place, str]]:
    """Parse a YAML mapping; return it, and for each key and list item its place ("source:line").

    Raises InvalidSpec when the text is not YAML or not a mapping, is too long (MAX_TEXT characters, MAX_KEYS
    keys and items with aliases expanded), or has a key that is not text or a duplicate key.
    """
    if len(text) > MAX_TEXT:
        raise InvalidSpec("spec", f"{len(text):,} characters", f"at most {MAX_TEXT:,}", source)
    yaml = YAML(typ="safe", pure=True)
    yaml.Resolver = _Resolver
    places: dict[Place, str] = {}
    marks: dict[tuple[int, int], Place] = {}
    try:
        node = yaml.compose(text)
        if node is None:
            raise InvalidSpec("spec", None, "a mapping of keys to values; this is empty", source)
        for place, key in _keys(node, (), source):
            mark = key.start_mark
            places.setdefault(place, f"{source}:{mark.line + 1}")
            marks.setdefault((mark.line, mark.column), place)
            # A few lines of aliases can expand to billions of values.
            if len(places) > MAX_KEYS:
                raise InvalidSpec(
                    "spec", f"over {MAX_KEYS:,} keys and items", "fewer, aliases counted", source
                )
        data = yaml.constructor.construct_document(node)
    except InvalidSpec:
        raise  # before the ValueError branch: InvalidSpec is a ValueError too
    except DuplicateKeyError as error:
        mark = error.problem_mark
        place = marks[mark.line, mark.column]
        first = places[place].rpartition(":")[2]
        raise InvalidSpec(
            ".".join(map(str, place)),
            place[-1],
            f"each key once; it is also in line {first}",
            f"{source}:{mark.line + 1}",
        ) from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        position = f"{source}:{mark.line + 1}" if mark else source
        raise InvalidSpec("spec", error.problem or "?", "well-formed YAML", position) from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise InvalidSpec("spec", str(error).splitlines()[0], "well-formed YAML", source) from None
    if not isinstance(data, dict):
        raise InvalidSpec("spec", data, "a mapping of keys to values", source)
    return data, places


def dump_yaml(data: Mapping[str, Any], width: int = 110) -> str:
    """Write plain data as YAML that `parse_yaml` reads back to equal data; keys keep their order."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    # ASCII only: unescaped, some line separators are read back as other characters.
    yaml.allow_unicode = False
    yaml.width = width
    stream = io.StringIO()
    yaml.dump(data, stream)
    return stream.getvalue()


def _keys(node: Node, path: Place, source: str) -> Iterator[tuple[Place, Node]]:
    """Yield path and node of every key and list item. Raises InvalidSpec for a key that is not text."""
    if isinstance(node, MappingNode):
        for key, value in node.value:
            name = key.value if isinstance(key, ScalarNode) else "a list or a mapping"
            if key.tag not in (f"{_TAG}str", f"{_TAG}merge"):
                dotted = ".".join(map(str, (*path, name)))
                position = f"{source}:{key.start_mark.line + 1}"
                raise InvalidSpec(dotted, name, "a key must be text (quote it)", position)
            yield (*path, name), key
            yield from _keys(value, (*path, name), source)
    elif isinstance(node, SequenceNode):
        for index, item in enumerate(node.value):
            yield (*path, index), item
            yield from _keys(item, (*path, index), source)
