"""Registry of one stage's rules, by kind of operator."""

from collections.abc import Callable
from importlib import import_module
from typing import Generic, TypeVar

from sparsemod.errors import Unsupported
from sparsemod.kinds.kind import KINDS
from sparsemod.registry import Registry, builtin_modules

R = TypeVar("R")


class Stage(Registry[R], Generic[R]):
    """A stage's rules. `title` names the stage in errors ("the C export"); `builtin` are the modules that register sparsemod's own rules.

    Other packages register their rules together with their kinds, through the entry points of `KINDS`.
    """

    def __init__(self, title: str, builtin: tuple[str, ...] = ()) -> None:
        super().__init__(f"rule of {title}", KINDS.group, builtin)
        self.title = title

    def rules(self, *kinds: str) -> Callable[[R], R]:
        """Decorator that registers one rule for several kinds."""

        def file(member: R) -> R:
            for kind in kinds:
                self.add(kind, member)
            return member

        return file

    def has(self, kind: str) -> bool:
        """Whether the stage has a rule for a kind."""
        return kind in self.names()

    def rule(self, kind: str, layer: str, hint: str = "") -> R:
        """Return the rule for a kind. Raises Unsupported, with the stage, the kind and the layer, when there is no rule."""
        self._load()
        try:
            return self._members[kind]
        except KeyError:
            raise Unsupported(kind, layer, self.title, self.names(), hint) from None

    def _import_all(self) -> None:
        for module in builtin_modules(self._builtin):
            import_module(module)
        KINDS.names()
