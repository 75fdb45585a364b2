"""The operators and the inheritance of each family, and the two entry points `morphs` and `inherit`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sparsemod.errors import InvalidInput
from sparsemod.morphisms import operators
from sparsemod.morphisms.inheritance.result import Inherit, Inheritance
from sparsemod.morphisms.morphism import Morph, Morphism
from sparsemod.networks.family import Family
from sparsemod.records import DataInfo, Value
from sparsemod.registry import Registry
from sparsemod.space.space import Space

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class MorphismSet:
    """A family's operators and inheritance.

    Add one for your own family by `MORPHISMS.add("its name", MorphismSet(...))`.
    """

    operators: Sequence[Morphism]
    inherit: Inherit


def _cnn(*arguments: object) -> Inheritance:
    from sparsemod.morphisms.inheritance.cnn import inherit_cnn

    return inherit_cnn(*arguments)  # type: ignore[arg-type]


def _mlp(*arguments: object) -> Inheritance:
    from sparsemod.morphisms.inheritance.mlp import inherit_mlp

    return inherit_mlp(*arguments)  # type: ignore[arg-type]


def _mobile(*arguments: object) -> Inheritance:
    from sparsemod.morphisms.inheritance.mobile import inherit_mobile

    return inherit_mobile(*arguments)  # type: ignore[arg-type]


def _recurrent(*arguments: object) -> Inheritance:
    from sparsemod.morphisms.inheritance.recurrent import inherit_recurrent

    return inherit_recurrent(*arguments)  # type: ignore[arg-type]


def _any(*arguments: object) -> Inheritance:
    from sparsemod.morphisms.inheritance.generic import inherit_generic

    return inherit_generic(*arguments)  # type: ignore[arg-type]


MORPHISMS: Registry[MorphismSet] = Registry("morphism set", "sparsemod.morphisms")
MORPHISMS.add("cnn", MorphismSet(operators.CNN, _cnn))
MORPHISMS.add("cnn1d", MorphismSet(operators.CNN1D, _cnn))
MORPHISMS.add("mlp", MorphismSet(operators.MLP, _mlp))
MORPHISMS.add("mobile", MorphismSet(operators.MOBILE, _mobile))
MORPHISMS.add("rnn", MorphismSet(operators.RNN, _recurrent))
MORPHISMS.add("cnn_rnn", MorphismSet(operators.CNN_RNN, _recurrent))
GENERIC = MorphismSet(operators.ANY, _any)


def morphism_set(family: Family | str) -> MorphismSet:
    """Return the family's registered set, else the generic set: change one parameter, copy weights that fit.

    A family whose implementation has `operations`, functions by name, uses these instead of the generic operators.
    """
    own = getattr(family.implementation, "operations", None) if isinstance(family, Family) else None
    if own:
        return MorphismSet([operators.OwnOperation(name, function) for name, function in own.items()], _any)
    name = family.morphisms if isinstance(family, Family) else family
    return MORPHISMS.get(name) if name in MORPHISMS.names() else GENERIC


def morphs(
    family: Family | str, space: Space, parameters: Mapping[str, Value], rng: np.random.Generator, n: int
) -> list[Morph]:
    """Return up to `n` children of `parameters`: distinct, different from the parent, valid, in separate dicts.

    One, two or three operators make each child (70, 20, 10 %). Returns fewer than `n` when a bounded number
    of tries finds no more.
    Raises InvalidCandidate when the parent is not valid in `space`, InvalidInput for a negative `n`.
    """
    if n < 0:
        raise InvalidInput("n", n, "a number of children, at least 0")
    parent = space.validate(space.fill(parameters))
    keys = {space.key(parent)}
    children: list[Morph] = []
    available = morphism_set(family).operators
    weights = np.array([operator.weight for operator in available])
    weights /= weights.sum()
    for _ in range(20 + 20 * n):
        if len(children) == n:
            break
        values, names, preserving = dict(parent), list[str](), True
        for _ in range(1 + int(rng.choice(3, p=(0.7, 0.2, 0.1)))):
            for place in rng.choice(len(available), len(available), replace=False, p=weights):
                step = available[place].apply(space, values, rng)
                if step is not None:
                    values, name = step
                    names.append(name)
                    preserving &= available[place].preserves
                    break
        key = space.key(values)
        if names and key not in keys:
            keys.add(key)
            children.append(Morph(values, tuple(names), preserving))
    return children


def inherit(
    family: Family | str,
    parent_parameters: Mapping[str, Value],
    parent_state: "Mapping[str, Tensor]",
    child_parameters: Mapping[str, Value],
    child_module: "nn.Module",
    data: DataInfo,
) -> Inheritance:
    """Compute the weights that `child_module` inherits from its parent's trained state.

    `child_module` is freshly built from `child_parameters` and stays unchanged. Only the two sets of
    parameters are compared; they may differ by any number of operators. The parent's tensors may lack filters
    that pruning removed. Weights without a counterpart keep the child's initial values. The returned state is
    on the CPU.
    """
    return morphism_set(family).inherit(parent_parameters, parent_state, child_parameters, child_module, data)
