"""The networks of the schemes "dynamic" and "both": int8 weights, int32 sums, float32 tensors between the layers.

A convolution or linear layer quantizes its input to int8, computes int32 sums and returns real numbers. All real arithmetic is
float32, each operation rounded once, and `>` binds the order:

    low = min(0, min x), high = max(0, max x)            of the sample (dynamic) or of the calibration (static)
    s = (high - low) / 255, or 1 if that is below 2^-126
    z = clamp(floor(-128 - low / s + 0.5), -128, 127)
    q = clamp(rint(x / s) + z, -128, 127)                 round half to even
    y[o] = float32(sum w[o] (q - z)) * (s * weight_scale[o]) + bias[o]

Outside the input q = z, so padding adds nothing. Weights are symmetric per output channel as in static quantization. A recurrent layer
uses the int8 weights and the quantized input x' = (q - z) s; its gates and its state are float32. All other operators are float32.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsemod.errors import InvalidInput
from sparsemod.graph import Graph, Operator
from sparsemod.graph.execute import activate, step
from sparsemod.graph.macs import operator_macs
from sparsemod.quantization.arithmetic import INT8_MAX, INT8_MIN, WEIGHT_MAX
from sparsemod.quantization.files import pack, unpack
from sparsemod.quantization.graph_network import GraphNetwork, complete, graph_header, graph_of
from sparsemod.quantization.network import LayerInfo

FORMAT, VERSION = "sparsemod-dynamic-network", 1
_TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True, eq=False)
class DynamicNetwork(GraphNetwork):
    """A deployed graph whose layers with weights compute in int8.

    `weights`: key of the graph's state -> int8 weights (O, ...) and float32 scale (O,). `ranges`: operator -> the range of its input
    measured once; an operator without one measures the range of each sample when it runs.
    """

    title: ClassVar[str] = "dynamically quantized network"
    weights: Mapping[str, tuple[Tensor, Tensor]]
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @classmethod
    def of(cls, graph: Graph, ranges: Mapping[str, tuple[float, float]]) -> "DynamicNetwork":
        """Return the network of a deployed graph. Raises InvalidInput for weights that are not finite."""
        weights = {}
        for operator in graph.operators:
            if operator.weight is not None and operator.traits.weighted and operator.weight not in weights:
                weights[operator.weight] = _rounded(operator, graph.state[operator.weight])
        return cls(graph, weights, dict(ranges))

    def _step(self, graph: Graph, operator: Operator, inputs: list[Tensor], lengths: Tensor | None) -> Tensor:
        if operator.weight not in self.weights:
            return step(graph, operator, inputs, lengths)
        x, *rest = inputs
        scale, zero = self._scale(operator, x)
        # (q - z): whole numbers of at most 255
        steps = (torch.round(x / scale) + zero).clamp(INT8_MIN, INT8_MAX) - zero
        if operator.traits.recurrent:
            return step(self._dequantized, operator, [steps * scale, *rest], lengths)
        bare = replace(operator, bias=None, attributes={**operator.attributes, "activation": None})
        # Whole numbers in float64 are exact below 2^53.
        sums = step(self._integers, bare, [steps.double(), *rest], lengths).float()
        per_channel = (1, -1, *(1,) * (sums.ndim - 2))
        each = scale.reshape(-1, *(1,) * (sums.ndim - 1)) * self.weights[str(operator.weight)][1].reshape(
            per_channel
        )
        y = sums * each
        if operator.bias is not None:
            y = y + graph.state[operator.bias].float().reshape(per_channel)
        return activate(y, operator.attributes.get("activation"))

    def _scale(self, operator: Operator, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return scale and zero point of each sample, broadcast to `x`."""
        shape = (-1, *(1,) * (x.ndim - 1))
        measured = self.ranges.get(operator.name)
        if measured is None:
            flat = x.flatten(1)
            low, high = flat.amin(1).clamp(max=0), flat.amax(1).clamp(min=0)
        else:
            low, high = (torch.tensor([bound], dtype=torch.float32) for bound in measured)
            low, high = low.clamp(max=0), high.clamp(min=0)
        scale = (high - low) / 255
        scale = torch.where(scale < _TINY, torch.ones_like(scale), scale)
        zero = torch.floor(INT8_MIN - low / scale + 0.5).clamp(INT8_MIN, INT8_MAX)
        return scale.reshape(shape), zero.reshape(shape)

    @cached_property
    def _integers(self) -> Graph:
        """The graph with whole-numbered float64 weights."""
        return replace(
            self.graph, state={**self.graph.state, **{k: w.double() for k, (w, _) in self.weights.items()}}
        )

    @cached_property
    def _dequantized(self) -> Graph:
        """The graph with the real values of the int8 weights."""
        real = {k: w.float() * s.reshape(-1, *(1,) * (w.ndim - 1)) for k, (w, s) in self.weights.items()}
        return replace(self.graph, state={**self.graph.state, **real})

    def layers_info(self) -> tuple[LayerInfo, ...]:
        """Return each operator in execution order: int8 weights, float32 biases."""
        return tuple(self._info(operator) for operator in self.graph.operators)

    def _info(self, operator: Operator) -> LayerInfo:
        shapes, state = self.graph.shapes, self.graph.state
        held = self.weights.get(str(operator.weight))
        weight = np.zeros(0, np.int8) if held is None else held[0].numpy()
        other = 0 if operator.weight is None or held is not None else 4 * state[operator.weight].numel()
        return LayerInfo(
            name=operator.name,
            kind=operator.kind,
            input_shapes=tuple(shapes[n] for n in operator.inputs),
            output_shape=shapes[operator.output],
            macs=operator_macs(self.graph, operator),
            weights=weight.size,
            nonzeros=int(np.count_nonzero(weight)),
            weight_bytes=weight.size + other,
            bias_bytes=0 if operator.bias is None else 4 * state[operator.bias].numel(),
        )

    def to_bytes(self) -> bytes:
        """Return a file with operators, weights and ranges; equal networks give equal bytes."""
        header = graph_header(self.graph, FORMAT, VERSION)
        header["ranges"] = {name: list(bounds) for name, bounds in self.ranges.items()}
        arrays: dict[str, NDArray[Any]] = {}
        for i, key in enumerate(header["state"]):
            held = self.weights.get(key)
            arrays[str(i)] = (self.graph.state[key] if held is None else held[0]).numpy()
            if held is not None:
                arrays[f"{i}.scale"] = held[1].numpy()
        return pack(header, arrays)

    @classmethod
    def from_bytes(cls, data: bytes) -> "DynamicNetwork":
        """Return the network whose `to_bytes` returned `data`. Raises InvalidInput for other data."""
        header, arrays = unpack(data, FORMAT, VERSION)
        with complete(FORMAT):
            tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
            state, weights = {}, {}
            for i, key in enumerate(header["state"]):
                held, scale = tensors[str(i)], tensors.get(f"{i}.scale")
                state[key] = held
                if scale is not None:
                    weights[key] = (held, scale)
                    state[key] = held.float() * scale.reshape(-1, *(1,) * (held.ndim - 1))
            ranges = {name: (float(low), float(high)) for name, (low, high) in header["ranges"].items()}
            network = cls(graph_of(header, state), weights, ranges)
            network.logits(np.zeros((1, *network.input_shape), np.float32))
        return network


def _rounded(operator: Operator, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return int8 weights and the float32 scale of each output channel."""
    real = weight.detach().cpu().double()
    if not bool(torch.isfinite(real).all()):
        raise InvalidInput(f"layer {operator.name!r}", "weights", "finite values; the network has diverged")
    largest = real.abs().flatten(1).amax(1)
    scale = torch.where(largest < 1e-30, torch.ones_like(largest), largest / WEIGHT_MAX).float()
    steps = torch.round(real / scale.double().reshape(-1, *(1,) * (real.ndim - 1)))
    return steps.clamp(-WEIGHT_MAX, WEIGHT_MAX).to(torch.int8), scale
