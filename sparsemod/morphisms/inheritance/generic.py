"""Inheritance in any other family: what has the same name and shape is copied, of what only has the same name the overlapping corner."""

from collections.abc import Mapping

from torch import Tensor, nn

from sparsemod.morphisms.inheritance.result import Inheritance
from sparsemod.records import DataInfo, Value


def inherit_generic(
    parent_parameters: Mapping[str, Value],
    parent_state: Mapping[str, Tensor],
    child_parameters: Mapping[str, Value],
    child_module: nn.Module,
    data: DataInfo,
    why: str | None = None,
) -> Inheritance:
    """See `sparsemod.morphisms.inherit`. Nothing is known of the structure, so the function counts as kept only when all tensors are equal in name
    and shape and only settings outside of the network can have changed, which is not known either: `preserved` is always false. `why` becomes the
    first note."""
    state = {name: tensor.detach().to("cpu").clone() for name, tensor in child_module.state_dict().items()}
    notes = [] if why is None else [why]
    equal = 0
    for name, target in state.items():
        given = parent_state.get(name)
        if given is None:
            notes.append(f"{name}: new")
        elif given.shape == target.shape:
            target.copy_(given)
            equal += 1
        elif given.ndim == target.ndim:
            common = tuple(slice(min(a, b)) for a, b in zip(given.shape, target.shape, strict=True))
            target[common] = given[common].to(target)
            notes.append(f"{name}: {tuple(given.shape)} -> {tuple(target.shape)}, the common corner copied")
        else:
            notes.append(f"{name}: {tuple(given.shape)} -> {tuple(target.shape)}, not copied")
    notes += [f"{name} of the parent: dropped" for name in parent_state if name not in state]
    return Inheritance(state, False, (f"{equal} of {len(state)} tensors copied as they are", *notes))
