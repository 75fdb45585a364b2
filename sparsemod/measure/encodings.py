"""Choice of each layer's weight encoding for the whole network: bytes of flash against instructions, both predicted by a core's model.

A sparse encoding saves bytes and usually costs instructions. `choose` weighs both according to its goal, and keeps the goal's limits
if any choice can.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from sparsemod.measure.work import (
    Features,
    Loops,
    Stored,
    Weights,
    Work,
    layer_instructions,
    sparse_features,
    stored_forms,
)
from sparsemod.targets import OperatorModel

_DEFAULT_CORE = "cortex-m4"
_TIE = 1e-3  # weight of the other quantity when the goal names only one


@dataclass(frozen=True)
class EncodingGoal:
    """The goal of the choice, predicted for `core`.

    `flash` and `instructions` state which of the two to minimize (both: a saving of 1 % of one is worth 1 % of the other). The limits
    are upper bounds of linked bytes of flash and of the instructions of one inference. With `smallest` each layer gets the encoding
    with the fewest bytes, regardless of other costs.
    """

    core: str = _DEFAULT_CORE
    flash: bool = True
    instructions: bool = True
    most_flash: float | None = None
    most_instructions: float | None = None
    smallest: bool = False


@dataclass(frozen=True)
class EncodedLayer:
    """A layer with several possible encodings: its kernel, the kernel's features with dense weights, and the weights.

    `own`: the loops of its own kernels, by family of cores, which read dense weights."""

    name: str
    kernel: str
    features: Features
    weights: Weights
    own: Mapping[str, Loops] = field(default_factory=dict)


def smallest(layers: Sequence[EncodedLayer]) -> dict[str, str]:
    """Return layer -> the encoding with the fewest bytes."""
    return {
        layer.name: min(stored_forms(layer.weights), key=lambda stored: stored.bytes).name for layer in layers
    }


def choose(
    layers: Sequence[EncodedLayer],
    model: OperatorModel,
    goal: EncodingGoal,
    *,
    flash: float = 0.0,
    instructions: float = 0.0,
) -> dict[str, str]:
    """Return layer -> encoding.

    `flash` and `instructions`: the costs of the rest of the network, without these layers' weights and their readers.

    For each possible set of linked readers, every price of a byte in instructions gives one candidate choice. Return the candidate
    that exceeds the limits least; among equals, the one that is best for the goal.
    """
    if goal.smallest or not layers:
        return smallest(layers)
    names = ("dense", "mask", "gaps")
    forms = [{stored.name: stored for stored in stored_forms(layer.weights)} for layer in layers]
    sizes = np.full((len(layers), len(names)), np.inf)
    counts = np.full((len(layers), len(names)), np.inf)
    for row, (layer, layer_forms) in enumerate(zip(layers, forms, strict=True)):
        for column, name in enumerate(names):
            # Skip encodings that are not smaller than dense: they are faster only by chance, and a plan without zeros must hold with a few.
            if name == "dense" or (
                name in layer_forms and layer_forms[name].bytes < layer_forms["dense"].bytes
            ):
                sizes[row, column] = layer_forms[name].bytes + model.layer_code.get(name, 0.0)
                counts[row, column] = _instructions(layer, layer_forms[name], model)
    code = np.array([reader_code(model, name) for name in names])
    best: tuple[tuple[float, ...], NDArray[np.int64]] | None = None
    rows = np.arange(len(layers))
    for readers in (some for count in (1, 2, 3) for some in combinations(range(len(names)), count)):
        allowed = np.full_like(sizes, np.inf)
        allowed[:, readers] = sizes[:, readers]
        alone = ~np.isfinite(allowed).any(axis=1)
        allowed[alone, 0] = sizes[alone, 0]  # layers that have only the dense encoding
        for picked in _choices(allowed, counts):
            total = flash + float(sizes[rows, picked].sum() + code[np.unique(picked)].sum())
            instruction_total = instructions + float(counts[rows, picked].sum())
            key = (*_rank(goal, total, instruction_total), *picked.tolist())
            if best is None or key < best[0]:
                best = key, picked
    if best is None:
        return {layer.name: "dense" for layer in layers}
    return {layer.name: names[int(column)] for layer, column in zip(layers, best[1], strict=True)}


def reader_code(model: OperatorModel, encoding: str) -> float:
    """Return the bytes of code that a program needs once to read weights in this encoding alone."""
    others = {"dense", "mask", "gaps"} - {encoding}
    own = (
        function.bytes
        for function in model.functions.values()
        if encoding in function.callers and not others & set(function.callers)
    )
    return model.code.get(encoding, 0.0) + sum(own)


def _instructions(layer: EncodedLayer, stored: Stored, model: OperatorModel) -> float:
    if stored.name != "dense":
        return layer_instructions(layer.kernel, sparse_features(layer.features, stored), model)
    work = Work(layer.name, layer.kernel, layer.features, stored.name, layer.own).on(model)
    return layer_instructions(work.kernel, work.features, model)


def _choices(sizes: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return rows of choices (one column of `sizes` for each layer), one for each price of a byte at which a layer's choice changes."""
    prices = {0.0}
    for a, b in combinations(range(sizes.shape[1]), 2):
        usable = np.isfinite(sizes[:, a]) & np.isfinite(sizes[:, b]) & (sizes[:, a] != sizes[:, b])
        break_even = -(counts[usable, a] - counts[usable, b]) / (sizes[usable, a] - sizes[usable, b])
        prices |= {float(price) for price in break_even if price > 0}
    ordered = np.array(sorted(prices))
    # Try both sides of each change, and a price beyond the last one.
    tried_prices = np.unique(np.concatenate([ordered, ordered * (1 + 1e-9) + 1e-12, [ordered[-1] * 2 + 1e9]]))
    available = np.isfinite(sizes)
    prices_paid = tried_prices[:, None, None] * np.where(available, sizes, 0.0)
    costs = np.where(available, np.where(available, counts, 0.0) + prices_paid, np.inf)
    return np.unique(np.argmin(costs, axis=2), axis=0)


def _rank(goal: EncodingGoal, flash: float, instructions: float) -> tuple[float, float]:
    """Return (excess over the limits, cost under the goal); smaller is better."""
    over = sum(
        max(0.0, value / limit - 1)
        for value, limit in ((flash, goal.most_flash), (instructions, goal.most_instructions))
        if limit
    )
    weights = (1.0 if goal.flash else _TIE, 1.0 if goal.instructions else _TIE)
    return over, weights[0] * float(np.log(max(flash, 1.0))) + weights[1] * float(
        np.log(max(instructions, 1.0))
    )
