"""A family from a user's module class `Net(parametrization, classes, input_shape)`, as SpArSeMod's users write it.

The class's module also holds `search_space`, a function without arguments (or its result), and may hold
`operations`, the morphisms: a mapping of names to functions that change a dict of parameters. Both may be named
otherwise, or be elsewhere, by the options of the family.
"""

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from sparsemod.errors import InvalidInput
from sparsemod.records import DataInfo, Value
from sparsemod.registry import summarize_error

if TYPE_CHECKING:
    from torch import nn

Operation = Callable[[dict[str, Value]], dict[str, Value] | None]
"""Changes a dict of parameters in place, or returns a changed one."""


def is_module_class(member: Any) -> bool:
    """Return whether `member` is a class of torch modules. It imports no torch."""
    return inspect.isclass(member) and any(
        base.__module__ == "torch.nn.modules.module" and base.__name__ == "Module" for base in member.__mro__
    )


def own_module_family(net: type[Any], module: str) -> type[Any]:
    """Return the family's class for the module class `net`, whose space and morphisms are in the module named `module`."""

    class OwnModule:
        checked = False

        def __init__(self, search_space: str = "search_space", operations: str = "operations") -> None:
            self._space = _found(search_space, module, "search_space")
            self.operations = _operations(_found(operations, module, "operations", optional=True))

        def space(self, data: DataInfo) -> Any:
            return self._space() if callable(self._space) else self._space

        def build(self, parameters: Mapping[str, Value], data: DataInfo) -> "nn.Module":
            taken = inspect.signature(net).parameters
            given = {"classes": data.classes, "input_shape": tuple(data.shape)}
            if not any(p.kind == p.VAR_KEYWORD for p in taken.values()):
                given = {key: given[key] for key in given if key in taken}
            module: nn.Module = net(parameters, **given)
            if not data.packed or getattr(module, "uses_lengths", False):
                return module
            from sparsemod.networks.packed_module import PackedInput

            return PackedInput(module)

    OwnModule.__doc__ = net.__doc__
    OwnModule.__module__, OwnModule.__qualname__ = net.__module__, net.__qualname__
    return OwnModule


def _found(name: str, module: str, option: str, *, optional: bool = False) -> Any:
    """Return the attribute `name` of the module, or of another one (`module:attribute`).

    Raises InvalidInput; with `optional`, None for an attribute that the module lacks.
    """
    place, _, attribute = name.rpartition(":")
    try:
        owner = importlib.import_module(place or module) if place else sys.modules[module]
        return getattr(owner, attribute)
    except (ImportError, AttributeError, KeyError) as error:
        if optional and not place and isinstance(error, AttributeError) and name == option:
            return None
        allowed = (
            f"an attribute of module {place or module!r}, or MODULE:ATTRIBUTE ({summarize_error(error)})"
        )
        raise InvalidInput(option, name, allowed) from None


def _operations(found: Any) -> dict[str, Operation] | None:
    """Return the morphisms by name. Raises InvalidInput unless all are functions."""
    if found is None:
        return None
    named = found.items() if isinstance(found, Mapping) else [(getattr(f, "__name__", "?"), f) for f in found]
    operations = dict(named)
    if not operations or not all(callable(function) for function in operations.values()):
        raise InvalidInput(
            "operations", found, "functions by name, or a list of functions, that change a dict of parameters"
        )
    return operations
