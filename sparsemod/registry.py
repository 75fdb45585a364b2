"""Named plug-ins of one kind: network families, datasets, pruning methods, devices, ...

A plug-in is registered by a decorator, or by an installed package through an entry point, and referred to by its short name, which is
also what saved files hold. Local commands may name one as `module:attribute`; the HTTP API never imports code on request.
"""

import importlib
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import CodeType
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
        self._runs: dict[str, _Run] = {}
        self._filed: list[
            tuple[str, T]
        ] = []  # every plug-in ever filed, also those that a later run replaced
        self._broken: dict[str, tuple[EntryPoint, Exception]] = {}
        self._loaded = False

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that files a plug-in under `name`. Raises DuplicateName when the name is taken by another one."""

        def file(member: T) -> T:
            self.add(name, member)
            return member

        return file

    def add(self, name: str, member: T) -> None:
        """File `member` under `name`. Raises InvalidInput for an unusable name, DuplicateName for one that is taken.

        A name is free again only for a second run of the code that took it: a module that is imported both as `__main__` and by name,
        a reload, or a cell of an interactive session.
        """
        if not name or ":" in name or name != name.strip():
            raise InvalidInput(
                self.kind, name, "a name must not be empty, hold ':' or begin or end with a space"
            )
        run = _Run.now(member)
        held = self._members.get(name)
        if (
            held is not None and held == member
        ):  # functions and classes are equal to themselves alone, profiles by value
            return
        if held is not None and not run.repeats(self._runs.get(name, run)):
            raise DuplicateName(
                self.kind, name, f"already registered by {_words(held)}; {_words(member)} needs another name"
            )
        self._members[name], self._runs[name] = member, run
        self._filed.append((name, member))

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
        return self._registered(member, field, name)

    def _registered(self, member: T, field: str, name: str) -> T:
        """The plug-in that a decorator filed for this very object; the object itself when none was.

        Raises InvalidInput when the object is registered under several names with different settings.
        """
        found = {
            known: held
            for known, held in self._filed
            if known in self._members and (held is member or getattr(held, "origin", None) is member)
        }
        if len({id(held) for held in found.values()}) > 1:
            raise InvalidInput(field, name, f"is registered under several names; use one: {', '.join(found)}")
        return next(iter(found.values()), member)

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        try:
            for module in self._builtin:
                importlib.import_module(module)
        except BaseException:
            self._loaded = False  # every look-up reports it, not the first alone
            raise
        for point in entry_points(group=self.group):
            try:
                self.add(point.name, self._registered(point.load(), self.kind, point.name))
            except Exception as error:  # noqa: BLE001 - another package's code: only a look-up of this name reports it
                self._broken[point.name] = (point, error)


@dataclass(frozen=True)
class _Run:
    """One execution of a module's code, in which a plug-in is registered."""

    code: CodeType | None
    file: str | None
    qualname: str

    @classmethod
    def now(cls, member: object) -> "_Run":
        """The execution that is under way: the nearest module-level frame of the stack."""
        inner = getattr(member, "origin", member)
        qualname = getattr(inner, "__qualname__", type(inner).__qualname__)
        frame = sys._getframe(1)
        while frame.f_code.co_name != "<module>" and frame.f_back is not None:
            frame = frame.f_back
        if frame.f_code.co_name != "<module>":
            return cls(None, None, qualname)
        file = frame.f_globals.get("__file__")
        return cls(frame.f_code, os.path.realpath(file) if isinstance(file, str) else None, qualname)

    def repeats(self, earlier: "_Run") -> bool:
        """Whether this is another execution of the code of `earlier`. Code typed in an interactive session has no file: there the
        definition's name decides."""
        if self.code is None or earlier.code is None or self.code is earlier.code:
            return False
        if self.file is None and earlier.file is None:
            return self.qualname == earlier.qualname
        return self.file == earlier.file


def _words(member: object) -> str:
    inner = getattr(member, "origin", member)
    code = getattr(inner, "__code__", None)
    line = f", line {code.co_firstlineno}" if isinstance(code, CodeType) else ""
    name = getattr(inner, "__qualname__", None) or repr(inner)
    return f"{getattr(inner, '__module__', '')}.{name}{line}"


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
