"""Encodings of a layer's weights in flash: all weights, or only the nonzero weights with an index of their positions.

    dense   every weight
    mask    the nonzero weights, and one bit per weight, whole bytes per filter
    gaps    the nonzero weights, each with the number of zeros before it (one byte), and one byte per filter for those behind

Stored zeros bridge a gap of more than 255 zeros. Layers with groups (including depthwise layers) stay dense. The encodings are chosen
for the whole network (`sparsemod.measure.encodings`) and stored in the network; `encodings` chooses for a network without a stored
choice.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sparsemod.export.c.arena import node
from sparsemod.kinds.encodings import LONGEST_GAP, bridging_zeros
from sparsemod.quantization.integer_network import IntegerNetwork
from sparsemod.quantization.layers import Weighted

if TYPE_CHECKING:
    from sparsemod.measure.encodings import EncodedLayer, EncodingGoal

Int8 = NDArray[np.int8]


@dataclass(frozen=True)
class Encoded:
    """Encoded weights: `weights` as stored, `index` (None when dense), and the kernel that reads them."""

    name: str
    kernel: str
    weights: Int8
    index: NDArray[np.uint8] | None

    @property
    def bytes(self) -> int:
        """Total bytes of weights and index."""
        return self.weights.size + (0 if self.index is None else self.index.size)


def encode(weight: Int8, encoding: str = "dense", groups: int = 1) -> Encoded:
    """Encode (outputs, taps) weights; with groups always densely."""
    if groups == 1 and encoding == "mask":
        return mask(weight)
    if groups == 1 and encoding == "gaps":
        return gaps(weight)
    return Encoded("dense", "nn_apply", blocked(weight, groups), None)


def encodings(network: IntegerNetwork, goal: "EncodingGoal | None" = None) -> dict[str, str]:
    """Return layer -> encoding: the network's stored choice, or the choice for `goal`.

    The default goal gives equal weight to flash and instructions of a Cortex-M4. The choice ignores the costs of layers without
    weights."""
    if network.encodings and goal is None:
        return dict(network.encodings)
    from sparsemod.measure.encodings import EncodingGoal, choose
    from sparsemod.targets import operator_model

    goal = goal or EncodingGoal()
    model = operator_model(goal.core)
    return choose(encoded_layers(network), model, goal, flash=model.code.get("base", 0.0))


def smallest(network: IntegerNetwork) -> dict[str, str]:
    """Return layer -> the encoding with the fewest bytes."""
    from sparsemod.measure.encodings import smallest as fewest

    return fewest(encoded_layers(network))


def encoded_layers(network: IntegerNetwork) -> "list[EncodedLayer]":
    """Return the layers with several possible encodings, as input of the choice."""
    from sparsemod.measure.encodings import EncodedLayer
    from sparsemod.measure.work import Weights, loops_of

    layers = []
    for layer in network.weighted():
        loops = loops_of(node(layer), network.named)
        if "quad_words" in loops.features or loops.own:
            outputs, nonzeros = len(layer.weight), int(np.count_nonzero(layer.weight))
            weights = Weights(
                outputs, layer.weight.size // outputs, layer.window.groups, nonzeros, _bridges(layer)
            )
            layers.append(EncodedLayer(layer.name, loops.kernel, loops.features, weights, loops.own))
    return layers


def _bridges(layer: Weighted) -> int:
    """Return the number of zeros that `gaps` stores for this layer."""
    rows = np.moveaxis(layer.weight, 1, -1).reshape(len(layer.weight), -1)  # channels last, as in C
    if rows.shape[1] <= LONGEST_GAP:
        return 0
    # The runs of zeros lie between the nonzero weights and the ends of the filters.
    places = np.pad(rows != 0, ((0, 0), (1, 1)), constant_values=True)
    filters, taps = np.nonzero(places)
    runs = np.diff(taps)[np.diff(filters) == 0] - 1
    return int(np.sum(bridging_zeros(runs)))


def blocked(weight: Int8, groups: int) -> Int8:
    """Return (outputs, taps) weights as flat bytes: blocks of four filters and four taps, group by group, as in nn.h."""
    pieces = []
    for filters in np.split(weight, groups):
        whole, taps = len(filters) // 4 * 4, filters.shape[1] // 4 * 4
        for block in filters[:whole].reshape(-1, 4, filters.shape[1]):
            pieces.append(block[:, :taps].reshape(4, -1, 4).transpose(1, 0, 2).reshape(-1))
            pieces.append(block[:, taps:].T.reshape(-1))
        pieces.append(filters[whole:].reshape(-1))
    return np.concatenate(pieces)


def mask(weight: Int8) -> Encoded:
    """Return the nonzero weights, and an index with one bit per weight."""
    bits = np.packbits(weight != 0, axis=1, bitorder="little")
    return Encoded("mask", "nn_apply_mask", weight[weight != 0], bits.reshape(-1))


def gaps(weight: Int8) -> Encoded:
    """Return the nonzero weights and the distances between them."""
    values: list[int] = []
    index: list[int] = []
    for filter_ in weight:
        start = 0
        for place in [*np.flatnonzero(filter_).tolist(), weight.shape[1]]:
            while place - start > LONGEST_GAP:
                index.append(LONGEST_GAP)
                values.append(0)
                start += LONGEST_GAP + 1
            index.append(place - start)
            if place < weight.shape[1]:
                values.append(int(filter_[place]))
            start = place + 1
    return Encoded("gaps", "nn_apply_gaps", np.array(values, np.int8), np.array(index, np.uint8))
