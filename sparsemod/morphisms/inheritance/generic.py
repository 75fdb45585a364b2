"""Inheritance in other families: copy tensors of equal name and shape, else the overlapping corner."""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from torch import Tensor, nn

from sparsemod.morphisms.inheritance.result import Inherit, Inheritance
from sparsemod.records import DataInfo, Value


def initial_state(module: nn.Module) -> dict[str, Tensor]:
    """Return a copy of the module's state on the CPU."""
    return {name: tensor.detach().to("cpu").clone() for name, tensor in module.state_dict().items()}


def or_generic(*errors: type[Exception]) -> Callable[[Inherit], Inherit]:
    """Return a decorator that falls back to `inherit_generic` where an inheritance raises one of `errors`.

    They mean that the parent's weights are not those of its parameters.
    """

    def decorate(function: Inherit) -> Inherit:
        @wraps(function)
        def inherit(
            parent: Any, parent_state: Any, child: Any, module: nn.Module, data: DataInfo
        ) -> Inheritance:
            try:
                return function(parent, parent_state, child, module, data)
            except errors as error:
                why = f"the parent's weights are not those of its parameters ({error})"
                return inherit_generic(parent, parent_state, child, module, data, why)

        return inherit

    return decorate


def inherit_generic(
    parent_parameters: Mapping[str, Value],
    parent_state: Mapping[str, Tensor],
    child_parameters: Mapping[str, Value],
    child_module: nn.Module,
    data: DataInfo,
    why: str | None = None,
) -> Inheritance:
    """See `sparsemod.morphisms.inherit`.

    `preserved` is always false, because the structure is unknown. `why` becomes the first note.
    """
    state = initial_state(child_module)
    notes = [] if why is None else [why]
    equal = 0
    for name, target in state.items():
        source = parent_state.get(name)
        if source is None:
            notes.append(f"{name}: new")
        elif source.shape == target.shape:
            target.copy_(source)
            equal += 1
        elif source.ndim == target.ndim:
            common = tuple(slice(min(a, b)) for a, b in zip(source.shape, target.shape, strict=True))
            target[common] = source[common].to(target)
            notes.append(f"{name}: {tuple(source.shape)} -> {tuple(target.shape)}, the common corner copied")
        else:
            notes.append(f"{name}: {tuple(source.shape)} -> {tuple(target.shape)}, not copied")
    notes += [f"{name} of the parent: dropped" for name in parent_state if name not in state]
    return Inheritance(state, False, (f"{equal} of {len(state)} tensors copied unchanged", *notes))
