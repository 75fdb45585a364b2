"""Inheritance of dense layers up to the classifier: the head of `cnn`, all of `mlp`."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from sparsemod.morphisms.inheritance.affine import (
    Affine,
    LayoutMismatch,
    choose,
    factor,
    put,
    width_notes,
    write,
    write_identity,
)
from sparsemod.morphisms.inheritance.align import Pairs, align
from sparsemod.morphisms.inheritance.signal import Signal, after, new_moments

State = dict[str, Tensor]
Size = tuple[int, int]


@dataclass(frozen=True)
class DenseLayer:
    """Names of a child's layer in the state: its weight, and the prefix of its batch norm, if any."""

    weight: str
    norm: str

    @property
    def name(self) -> str:
        """Short name for notes."""
        return self.weight.split(".")[-2]


@dataclass(frozen=True)
class Vector:
    """The input of the first dense layer: channels flattened from feature maps.

    `parent`, `child`: (rows, columns) of the maps in the parent and in the child; None for a global average. `windows`: both maps
    begin at the same step of a sequence and have the same distance between steps.
    """

    signal: Signal
    parent: Size | None
    child: Size | None
    windows: bool = False


def inherit_dense(
    parents: Sequence[Affine], children: Sequence[DenseLayer], vector: Vector, state: State
) -> tuple[bool, list[str]]:
    """Fill the child's layers from the parent's; both end in the classifier.

    Return whether the function is preserved, and notes.

    Raises LayoutMismatch when the parent's first layer does not fit the vector.
    """
    first, exact = _adapt(parents[0], vector)
    remaining = [first, *parents[1:]]  # the parent's layers without a place in the child so far
    signal = vector.signal
    places: Size = vector.child or (1, 1)
    notes: list[str] = []
    for i, j in _pairs(remaining, children, signal, places, state):
        if j is None:
            removed = remaining.pop(0)
            remaining[0] = _merge(removed, remaining[0])
            exact = False
            notes.append("a dense layer of the parent: removed, its linear part merged into the next one")
            continue
        layer = children[j]
        if i is not None:
            signal, preserved, layer_notes = _carry(
                state, layer, remaining.pop(0), signal, last=j == len(children) - 1
            )
        elif signal.positive and _inputs(signal, places) <= int(state[layer.weight].shape[0]):
            signal, preserved, layer_notes = (
                _identity(state, layer, signal, places),
                True,
                ["new, the identity"],
            )
            following = remaining[0]
            remaining[0] = Affine(
                following.weight.flatten(1)[:, :, None, None], following.bias, following.norm
            )
        else:
            signal, remaining[0], preserved = _signed(state, layer, signal, remaining[0])
            layer_notes = [
                "new, the next layer with both signs" + ("" if preserved else ", its strongest directions")
            ]
        notes += [f"{layer.name}: {note}" for note in layer_notes]
        exact &= preserved
        places = (1, 1)
    return exact, notes


def _adapt(first: Affine, vector: Vector) -> tuple[Affine, bool]:
    """Convert the first layer's weights to (outputs, parent's channels, rows, columns) of the child's maps."""
    height, width = vector.parent or (1, 1)
    channels = vector.signal.parents
    if first.weight.shape[1] != channels * height * width:
        raise LayoutMismatch(
            f"{first.weight.shape[1]} inputs of a dense layer, expected {channels} x {height} x {width}"
        )
    weight = first.weight.reshape(first.outputs, channels, height, width)
    if vector.parent == vector.child:
        return Affine(weight, first.bias, first.norm), True
    if vector.child is None:
        return Affine(weight.sum((2, 3), keepdim=True), first.bias, first.norm), height * width == 1
    area = vector.child[0] * vector.child[1]
    if vector.parent is None:
        spread = weight.expand(-1, -1, *vector.child) / area
        return Affine(spread, first.bias, first.norm), True
    if vector.windows:  # further steps have no effect yet
        same = functional.pad(weight, (0, vector.child[1] - width))
        return Affine(same, first.bias, first.norm), False
    resized = functional.interpolate(weight, size=vector.child, mode="bilinear", align_corners=False)
    return Affine(resized * (height * width / area), first.bias, first.norm), False


def _pairs(
    parents: Sequence[Affine], children: Sequence[DenseLayer], signal: Signal, places: Size, state: State
) -> Pairs:
    def match(i: int, j: int) -> float | None:
        if (i == len(parents) - 1) != (j == len(children) - 1):
            return None
        before, now = parents[i].outputs, int(state[children[j].weight].shape[0])
        return 0.5 * (1 - now / before) if now < before else 0.2 * (1 - before / now)

    def remove(i: int, j: int) -> float:
        return 1.0

    def insert(i: int, j: int) -> float:
        if i == len(parents):
            return 1.0
        width = int(state[children[j].weight].shape[0])
        positive, inputs = (
            (signal.positive, _inputs(signal, places)) if i == 0 else (True, parents[i - 1].outputs)
        )
        return 1.0 if (positive and inputs <= width) or 2 * parents[i].outputs <= width else 1.5

    return align(len(parents), len(children), match, remove, insert)


def _inputs(signal: Signal, places: Size) -> int:
    return len(signal.live()) * places[0] * places[1]


def _carry(
    state: State, layer: DenseLayer, parent: Affine, signal: Signal, last: bool
) -> tuple[Signal, bool, list[str]]:
    outputs = int(state[layer.weight].shape[0])
    if last:
        source, preserved = torch.arange(min(outputs, parent.outputs)), outputs == parent.outputs
        notes = [] if preserved else [f"{parent.outputs} classes in the parent, {outputs} in the child"]
    else:
        source, preserved = choose(parent, outputs)
        notes = width_notes(parent.outputs, source, preserved)
    rows = torch.nonzero(source >= 0).flatten()
    weight = signal.through(parent.weight * factor(state, layer.norm, parent)[:, None, None, None])
    put(state[layer.weight], rows, weight[source[rows]])
    write(state, layer.weight, layer.norm, rows, source[rows], parent, signal.lacking(parent.weight))
    return after(parent, source), preserved, notes


def _identity(state: State, layer: DenseLayer, signal: Signal, places: Size) -> Signal:
    """Make unit k pass on the k-th live input; further units are new."""
    area = places[0] * places[1]
    live = signal.live()
    units = int(state[layer.weight].shape[0])
    columns = (live[:, None] * area + torch.arange(area)).flatten()
    rows = torch.arange(len(columns))
    weight = torch.zeros(len(rows), state[layer.weight].shape[1])
    weight[rows, columns] = 1.0
    state[layer.weight][rows] = weight
    mean, variance = signal.mean[live].repeat_interleave(area), signal.variance[live].repeat_interleave(area)
    write_identity(state, layer.weight, layer.norm, rows, mean, variance)
    mix = torch.zeros(signal.parents, area, units)
    for place in range(area):
        mix[:, place, torch.arange(len(live)) * area + place] = signal.mix[:, live]
    means, variances = new_moments(units)
    means[rows], variances[rows] = mean, variance
    return Signal(mix.flatten(0, 1), signal.offset.repeat_interleave(area), means, variances, True)


def _signed(
    state: State, layer: DenseLayer, signal: Signal, following: Affine
) -> tuple[Signal, Affine, bool]:
    """Fill a new layer by x = relu(x) - relu(-x).

    It gets the next layer's weights with both signs, and the next layer subtracts its outputs.

    If units are too few for that, only the strongest directions of the next layer remain. Returns the signal
    after the new layer, the changed next layer, and whether the function is preserved.
    """
    units = int(state[layer.weight].shape[0])
    weight = signal.through(following.weight).flatten(1)
    half = min(units // 2, following.outputs)
    if not half:  # one unit has no room for two signs: it starts anew, and the next layer returns its bias
        bias = following.bias + signal.lacking(following.weight)
        changed = Affine(torch.zeros(following.outputs, 1, 1, 1), bias, following.norm)
        fresh = Signal(torch.zeros(1, 1), torch.zeros(1), *new_moments(1), True)
        return fresh, changed, False
    if half == following.outputs:
        left, inner = torch.eye(half), weight
    else:
        vectors, values, right = torch.linalg.svd(weight, full_matrices=False)
        left, inner = vectors[:, :half], values[:half, None] * right[:half]
        half = int(inner.shape[0])
    rows = torch.arange(2 * half)
    plain = Affine(torch.cat([inner, -inner])[:, :, None, None], torch.zeros(2 * half), None)
    put(state[layer.weight], rows, plain.weight)
    write(state, layer.weight, layer.norm, rows, rows, plain, torch.zeros(2 * half))
    changed = Affine(
        torch.cat([left, -left], 1)[:, :, None, None],
        following.bias + signal.lacking(following.weight),
        following.norm,
    )
    mean, variance = new_moments(units)
    return (
        Signal(torch.eye(2 * half, units), torch.zeros(2 * half), mean, variance, True),
        changed,
        len(left) == half,
    )


def _merge(removed: Affine, following: Affine) -> Affine:
    """Combine two layers to one linear map; ignore the relu between them."""
    mixing = following.weight[:, :, 0, 0]
    weight = torch.einsum("om,mphw->ophw", mixing, removed.weight * removed.scale()[:, None, None, None])
    return Affine(weight, following.bias + mixing @ removed.shift(), following.norm)
