"""Named plug-ins of one kind: network families, datasets, pruning methods, devices, ...

A decorator, or an entry point of an installed package, registers a plug-in under a short name. Specs and
saved files use that name. Local commands also accept `module:attribute`; the HTTP API never imports code on
request.
"""

import importlib
import os
import re
import sys
import sysconfig
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from types import CodeType
from typing import Generic, TypeVar

from sparsemod.errors import DuplicateName, InvalidInput, UnknownName

T = TypeVar("T")


class Registry(Generic[T]):
    """The plug-ins of one kind, by name.

    `kind` is the word for error messages ("network family"). `group` is the entry point group for other
    packages. `builtin` names the modules that register plug-ins on import; they are imported before the first
    look-up. Each entry is a module, or "package @decorator": the modules of the package that use this decorator,
    so that a new file needs no entry of its own (see `builtin_modules`).
    """

    def __init__(self, kind: str, group: str, builtin: tuple[str, ...] = ()) -> None:
        self.kind, self.group = kind, group
        self._builtin = builtin
        self._members: dict[str, T] = {}
        self._runs: dict[str, _Run] = {}
        # All plug-ins ever added, including those that a second run of their module replaced.
        self._added: list[tuple[str, T]] = []
        self._broken: dict[str, tuple[EntryPoint, Exception]] = {}
        self._loaded = False
        self._loading: set[int] = set()

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that registers a plug-in under `name`.

        Raises DuplicateName when another plug-in has the name.
        """

        def add_member(member: T) -> T:
            self.add(name, member)
            return member

        return add_member

    def add(self, name: str, member: T) -> None:
        """Register `member` under `name`.

        Raises InvalidInput for an unusable name, DuplicateName for a taken one.

        Only a second run of the same code may replace a plug-in: a module that is imported both as `__main__`
        and by name, a reload, or a cell of an interactive session.
        """
        if not name or ":" in name or name != name.strip():
            raise InvalidInput(
                self.kind, name, "a name must not be empty, hold ':' or begin or end with a space"
            )
        run = _Run.now(member)
        registered = self._members.get(name)
        # Functions and classes compare by identity, device profiles by value.
        if registered is not None and registered == member:
            return
        if registered is not None and not run.repeats(self._runs.get(name, run)):
            raise DuplicateName(
                self.kind,
                name,
                f"already registered by {_describe(registered)}; {_describe(member)} needs another name",
            )
        self._members[name], self._runs[name] = member, run
        self._added.append((name, member))

    def names(self) -> tuple[str, ...]:
        """Return all registered names, sorted."""
        self._load()
        return tuple(sorted(self._members))

    def get(self, name: str, *, imports: bool = False, field: str | None = None) -> T:
        """Return the plug-in called `name`.

        With `imports`, `name` may be `module:attribute`; the module is then imported.

        Raises UnknownName, or InvalidInput when the plug-in's module cannot be imported. Both name `field` in
        the message.
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
                field,
                name,
                f"its entry point {point.value}{package} cannot be loaded: {summarize_error(error)}",
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
        except Exception as error:  # from the user's module
            raise _cannot_import(field, name, module_name, error) from error
        try:
            member: T = getattr(module, attribute)
        except AttributeError:
            raise UnknownName(field, name, f"module {module_name!r} has no {attribute!r}") from None
        return self._registered(member, field, name)

    def _registered(self, member: T, field: str, name: str) -> T:
        """Return the plug-in that a decorator registered for this object, else the object itself.

        Raises InvalidInput when the object is registered under several names with different settings.
        """
        plugins = {
            registered_name: added
            for registered_name, added in self._added
            if registered_name in self._members
            and (added is member or getattr(added, "origin", None) is member)
        }
        if len({id(plugin) for plugin in plugins.values()}) > 1:
            raise InvalidInput(
                field, name, f"is registered under several names; use one: {', '.join(plugins)}"
            )
        return next(iter(plugins.values()), member)

    def _load(self) -> None:
        """Import the modules of all plug-ins before the first look-up.

        A look-up by another thread during the imports also imports them, and so waits for them. A look-up by a
        module that is being imported returns at once.
        """
        thread = threading.get_ident()
        if self._loaded or thread in self._loading:
            return
        self._loading.add(thread)
        try:
            self._import_all()  # an error leaves `_loaded` False, so that every look-up raises it
            self._loaded = True
        finally:
            self._loading.discard(thread)

    def _import_all(self) -> None:
        for module in builtin_modules(self._builtin):
            importlib.import_module(module)
        for point in entry_points(group=self.group):
            try:
                self.add(point.name, self._registered(point.load(), self.kind, point.name))
            except Exception as error:  # noqa: BLE001 - code of another package: only a look-up of this name reports it
                self._broken[point.name] = (point, error)


def builtin_modules(entries: Iterable[str]) -> Iterator[str]:
    """Yield the modules that `builtin` entries of a registry name.

    The entry "package @METHODS" names the modules directly in the package with a line that begins with
    `@METHODS.register(`, `@METHODS.rules(` or `@METHODS(`. It reads the files and imports none of them, because other modules of the
    package may load torch.
    """
    for entry in entries:
        package, _, decorator = entry.partition(" @")
        if not decorator:
            yield entry
            continue
        used = re.compile(rf"^@{decorator}(?:\.register|\.rules)?\(", re.MULTILINE)
        spec = find_spec(package)
        for folder in (spec and spec.submodule_search_locations) or ():
            for path in sorted(Path(folder).glob("*.py")):
                if used.search(path.read_text(encoding="utf-8")):
                    yield f"{package}.{path.stem}"


@dataclass(frozen=True)
class _Run:
    """One execution of the module code that registers a plug-in."""

    code: CodeType | None
    file: str | None
    qualname: str

    @classmethod
    def now(cls, member: object) -> "_Run":
        """Return the current execution: the nearest module-level frame of the stack."""
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
        """Whether this execution runs the code of `earlier` again.

        Code of an interactive session has no file; there, equal qualified names count as the same code.
        """
        if self.code is None or earlier.code is None or self.code is earlier.code:
            return False
        if self.file is None and earlier.file is None:
            return self.qualname == earlier.qualname
        return self.file == earlier.file


def _describe(member: object) -> str:
    inner = getattr(member, "origin", member)
    code = getattr(inner, "__code__", None)
    line = f", line {code.co_firstlineno}" if isinstance(code, CodeType) else ""
    name = getattr(inner, "__qualname__", None) or repr(inner)
    return f"{getattr(inner, '__module__', '')}.{name}{line}"


def _cannot_import(field: str, name: str, module: str, error: Exception) -> InvalidInput:
    return InvalidInput(
        field, name, f"a module that can be imported; {module} raised {summarize_error(error)}"
    )


def summarize_error(error: BaseException) -> str:
    """Summarize an exception of a user's code: type, message, and the user's file and line."""
    summary = f"{type(error).__name__}: {error}"
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, SyntaxError) or not frames:
        return summary  # a SyntaxError names its line; its traceback ends in Python's import machinery
    last = next((frame for frame in reversed(frames) if _is_user_file(frame.filename)), frames[-1])
    return f"{summary} ({Path(last.filename).name}, line {last.lineno})"


def _is_user_file(file: str) -> bool:
    libraries = ("site-packages", "dist-packages")
    inside = any(part in file for part in libraries) or file.startswith(sysconfig.get_path("stdlib"))
    return not inside and Path(file).is_file()
