"""Named plug-ins of one kind: network families, datasets, pruning methods, devices, ...

A plug-in is registered by a decorator, or by an installed package through an entry point, and referred to by its short name, which is
also what saved files hold. Local commands may name one as `module:attribute`; the HTTP API never imports code on request.
"""

import importlib
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from sparsemod.errors import DuplicateName, InvalidInput, UnknownName

T = TypeVar("T")


class Registry(Generic[T]):
    """The plug-ins of one kind, by name.

    `kind` is the word used in error messages ("network family"); `group` the entry point group that other packages use;
    `builtin` the modules to import before the first look-up, each of which registers its own plug-ins.
    """

    def __init__(self, kind: str, group: str, builtin: tuple[str, ...] = ()) -> None:
        self.kind, self.group = kind, group
        self._builtin = builtin
        self._members: dict[str, T] = {}
        self._loaded = False

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that files a plug-in under `name`. Raises DuplicateName when the name is taken by another one."""

        def file(member: T) -> T:
            self.add(name, member)
            return member

        return file

    def add(self, name: str, member: T) -> None:
        """File `member` under `name`. Raises InvalidInput for an unusable name, DuplicateName for one that is taken."""
        if not name or ":" in name or name != name.strip():
            raise InvalidInput(
                self.kind, name, "a name must not be empty, hold ':' or begin or end with a space"
            )
        held = self._members.get(name)
        # A module that is imported twice (once as __main__, once by name) registers the same thing again: not a clash.
        if held is not None and _origin(held) != _origin(member):
            raise DuplicateName(self.kind, name, f"already registered by {'.'.join(_origin(held))}")
        self._members[name] = member

    def names(self) -> tuple[str, ...]:
        """All known names, sorted."""
        self._load()
        return tuple(sorted(self._members))

    def get(self, name: str, *, imports: bool = False, field: str | None = None) -> T:
        """The plug-in called `name`; with `imports`, `name` may be `module:attribute` and the module is imported.

        Raises UnknownName; `field` is the field named in its message.
        """
        field = field or self.kind
        if ":" in name:
            if not imports:
                raise UnknownName(
                    field,
                    name,
                    f"code cannot be named here, only a registered {self.kind}: {', '.join(self.names())}",
                )
            return self._import(name, field)
        self._load()
        try:
            return self._members[name]
        except KeyError:
            raise UnknownName(field, name, self._members) from None

    def _import(self, name: str, field: str) -> T:
        module_name, _, attribute = name.partition(":")
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is not None and not (
                module_name == error.name or module_name.startswith(error.name + ".")
            ):
                raise  # the user's module exists, something that it imports does not: their traceback helps most
            raise UnknownName(field, name, f"no module {error.name!r} can be imported from here") from None
        try:
            member: T = getattr(module, attribute)
        except AttributeError:
            raise UnknownName(field, name, f"module {module_name!r} has no {attribute!r}") from None
        # A decorated plug-in is registered under its own name and the attribute may be the undecorated object.
        return next((held for held in self._members.values() if _origin(held) == _origin(member)), member)

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        for module in self._builtin:
            importlib.import_module(module)
        for point in entry_points(group=self.group):
            if point.name not in self._members:
                self.add(point.name, point.load())


def _origin(member: object) -> tuple[str, str]:
    inner = getattr(member, "origin", member)
    return getattr(inner, "__module__", ""), getattr(inner, "__qualname__", repr(inner))
