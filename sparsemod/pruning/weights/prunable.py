"""The weights that unstructured pruning may zero, in a module and in its graph."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sparsemod.graph import Graph


def prunable_weights(module: "nn.Module") -> "dict[str, Tensor]":
    """Return the weights of convolutions and linear layers by name, a shared one once.

    Biases and norms are not pruned.
    """
    from torch import nn

    weights: dict[str, Tensor] = {}
    seen: set[int] = set()
    for path, layer in module.named_modules():
        if not isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear):
            continue
        # A parametrized layer recomputes its weight in each step, so a mask on the result would be lost.
        weight = layer._parameters.get("weight")
        if weight is not None and id(weight) not in seen:
            seen.add(id(weight))
            weights[f"{path}.weight" if path else "weight"] = weight
    return weights


def graph_weights(graph: "Graph") -> dict[str, int]:
    """Return the number of elements of each of the `prunable_weights` of a graph's module."""
    sizes = {}
    for operator in graph.operators:
        parameter = operator.attributes.get("parameter")
        if operator.weight is not None and parameter is not None:
            sizes[parameter] = graph.state[operator.weight].numel()
    return sizes
