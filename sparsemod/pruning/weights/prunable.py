"""The weights that unstructured pruning may zero, in a module and in its graph."""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sparsemod.graph import Graph


def prunable_weights(module: "nn.Module") -> "dict[str, Tensor]":
    """Return the weights of convolutions, linear and recurrent layers by name, a shared one once.

    Biases and norms are not pruned. A recurrent layer has a weight for its input and one for its state, for
    each layer and direction.
    """
    from torch import nn

    weights: dict[str, Tensor] = {}
    seen: set[int] = set()
    for path, layer in module.named_modules():
        if isinstance(layer, nn.RNNBase):
            names = tuple(n for n in layer._parameters if n.startswith(("weight_ih_l", "weight_hh_l")))
        elif isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear):
            names = ("weight",)
        else:
            continue
        for name in names:
            # A parametrized layer recomputes its weight in each step, so a mask on the result would be lost.
            weight = layer._parameters.get(name)
            if weight is not None and id(weight) not in seen:
                seen.add(id(weight))
                weights[f"{path}.{name}" if path else name] = weight
    return weights


def graph_shapes(graph: "Graph") -> dict[str, tuple[int, ...]]:
    """Return the shapes of the `prunable_weights` of a graph's module, in the order of execution."""
    shapes: dict[str, tuple[int, ...]] = {}
    for operator in graph.operators:
        if operator.weight is None:
            continue
        shape = tuple(graph.state[operator.weight].shape)
        named: tuple[tuple[str | None, tuple[int, ...]], ...]
        if not operator.traits.recurrent:
            named = ((operator.attributes.get("parameter"), shape),)
        else:
            rows, units = shape[0], int(operator.attributes["units"])
            of_input, of_state = operator.attributes["parameters"]
            named = (of_input, (rows, shape[1] - units)), (of_state, (rows, units))
        for name, own in named:
            if name is not None:
                shapes.setdefault(name, own)
    return shapes


def graph_weights(graph: "Graph") -> dict[str, int]:
    """Return the number of elements of each of the `prunable_weights` of a graph's module."""
    return {name: math.prod(shape) for name, shape in graph_shapes(graph).items()}
