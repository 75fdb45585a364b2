"""Conversion of foreign data: pydantic's errors to InvalidSpec, parameters from their short forms."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from sparsemod.errors import InvalidInput, InvalidSpec, plain_message
from sparsemod.space.parameters import Categorical, Fixed, Integer, Parameter, Real

M = TypeVar("M", bound=BaseModel)

MAX_VALUES = 10_000
"""Largest number of values in one spec, which bounds the time of validation."""

_MOST_OTHERS = 20
NAME_PATTERN = r"^[\p{L}\p{N}][\p{L}\p{M}\p{N} ._\-]*$"
"""Pattern of an experiment's name: letters, marks and digits of any alphabet."""

_PATTERNS = {NAME_PATTERN: "letters, digits, spaces and . _ -, the first one a letter or a digit"}
"""Descriptions of patterns of text."""


def translate(error: ValidationError, model: type[BaseModel], source: str | None = None) -> InvalidSpec:
    """Return pydantic's first error as an InvalidSpec, with the `others`.

    For an unknown key, the message lists the existing keys.
    """
    found = error.errors(include_url=False)
    complaints = [one for one in found if not _follows(one, found)]
    first, *rest = (
        one
        for complaint in complaints[: _MOST_OTHERS + 1]
        for one in _with_others(_translated(complaint, model, source))
    )
    first.others = ()
    # For a value that fits none of several forms, pydantic reports one error for each form.
    fields = {first.field}
    for one in rest:
        if one.field not in fields and len(fields) <= _MOST_OTHERS:
            fields.add(one.field)
            first.others += (one,)
    return first


def validated(member: type[M], settings: Mapping[str, Any], field: str) -> M:
    """Return `settings` validated as an instance of `member`. Raises InvalidInput with fields that begin with `field`."""
    try:
        return member.model_validate_json(json.dumps(settings))
    except ValidationError as error:
        raise _nested_error(translate(error, member), field) from None


def _nested_error(error: InvalidInput, field: str) -> InvalidInput:
    nested = error if error.field.startswith(f"{field}.") else error.at(field)
    if error.field == "spec":  # the error concerns the settings as a whole
        nested = InvalidInput(field, error.value, error.allowed)
    nested.others = tuple(_nested_error(other, field) for other in error.others)
    return nested


def _follows(complaint: Any, complaints: Sequence[Any]) -> bool:
    """Return whether a list is too short only because one of its items is wrong, which pydantic reports as well."""
    place = complaint["loc"]
    return complaint["type"] == "too_short" and any(
        len(other["loc"]) > len(place) and other["loc"][: len(place)] == place for other in complaints
    )


def _with_others(error: InvalidSpec) -> Iterator[InvalidSpec]:
    yield error
    for other in error.others:
        yield InvalidSpec(other.field, other.value, other.allowed, other.source or error.source)


def _translated(first: Any, model: type[BaseModel], source: str | None) -> InvalidSpec:
    path = [part for part in first["loc"] if not (isinstance(part, str) and part in _TAGS)]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, InvalidInput):
        translated = InvalidSpec(cause.field, cause.value, cause.allowed, source)
        translated.others = tuple(cause.others)
        return translated
    field = ".".join(str(part) for part in path) or "spec"
    if first["type"] == "extra_forbidden":
        allowed = f"unknown key; known here: {', '.join(sorted(_keys(model, path[:-1])))}"
    elif first["type"] == "missing":
        return InvalidSpec(field, None, "is missing", source)
    elif first["type"] in ("too_short", "too_long"):
        least = first["type"] == "too_short"
        count = first["ctx"]["min_length" if least else "max_length"]
        allowed = f"at {'least' if least else 'most'} {count} item{'' if count == 1 else 's'}"
    elif first["type"] == "string_pattern_mismatch":
        pattern = first["ctx"]["pattern"]
        allowed = _PATTERNS.get(pattern, f"text that matches {pattern}")
    else:
        allowed = plain_message(first["msg"])
    return InvalidSpec(field, first["input"], allowed, source)


_TAGS = frozenset({"integer", "real", "categorical", "fixed", "Integer", "Real", "Categorical", "Fixed"})


def _keys(model: type[BaseModel], path: list[Any]) -> list[str]:
    for part in path:
        info = model.model_fields.get(str(part))
        choices = [] if info is None else [info.annotation, *get_args(info.annotation)]
        inner = [choice for choice in choices if isinstance(choice, type) and issubclass(choice, BaseModel)]
        if not inner:
            return []
        model = inner[0]
    return list(model.model_fields)


_KINDS: dict[str, type[Integer] | type[Real] | type[Categorical] | type[Fixed]] = {
    "integer": Integer, "real": Real, "categorical": Categorical, "fixed": Fixed,
}  # fmt: skip


def parameter_from(name: str, data: Any) -> Parameter:
    """Return a parameter from its short forms: a constant, a list of values, or a mapping.

    The mapping may omit `type`.
    """
    field = f"space.{name}"
    if isinstance(data, Integer | Real | Categorical | Fixed):
        return data
    if isinstance(data, str | int | float | bool):
        return Fixed(name=name, value=data)
    if isinstance(data, list):
        data = {"values": data}
    if not isinstance(data, Mapping):
        raise InvalidInput(
            field, data, "a constant, a list of values, or a mapping such as {low: 1, high: 8}"
        )
    fields = dict(data)
    kind = fields.get("type") or (
        "categorical" if "values" in fields else "fixed" if "value" in fields
        else "integer" if "step" in fields or all(isinstance(fields.get(k), int) for k in ("low", "high")) else "real"
    )  # fmt: skip
    if kind not in _KINDS:
        raise InvalidInput(f"{field}.type", kind, f"one of {', '.join(_KINDS)}")
    fields.pop("type", None)
    if fields.pop("name", name) != name:
        raise InvalidInput(f"{field}.name", data["name"], "the same name as the key, or left out")
    try:
        return _KINDS[kind](name=name, **fields)
    except InvalidInput as error:
        inner = error.field.removeprefix(name)
        raise InvalidInput(f"{field}{inner}", error.value, error.allowed) from None


_DEEPEST = 20
_SURROGATE = re.compile("[\ud800-\udfff]")


def plain_json(data: Mapping[str, Any], source: str | None) -> str:
    """Return `data` as JSON text. Raises InvalidSpec that names the field of a value that JSON cannot represent."""
    for count, (field, value) in enumerate(_scalars(data)):
        if count >= MAX_VALUES:
            raise InvalidSpec("spec", f"over {MAX_VALUES:,} values", "fewer", source)
        if isinstance(value, float) and not math.isfinite(value):
            raise InvalidSpec(field, value, "a finite number", source)
        if isinstance(value, str) and not value.isascii() and _SURROGATE.search(value):
            raise InvalidSpec(field, value, "text without lone surrogates", source)
    try:
        return json.dumps(data, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidSpec(
            "spec", str(error), "plain data: text, numbers, flags, lists, mappings", source
        ) from None


def _scalars(data: Any) -> Iterator[tuple[str, Any]]:
    """Yield the scalars of nested mappings and lists with the names of their fields.

    It is not recursive, because foreign data may be nested deeply.
    """
    stack: list[tuple[str, Any, int]] = [("", data, 0)]
    while stack:
        place, value, depth = stack.pop()
        if isinstance(value, Mapping | list | tuple) and depth < _DEEPEST:
            items = value.items() if isinstance(value, Mapping) else enumerate(value)
            stack += [(f"{place}.{key}" if place else str(key), item, depth + 1) for key, item in items]
        else:
            yield place, value
