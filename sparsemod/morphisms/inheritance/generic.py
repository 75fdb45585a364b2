"""Inheritance in other families: copy tensors of equal name and shape, else the overlapping corner."""

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
    """See `sparsemod.morphisms.inherit`.

    `preserved` is always false, because the structure is unknown. `why` becomes the first note.
    """
    state = {name: tensor.detach().to("cpu").clone() for name, tensor in child_module.state_dict().items()}
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
