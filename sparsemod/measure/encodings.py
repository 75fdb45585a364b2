"""Choice of each layer's weight encoding for the whole network: bytes of flash against instructions, both predicted by a core's model.

A sparse encoding saves bytes and usually costs instructions. `choose` weighs both according to its goal, and keeps the goal's limits
if any choice can.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from sparsemod.measure.work import (
    Features,
    Loops,
    Weights,
    Work,
    layer_instructions,
    sparse_features,
    stored_forms,
)
from sparsemod.targets import OperatorModel

NAMES = ("dense", "plain", "mask", "gaps")
"""The encodings in the order of the choice: among equals, the first one."""

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
    others: Sequence[Work] = (),
) -> dict[str, str]:
    """Return layer -> encoding.

    `flash` and `instructions`: the costs of the rest of the network, without the code that layers share; `others`: the work of its layers.

    For each possible set of linked readers, every price of a byte in instructions gives one candidate choice. Return the candidate
    that exceeds the limits least; among equals, the one that is best for the goal.
    """
    if goal.smallest or not layers:
        return smallest(layers)
    forms = [_forms(layer, model) for layer in layers]
    calls = np.array([[form.flash for form in each.values()] for each in forms])
    sizes = calls + np.array([[own_code(model, form.work) for form in each.values()] for each in forms])
    counts = np.array([[form.instructions for form in each.values()] for each in forms])
    best: tuple[tuple[float, ...], NDArray[np.int64]] | None = None
    rows = np.arange(len(layers))
    for readers in (some for count in range(1, 5) for some in combinations(range(len(NAMES)), count)):
        allowed = np.full_like(sizes, np.inf)
        allowed[:, readers] = sizes[:, readers]
        alone = ~np.isfinite(allowed).any(axis=1)
        allowed[alone, 0] = sizes[alone, 0]  # layers that have only the dense encoding
        for picked in _choices(allowed, counts):
            chosen = [each[NAMES[int(column)]].work for each, column in zip(forms, picked, strict=True)]
            total = flash + float(calls[rows, picked].sum()) + code_bytes(model, [*others, *chosen])
            instruction_total = instructions + float(counts[rows, picked].sum())
            key = (*_rank(goal, total, instruction_total), *picked.tolist())
            if best is None or key < best[0]:
                best = key, picked
    if best is None:
        return {layer.name: "dense" for layer in layers}
    return {layer.name: NAMES[int(column)] for layer, column in zip(layers, best[1], strict=True)}


@dataclass(frozen=True)
class _Form:
    """A layer in one encoding: bytes of its weights and its call; instructions; and the kernel's work."""

    flash: float
    instructions: float
    work: Work


def _forms(layer: EncodedLayer, model: OperatorModel) -> dict[str, _Form]:
    """Return each encoding of `NAMES`; those that the layer does not have cost infinitely much.

    An encoding that is not smaller than dense is left out: it is faster only by chance, and a plan without zeros must hold with a
    few."""
    stored = {form.name: form for form in stored_forms(layer.weights)}
    dense = stored["dense"]
    plain = Work(layer.name, layer.kernel, layer.features, "dense" if _read(layer) else "none", layer.own)
    works = {"dense": (dense, plain.on(model))}
    if works["dense"][1].kernel != layer.kernel:
        works["plain"] = (dense, replace(plain, own={}))
    for name in ("mask", "gaps"):
        if name in stored and stored[name].bytes < dense.bytes and _read(layer):
            features = sparse_features(dict(layer.features), stored[name])
            works[name] = (stored[name], Work(layer.name, layer.kernel, features, name))
    forms = {
        name: _Form(
            form.bytes + layer_flash(model, work),
            layer_instructions(work.kernel, work.features, model, work.layer),
            work,
        )
        for name, (form, work) in works.items()
    }
    none = _Form(np.inf, np.inf, plain)
    return {name: forms.get(name, none) for name in NAMES}


def _read(layer: EncodedLayer) -> bool:
    """Whether the kernel reads its weights through one of the readers."""
    return "quad_words" in layer.features


def layer_flash(model: OperatorModel, work: Work) -> float:
    """Return the bytes of a layer's call, and of the constants that its own kernel adds."""
    return work.extra + sum(model.layer_code.get(name, 0.0) for name in (work.kernel, work.encoding))


def own_code(model: OperatorModel, work: Work) -> float:
    """Return the bytes of the code that is generated for a layer's shape."""
    return sum(
        model.layer_code.get(f"{work.kernel} {name}", 0.0) * count for name, count in work.code.items()
    )


def code_bytes(model: OperatorModel, works: Iterable[Work]) -> float:
    """Return the bytes of code that layers share, each of them once: kernels, readers of weights, the functions that they call, and
    the code that is generated for a shape.

    Layers of one shape share the latter if they also have the same shift and zero points, which only the quantized network knows."""
    works = list(works)
    parts = {name for work in works for name, count in work.parts.items() if count > 0}
    functions = sum(one.bytes for one in model.functions.values() if parts & set(one.callers))
    shapes = {(w.kernel, *w.features.items(), *w.code.items()): w for w in works if w.code}
    generated = sum(own_code(model, work) for work in shapes.values())
    return functions + generated + sum(model.code.get(name, 0.0) for name in sorted(parts))


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
