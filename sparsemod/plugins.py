"""Plug-ins with settings: a short name, a versioned config and a handler, in one file.

A family of plug-ins is a `Plugins` registry: pruning methods, training rules, optimizers, ... A member is a
class whose `Config` is a pydantic model, and whose constructor takes a config:

    class HalvingConfig(ScheduleConfig):
        times: int = Field(3, ge=1, description="How often the rate is halved.")

    @SCHEDULES.register("halving")
    class Halving(Schedule[HalvingConfig]):
        "Halves the rate at equal distances."
        Config = HalvingConfig

        def factor(self, progress: float) -> float:
            return 0.5 ** int(progress * (self.config.times + 1))

A spec holds the config: `schedule: {name: halving, times: 4}`, or `schedule: halving` where all keys have
defaults. The server reads configs only. It must start without torch, so a member of this package imports
torch inside the methods of its handler.
"""

import difflib
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any, ClassVar, Generic, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, ValidationError
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema

from sparsemod.errors import InvalidInput, UnknownName, plain_message
from sparsemod.registry import Registry


class Names(Enum):
    """Which names a config may hold when it is read."""

    ANY = "any"
    """Names unknown here are also allowed.

    A config stored by another process can then be shown and passed on; it fails when it is used.
    """
    KNOWN = "known"
    IMPORTED = "imported"
    """Known names, and `module:attribute`, which is imported."""


NAMES = "names"
"""Key of pydantic's validation context for a `Names`; without it, any name is allowed."""


class PluginConfig(BaseModel):
    """Base of all configs: frozen, unknown keys rejected, text is not converted to numbers.

    When the keys of a config change, increase the default of `version` and let `upgraded` convert the
    earlier keys.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    FORMER: ClassVar[frozenset[str]] = frozenset()
    """Keys without effect in configs before versions existed; they are dropped from a config without `version`."""

    known: ClassVar[bool] = True
    """False when the member is unknown here; the config then keeps its keys unchanged."""

    version: int = Field(1, description="Version of these keys.")

    def has(self, key: str) -> bool:
        """Return whether the config has a key."""
        return key in type(self).model_fields or key in (self.model_extra or {})

    @classmethod
    def upgraded(cls, data: dict[str, Any], version: int) -> dict[str, Any]:
        """Return `data`, with keys of `version` (0: none given), converted to the keys of this version."""
        return {key: value for key, value in data.items() if version or key not in cls.FORMER}


C = TypeVar("C", bound=PluginConfig)
P = TypeVar("P")


@dataclass(frozen=True)
class Alias:
    """Another name for a member with some of its keys; other keys may be given with it."""

    member: str
    keys: Mapping[str, Any]
    title: str = ""


class Plugin(Generic[C]):
    """Base of handlers. One object serves one use, such as one training."""

    Config: ClassVar[type[PluginConfig]]

    def __init__(self, config: C) -> None:
        self.config = config


class Plugins(Registry[type[P]], Generic[P, C]):
    """The members of one family, by short name.

    `path` is the family's key in a spec. `key` is the config key that holds the name. `base` is the base
    class of the family's configs, which declares that key. `default` is the member for a spec that names
    none. The other arguments are those of Registry.
    """

    def __init__(
        self,
        kind: str,
        group: str,
        path: str,
        base: type[C],
        builtin: tuple[str, ...],
        default: str | None = None,
        key: str = "name",
    ) -> None:
        super().__init__(kind, group, builtin)
        self.path, self.base, self.key, self.default = path, base, key, default
        self._imported: dict[str, type[P]] = {}
        self._aliases: dict[str, Alias] = {}
        self._lock = threading.RLock()

    def add(self, name: str, member: type[P]) -> None:
        """See Registry. Raises InvalidInput for a member without a config of this family."""
        self._check(name, member)
        super().add(name, member)

    def alias(self, name: str, member: str, title: str = "", **keys: Any) -> None:
        """Let `name` stand for a member with keys, wherever a config is read.

        The config then holds the member's name. `title` is the alias as text for pictures.
        """
        self._aliases[name] = Alias(member, keys, title or name)

    @property
    def aliases(self) -> Mapping[str, Alias]:
        """Return the aliases by name."""
        self._load()
        return dict(self._aliases)

    def _resolved(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return keys with an alias replaced; keys that are given replace those of the alias."""
        name = data.get(self.key)
        alias = self.aliases.get(name) if isinstance(name, str) else None
        return dict(data) if alias is None else {**alias.keys, **data, self.key: alias.member}

    def get(self, name: str, *, imports: bool = False, field: str | None = None) -> type[P]:
        """See Registry. An imported `module:attribute` stays known."""
        if name in self._imported:
            return self._imported[name]
        try:
            member = super().get(name, imports=imports, field=field)
        except UnknownName as error:
            near = difflib.get_close_matches(name, self._aliases, 3)
            if not near or ":" in name:
                raise
            raise UnknownName(
                error.field, name, f"{error.allowed}; near other names: {', '.join(near)}"
            ) from None
        if ":" in name:
            self._check(name, member)
            self._imported[name] = member
        return member

    def _load(self) -> None:
        with self._lock:  # a second thread waits until all members are loaded
            super()._load()

    def _check(self, name: str, member: Any) -> None:
        config = getattr(member, "Config", None)
        if not (isinstance(config, type) and issubclass(config, self.base)):
            allowed = f"a class with a Config, a subclass of {self.base.__name__}"
            raise InvalidInput(f"{self.kind} {name!r}", member, allowed)

    def config_of(self, name: str) -> type[C]:
        """Return the class of a member's config. Raises UnknownName."""
        return cast("type[C]", cast(Any, self.get(name)).Config)

    def describe(self, name: str) -> str:
        """Return the first sentence of a member's description."""
        text = " ".join((self.get(name).__doc__ or "").split("\n\n")[0].split())
        return text.strip()

    def create(self, config: C) -> P:
        """Return the handler of `config`. Raises UnknownName."""
        handler: Any = self.get(getattr(config, self.key))
        return cast(P, handler(config))

    def config(self, name: str, /, **keys: Any) -> C:
        """Return a config of the member `name`. Raises InvalidInput that names the key, UnknownName."""
        if name not in self.aliases:
            self.get(name, field=f"{self.path}.{self.key}")
        try:
            return self.read({**keys, self.key: name})
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join([self.path, *map(str, first["loc"])])
            raise InvalidInput(field, first["input"], plain_message(first["msg"])) from None

    def read(self, value: Any, names: Names = Names.KNOWN) -> C:
        """Return the config from plain data: a mapping, a member's name, or a config.

        Raises pydantic's ValidationError with the path of the key.
        """
        if isinstance(value, self.base):
            return value
        data = {self.key: value} if isinstance(value, str) else value
        if not isinstance(data, Mapping):
            text = f"a mapping with the key {self.key!r}, or the name of the {self.kind}"
            raise _complaint(self.kind, (), value, text)
        if self.key not in data and self.default is not None:
            data = {self.key: self.default, **data}
        data = self._resolved(data)
        if self.key not in data:
            raise _complaint(self.kind, (self.key,), None, "is missing")
        name = data[self.key]
        if not isinstance(name, str):
            raise _complaint(self.kind, (self.key,), name, f"the name of the {self.kind}")
        config = self._config_class(name, names)
        if not config.known:
            return self._validated(config, dict(data), names)
        version, current = data.get("version", 0), config.model_fields["version"].default
        if isinstance(version, bool) or not isinstance(version, int) or not 0 <= version <= current:
            raise _complaint(self.kind, ("version",), version, f"at most {current}")
        upgraded = config.upgraded(dict(data), version) if version < current else dict(data)
        return self._validated(config, {**upgraded, "version": current}, names)

    def _config_class(self, name: str, names: Names) -> type[C]:
        try:
            self.get(name, imports=names is Names.IMPORTED)
        except InvalidInput as error:
            if names is Names.ANY:
                return self._unknown
            raise _complaint(self.kind, (self.key,), name, error.allowed) from None
        return self.config_of(name)

    @cached_property
    def _unknown(self) -> type[C]:
        class Unknown(self.base):  # type: ignore[name-defined,misc]
            """A config of a member that is unknown here."""

            model_config = ConfigDict(frozen=True, extra="allow", strict=True, allow_inf_nan=False)
            known = False

        return cast("type[C]", Unknown)

    def _validated(self, config: type[C], data: dict[str, Any], names: Names) -> C:
        try:
            text = json.dumps(data)
        except (TypeError, ValueError) as error:
            raise _complaint(self.kind, (), data, f"plain data; {error}") from None
        try:
            return config.model_validate_json(text, context={NAMES: names})
        except ValidationError as error:
            keys = [key for key in config.model_fields if key != "version"]
            raise ValidationError.from_exception_data(
                self.kind, [_named(one, keys) for one in error.errors()]
            ) from None

    def alias_schemas(self) -> list[dict[str, Any]]:
        """Return the schema of configs that name a member by an alias; the member checks their other keys."""
        if not self.aliases:
            return []
        key = {"type": "string", "enum": list(self.aliases)}
        return [{"type": "object", "properties": {self.key: key}, "required": [self.key]}]

    def member_schema(self, name: str, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return the JSON schema of a member's config, with the name and the version as constants."""
        config = self.config_of(name)
        schema = handler.resolve_ref_schema(handler(config.__pydantic_core_schema__))
        properties = {**schema["properties"], self.key: {"const": name, "type": "string"}}
        version = config.model_fields["version"].default
        properties["version"] = {**properties["version"], "const": version}
        return {
            **schema,
            "title": name,
            "properties": properties,
            "required": schema.get("required", [self.key]),
            "description": self.describe(name),
        }


class OneOf:
    """Annotation of a spec field with the config of one member of a registry, chosen by its name.

    `registry` is a Plugins, or a registry whose members are the classes of the configs. `read` converts plain
    data to a config, by default the `read` of the Plugins. With `named`, text is also allowed: a name alone
    means the member with its defaults.
    """

    def __init__(
        self,
        registry: Registry[Any],
        read: Callable[[Any, Names], BaseModel] | None = None,
        *,
        named: bool = True,
    ) -> None:
        self.registry, self._convert, self._named = registry, read or cast(Any, registry).read, named

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            self._read,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda config, info: config.model_dump(mode=info.mode), info_arg=True
            ),
        )

    def _read(self, given: Any, info: core_schema.ValidationInfo) -> BaseModel:
        return self._convert(given, (info.context or {}).get(NAMES, Names.ANY))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        registry = self.registry
        name: dict[str, Any] = {"type": "string"}
        default: dict[str, Any] = {}
        if isinstance(registry, Plugins):
            members = [registry.member_schema(name, handler) for name in registry.names()]
            name["enum"] = [*registry.names(), *registry.aliases]
            members += registry.alias_schemas()
            if registry.default is not None:
                default = {"default": {registry.key: registry.default}}
        else:
            members = [handler(registry.get(name).__pydantic_core_schema__) for name in registry.names()]
        return {"anyOf": [*members, *([name] if self._named else [])], **default}


def _complaint(title: str, place: tuple[str, ...], value: Any, allowed: str) -> ValidationError:
    words = PydanticCustomError("plugin", "{allowed}", {"allowed": allowed})
    return ValidationError.from_exception_data(title, [InitErrorDetails(type=words, loc=place, input=value)])


def _named(error: Any, keys: list[str]) -> InitErrorDetails:
    """Return a pydantic error about a config in a form to raise again.

    For an unknown key, it lists the existing keys.
    """
    place, value = error["loc"], error["input"]
    if error["type"] == "extra_forbidden" and len(place) == 1:
        words = PydanticCustomError(
            "plugin", "{allowed}", {"allowed": f"unknown key; known here: {', '.join(sorted(keys))}"}
        )
        return InitErrorDetails(type=words, loc=place, input=value)
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, InvalidInput):
        words = PydanticCustomError("plugin", "{allowed}", {"allowed": cause.allowed})
        return InitErrorDetails(type=words, loc=(*place, *cause.field.split(".")), input=cause.value)
    text = plain_message(error["msg"])
    if error["type"] == "missing":
        text, value = "is missing", None
    words = PydanticCustomError("plugin", "{allowed}", {"allowed": text})
    return InitErrorDetails(type=words, loc=place, input=value)
