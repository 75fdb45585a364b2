"""Spec fields with the settings of any registered plug-in, chosen by `name`."""

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from sparsemod.errors import InvalidInput
from sparsemod.registry import Registry
from sparsemod.spec.translation import translate

M = TypeVar("M", bound=BaseModel)


class Choice:
    """Annotation of a spec field with a plug-in's settings.

    `parse` converts plain data to settings. The JSON schema is that of all members of `registry`; with
    `named`, text is also allowed: a name alone means the member with its defaults.
    """

    def __init__(
        self, registry: Registry[Any], parse: Callable[[Any], BaseModel], *, named: bool = False
    ) -> None:
        self._registry, self._parse, self._named = registry, parse, named

    def __get_pydantic_core_schema__(self, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self._parse,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda settings, info: settings.model_dump(mode=info.mode), info_arg=True
            ),
        )

    def __get_pydantic_json_schema__(self, _: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        members = [self._registry.get(name) for name in self._registry.names()]
        name: list[JsonSchemaValue] = [{"type": "string"}] if self._named else []
        return {"anyOf": [*name, *(handler(member.__pydantic_core_schema__) for member in members)]}


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
