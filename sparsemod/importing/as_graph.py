"""An integer network as a deployed graph, so that the costs of networks that never were float modules can be computed."""

from typing import Any

import torch

from sparsemod.graph import Graph, Operator
from sparsemod.quantization.integer_network import IntegerNetwork
from sparsemod.quantization.layers import Layer, Weighted

_KINDS = {"clamp": "relu"}
"""Kinds of operators by kind of layer, where the names differ."""


def as_graph(network: IntegerNetwork) -> Graph:
    """Return the operators of an integer network, with the integers as weights: for costs, not for float execution."""
    state: dict[str, torch.Tensor] = {}
    operators = []
    for layer in network.layers:
        weight = bias = None
        if isinstance(layer, Weighted):
            weight, bias = f"{layer.name}.weight", f"{layer.name}.bias"
            state[weight], state[bias] = torch.tensor(layer.weight), torch.tensor(layer.bias)
        operators.append(
            Operator(
                layer.name,
                _KINDS.get(layer.kind, layer.kind),
                layer.inputs,
                layer.output,
                _attributes(layer),
                weight,
                bias,
            )
        )
    return Graph(
        network.input, network.output, tuple(operators), network.named.shapes, state, network.named.layouts
    )


def _attributes(layer: Layer) -> dict[str, Any]:
    window = layer.window
    geometry = {
        "kernel": window.kernel, "stride": window.stride, "padding": window.padding, "dilation": window.dilation,
        "groups": window.groups, "ceil_mode": window.ceil,
    }  # fmt: skip
    activation = {"activation": None} if layer.traits.fuses_activation else {}
    named = {name: getattr(layer, name) for name in ("axis", "keep") if hasattr(layer, name)}
    return {
        **(geometry if layer.traits.window or window.kernel != (1, 1) else {}),
        **activation,
        **named,
        **layer.attributes,
    }
