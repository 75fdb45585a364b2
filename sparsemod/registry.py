"""Named plug-ins of one kind: network families, datasets, pruning methods, devices, ...

A plug-in is registered by a decorator, or by an installed package through an entry point, and referred to by its short name, which is
also what saved files hold. Local commands may name one as `module:attribute`; the HTTP API never imports code on request.
"""

import importlib
import sysconfig
import traceback
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
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
        self._broken: dict[str, tuple[EntryPoint, Exception]] = {}
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

        Raises UnknownName, InvalidInput when the plug-in's own module cannot be imported; `field` is the field named in its message.
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
        if name in self._broken:
            point, error = self._broken[name]
            package = f" of {point.dist.name}" if point.dist is not None else ""
            raise InvalidInput(
                field, name, f"its entry point {point.value}{package} cannot be loaded: {told(error)}"
            ) from error
        try:
            return self._members[name]
        except KeyError:
            raise UnknownName(field, name, self._members) from None

    def _import(self, name: str, field: str) -> T:
        module_name, _, attribute = name.partition(":")
        if not all(part.isidentifier() for part in [*module_name.split("."), attribute]):
            raise UnknownName(field, name, f"a registered {self.kind}, or MODULE:ATTRIBUTE")
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is not None and (
                module_name == error.name or module_name.startswith(error.name + ".")
            ):
                raise UnknownName(
                    field, name, f"no module {error.name!r} can be imported from here"
                ) from None
            raise _cannot_import(field, name, module_name, error) from error
        except Exception as error:  # the module's own code
            raise _cannot_import(field, name, module_name, error) from error
        try:
            member: T = getattr(module, attribute)
        except AttributeError:
            raise UnknownName(field, name, f"module {module_name!r} has no {attribute!r}") from None
        return self._registered(member)

    def _registered(self, member: T) -> T:
        """What a decorator filed for `member`: an attribute of a module may be the undecorated object."""
        return next((held for held in self._members.values() if _origin(held) == _origin(member)), member)

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        for module in self._builtin:
            importlib.import_module(module)
        for point in entry_points(group=self.group):
            if point.name in self._members:
                continue
            try:
                self.add(point.name, self._registered(point.load()))
            except Exception as error:  # noqa: BLE001 - another package's code: only whoever asks for it need know
                self._broken[point.name] = (point, error)


def _origin(member: object) -> tuple[str, str]:
    inner = getattr(member, "origin", member)
    return getattr(inner, "__module__", ""), getattr(inner, "__qualname__", repr(inner))


def _cannot_import(field: str, name: str, module: str, error: Exception) -> InvalidInput:
    return InvalidInput(field, name, f"a module that can be imported; {module} raised {told(error)}")


def told(error: BaseException) -> str:
    """An exception of somebody's own code in a line: its kind, its words, and the file and line of theirs where it came from."""
    words = f"{type(error).__name__}: {error}"
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, SyntaxError) or not frames:
        return words  # a SyntaxError says where; its traceback ends within Python's import
    last = next((frame for frame in reversed(frames) if _is_theirs(frame.filename)), frames[-1])
    return f"{words} ({Path(last.filename).name}, line {last.lineno})"


def _is_theirs(file: str) -> bool:
    libraries = ("site-packages", "dist-packages")
    inside = any(part in file for part in libraries) or file.startswith(sysconfig.get_path("stdlib"))
    return not inside and Path(file).is_file()
