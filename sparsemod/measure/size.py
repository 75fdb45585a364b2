"""Model size: weights as deployed, count of nonzero weights, sparse encoding.

Bytes per conv and linear layer of the deployed graph (batch norm is already folded):

    dense   = weights x 1 byte (int8) + output channels x (4 bias, int32 + 4 multiplier, int32 + 1 shift, int8)
    bitmap  = per filter ceil(its weights / 8) + nonzeros x 1 byte + the same 9 bytes per output channel
    sparse  = for each layer the smaller of the two; layers with groups stay dense

A float network (no quantization) has 4 bytes a weight and a float32 bias per output channel instead.

A weight shared by two operators counts for each, because each has its own requantization and is stored as a separate layer. Not
counted: code, and the few constants of other operators (scales of add and concat, zero points).

The C of a dynamically quantized network stores every weight, so `sparse` is `dense` there.

Generated C has a third encoding for very sparse layers, distances between nonzero weights. Its size depends on their positions, and it
is used only where it is even smaller. So the linked size is `sparse` or slightly less.

Before training only the network's total number of zeros is known, not their positions. `planned_sparse_bytes` is then an upper bound:
with n_l weights, z_l zeros, c_l constant bytes and m_l bytes of bitmap in layer l, g the layers with groups and G their weights,

    sum_l min(n_l + c_l, m_l + n_l - z_l + c_l)  <=
        min(sum_l (n_l + c_l), sum_(l in g) (n_l + c_l) + sum_(l not in g) (m_l + n_l + c_l) - max(0, sum_l z_l - G)).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sparsemod.errors import InvalidInput
from sparsemod.graph import Graph
from sparsemod.kinds.encodings import mask_bytes
from sparsemod.spec.methods import INT8, Storage


@dataclass(frozen=True)
class LayerSize:
    """A layer's number of weights, of output channels (or rows of constants), and their storage.

    With several `groups` every weight is stored, as in layers whose kind is dense."""

    name: str
    weights: int
    channels: int
    storage: Storage = INT8
    groups: int = 1

    @property
    def dense(self) -> int:
        """Return the bytes with every weight stored."""
        return self.weights * self.storage.weight_bytes + self.channels * self.storage.channel_bytes

    def bitmap(self, nonzeros: int) -> int:
        """Return the bytes with one bit per weight (whole bytes per filter) and the nonzero weights; a layer with groups is dense."""
        if self.groups > 1:
            return self.dense
        return (
            mask_bytes(self.channels, self.weights // self.channels)
            + nonzeros * self.storage.weight_bytes
            + self.channels * self.storage.channel_bytes
        )


def layer_sizes(graph: Graph, storage: Storage = INT8) -> tuple[LayerSize, ...]:
    """Return the conv and linear layers in execution order, with the given `storage`."""
    sizes = []
    for operator in graph.operators:
        if operator.weight is not None and operator.traits.weighted:
            weight = graph.state[operator.weight]
            sizes.append(
                LayerSize(
                    operator.name,
                    weight.numel(),
                    # a recurrent layer's rows have constants for the input and for the state
                    len(weight) * (2 if operator.traits.recurrent else 1),
                    storage,
                    max(2, len(weight))
                    if operator.traits.dense or storage.quantizes_inputs
                    else operator.window.groups,
                )
            )
    return tuple(sizes)


def parameters(layers: Sequence[LayerSize]) -> int:
    """Return the number of weights, with zeros, without biases."""
    return sum(layer.weights for layer in layers)


def deployed_bytes(layers: Sequence[LayerSize]) -> int:
    """Return the bytes with every layer dense."""
    return sum(layer.dense for layer in layers)


def sparse_bytes(layers: Sequence[LayerSize], nonzeros: Mapping[str, int]) -> int:
    """Return the bytes with each layer in its smaller encoding. Raises InvalidInput for nonzero counts of other layers."""
    check_nonzeros(layers, nonzeros)
    return sum(min(layer.dense, layer.bitmap(nonzeros[layer.name])) for layer in layers)


def planned_sparse_bytes(layers: Sequence[LayerSize], zeros: int) -> int:
    """Return an upper bound of `sparse_bytes` for any placement of `zeros` zeros."""
    width = layers[0].storage.weight_bytes if layers else 1
    grouped = sum(layer.weights for layer in layers if layer.groups > 1)
    bitmaps = sum(layer.bitmap(layer.weights) for layer in layers) - max(0, zeros - grouped) * width
    return min(deployed_bytes(layers), bitmaps)


def check_nonzeros(layers: Sequence[LayerSize], nonzeros: Mapping[str, int]) -> None:
    """Raise InvalidInput unless `nonzeros` has a possible count for exactly these layers."""
    names = {layer.name for layer in layers}
    if set(nonzeros) != names:
        raise InvalidInput("nonzeros", sorted(nonzeros), f"a count for each of {', '.join(sorted(names))}")
    for layer in layers:
        if not 0 <= nonzeros[layer.name] <= layer.weights:
            raise InvalidInput(f"nonzeros.{layer.name}", nonzeros[layer.name], f"0 to {layer.weights}")
