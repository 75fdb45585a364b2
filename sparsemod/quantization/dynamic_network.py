"""The networks of the schemes "dynamic" and "both": int8 weights, int32 sums, float32 tensors between the layers.

A convolution or linear layer quantizes its input to int8, computes int32 sums and returns real numbers. All real arithmetic is
float32, each operation rounded once, and parentheses bind the order:

    low = min(0, min x), high = max(0, max x)            of the sample (dynamic) or of the calibration (static)
    s = (high - low) / 255, or 1 if that is below 2^-126
    z = clamp(floor((-128 - low / s) + 0.5), -128, 127)
    q = clamp(rint(x / s) + z, -128, 127)                 round half to even
    y[o] = (float32(sum w[o] (q - z)) * (s * weight_scale[o])) + bias[o]

Outside the input q = z, so padding adds nothing. Weights are symmetric per output channel as in static quantization.

A recurrent layer quantizes the input of each step, and its state before each step, with their own ranges. Its weights of the input and
of the state have scales of their own. With X and H, the y of the input and of the state for each gate:

    GRU    r = sigmoid(X_r + H_r), z = sigmoid(X_z + H_z), n = tanh(X_n + (r * H_n)), h = n + (z * (h - n))
    LSTM   i, f, o = sigmoid(X + H), g = tanh(X + H), c = (f * c) + (i * g), h = o * tanh(c)

Sigmoid and tanh are those of the integer networks: linear between the entries of a table. `sparsemod.quantization.dynamic_rules` defines
the other operators.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsemod.decoding import Decoding
from sparsemod.errors import InvalidInput
from sparsemod.graph import Graph, Operator
from sparsemod.graph.execute import step, steps_of
from sparsemod.graph.macs import operator_macs
from sparsemod.layouts import Shape, TensorLayout
from sparsemod.quantization.arithmetic import WEIGHT_MAX
from sparsemod.quantization.dynamic_arithmetic import activated, scale_of, sigmoid, steps_from_zero, tanh
from sparsemod.quantization.dynamic_rules import run, valid_steps
from sparsemod.quantization.files import pack, unpack
from sparsemod.quantization.graph_network import GraphNetwork, complete, graph_header, graph_of
from sparsemod.quantization.network import LayerInfo, best, checked_lengths
from sparsemod.quantization.raw_samples import InputNormalization

FORMAT, VERSION = "sparsemod-dynamic-network", 2


@dataclass(frozen=True, eq=False)
class DynamicNetwork(GraphNetwork):
    """A deployed graph whose layers with weights compute in int8.

    `weights`: key of the graph's state -> int8 weights (O, ...) and float32 scale (O,); of a recurrent layer (O, 2), for the weights of
    the input and of the state. `ranges`: operator -> the range of its input measured once; an operator without one measures the range
    when it runs. `normalization`, `classes` and `decoding` as of IntegerNetwork.
    """

    title: ClassVar[str] = "dynamically quantized network"
    weights: Mapping[str, tuple[Tensor, Tensor]]
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    normalization: InputNormalization | None = None
    classes: tuple[str, ...] = ()
    decoding: Decoding | None = None

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
            return run(graph, operator, inputs, lengths)
        if operator.traits.recurrent:
            return self._recurrent(operator, inputs[0], lengths)
        x, shape = inputs[0], (-1, *(1,) * (inputs[0].ndim - 1))
        scale, zero = (each.reshape(shape) for each in self.scale(operator, x))
        bare = replace(operator, bias=None, attributes={**operator.attributes, "activation": None})
        # Whole numbers in float64 are exact below 2^53.
        sums = step(self._integers, bare, [steps_from_zero(x, scale, zero).double()])
        per_channel = (1, -1, *(1,) * (sums.ndim - 2))
        weight_scale = self.weights[str(operator.weight)][1].reshape(per_channel)
        bias = self.bias(operator, operator.bias).reshape(per_channel)
        y = sums.float() * (scale.reshape(-1, *(1,) * (sums.ndim - 1)) * weight_scale) + bias
        return activated(y, operator.attributes.get("activation"))

    def scale(self, operator: Operator, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return scale and zero point of each sample of an operator's input (N, ...), or the one of the calibration."""
        measured = self.ranges.get(operator.name)
        if measured is not None:
            return scale_of(*(torch.tensor([bound], dtype=torch.float32) for bound in measured))
        flat = x.flatten(1)
        return scale_of(flat.amin(1), flat.amax(1))

    def bias(self, operator: Operator, key: str | None) -> Tensor:
        """Return the float32 bias of each output channel; zeros without one."""
        if key is None:
            return torch.zeros(len(self.weights[str(operator.weight)][0]))
        return self.graph.state[key].float()

    def _recurrent(self, operator: Operator, x: Tensor, lengths: Tensor | None) -> Tensor:
        a, (weight, scale) = operator.attributes, self.weights[str(operator.weight)]
        units, places = int(a["units"]), range(x.shape[1])
        of_input, of_state = weight[:, :-units].double().T, weight[:, -units:].double().T
        bias, state_bias = self.bias(operator, operator.bias), self.bias(operator, a["state_bias"])
        valid = valid_steps(operator, x, lengths)
        state, cell = torch.zeros(len(x), units), torch.zeros(len(x), units)
        made = torch.zeros(len(x), x.shape[1], units)
        for place in reversed(places) if a["reverse"] else places:
            gates = _gates(x[:, place], of_input, scale[:, 0], bias)
            state_gates = _gates(state, of_state, scale[:, 1], state_bias)
            new, new_cell = (_gru if operator.kind == "gru" else _lstm)(gates, state_gates, state, cell)
            now = (place < valid)[:, None]
            state, cell = torch.where(now, new, state), torch.where(now, new_cell, cell)
            made[:, place] = torch.where(now, state, 0.0)
        return state if a["last"] else made

    @cached_property
    def _integers(self) -> Graph:
        """The graph with whole-numbered float64 weights."""
        return replace(
            self.graph, state={**self.graph.state, **{k: w.double() for k, (w, _) in self.weights.items()}}
        )

    @property
    def uses_lengths(self) -> bool:
        """Whether an operator reads the number of valid steps of each sample."""
        return self.graph.uses_lengths

    @property
    def input_layout(self) -> TensorLayout:
        """The layout of a sample."""
        return self.graph.layout(self.graph.input)

    @property
    def output_shape(self) -> Shape:
        """Shape of the output of one sample."""
        return self.graph.shapes[self.graph.output]

    @property
    def kind(self) -> str:
        """What the outputs are, as `Decoding.targets` says; "" for outputs that are nothing of that."""
        shape = self.output_shape
        kind = "classes" if self.decoding is None else self.decoding.targets
        return "" if kind == "classes" and (len(shape) > 1 or shape[0] < 2) else kind

    def answers(self, samples: Any, outputs: NDArray[np.float32]) -> NDArray[Any]:
        """Return what the C code makes of outputs (N, *output shape) for normalized samples; see `IntegerNetwork.answers`."""
        if self.kind == "labels":
            return np.asarray(outputs > 0, np.uint8)
        if self.kind == "values" and self.decoding is not None:
            return self.decoding.values(outputs)
        if self.kind == "normal":
            return self._scores(np.asarray(samples, np.float32), outputs)
        return np.asarray(outputs.argmax(axis=1)) if self.kind == "pixels" else best(outputs)

    def _scores(self, x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the mean squared differences, added in float64 in the order of C's outputs."""
        if y.ndim > 2:
            axes = (0, *(axis + 1 for axis in self.graph.layout(self.graph.output).memory))
            x, y = x.reshape(y.shape).transpose(axes), y.transpose(axes)
        gaps = (x.reshape(len(x), -1) - y.reshape(len(y), -1)).astype(np.float64)
        total = np.add.accumulate(gaps * gaps, axis=1)[:, -1]
        return np.asarray(total / gaps.shape[1], np.float32)

    def checked_lengths(self, count: int, lengths: Any = None) -> NDArray[np.int64] | None:
        """Return `lengths` (N,) as int64; None for a network that does not use lengths. Raises InvalidInput."""
        return checked_lengths(count, steps_of(self.graph), lengths) if self.graph.uses_lengths else None

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
            bias_bytes=sum(
                4 * state[key].numel()
                for key in (operator.bias, operator.attributes.get("state_bias"))
                if key
            ),
        )

    def to_bytes(self) -> bytes:
        """Return a file with operators, weights and ranges; equal networks give equal bytes."""
        header = graph_header(self.graph, FORMAT, VERSION)
        header["ranges"] = {name: list(bounds) for name, bounds in self.ranges.items()}
        if self.normalization is not None:
            header["normalization"] = self.normalization.to_dict()
        if self.classes:
            header["classes"] = list(self.classes)
        if self.decoding is not None:
            header["decoding"] = self.decoding.to_dict()
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
                state[key] = tensors[str(i)]
                if f"{i}.scale" in tensors:
                    weights[key] = (state[key], tensors[f"{i}.scale"])
            ranges = {name: (float(low), float(high)) for name, (low, high) in header["ranges"].items()}
            constants, decoding = header.get("normalization"), header.get("decoding")
            network = cls(
                graph_of(header, state),
                weights,
                ranges,
                None if constants is None else InputNormalization.from_dict(constants),
                tuple(str(name) for name in header.get("classes", ())),
                None if decoding is None else Decoding.from_dict(decoding),
            )
            network.logits(np.zeros((1, *network.input_shape), np.float32))
        return network


def _gates(x: Tensor, weight: Tensor, weight_scale: Tensor, bias: Tensor) -> Tensor:
    """Return y (N, rows) of one step's numbers (N, columns) with weights (columns, rows)."""
    scale, zero = (each[:, None] for each in scale_of(x.amin(1), x.amax(1)))
    sums = (steps_from_zero(x, scale, zero).double() @ weight).float()
    return sums * (scale * weight_scale) + bias


def _gru(gates: Tensor, state_gates: Tensor, state: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    (xr, xz, xn), (hr, hz, hn) = gates.chunk(3, 1), state_gates.chunk(3, 1)
    r, z = sigmoid(xr + hr), sigmoid(xz + hz)
    n = tanh(xn + r * hn)
    return n + z * (state - n), cell


def _lstm(gates: Tensor, state_gates: Tensor, state: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    i, f, g, o = (gates + state_gates).chunk(4, 1)
    cell = sigmoid(f) * cell + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(cell), cell


def _rounded(operator: Operator, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return int8 weights and the float32 scale of each output channel; of a recurrent layer's two matrices (O, 2)."""
    if operator.traits.recurrent:
        units = int(operator.attributes["units"])
        parts = [_symmetric(operator, part) for part in (weight[:, :-units], weight[:, -units:])]
        return torch.cat([w for w, _ in parts], 1), torch.stack([scale for _, scale in parts], 1)
    return _symmetric(operator, weight)


def _symmetric(operator: Operator, weight: Tensor) -> tuple[Tensor, Tensor]:
    real = weight.detach().cpu().double()
    if not bool(torch.isfinite(real).all()):
        raise InvalidInput(f"layer {operator.name!r}", "weights", "finite values; the network has diverged")
    largest = real.abs().flatten(1).amax(1)
    scale = torch.where(largest < 1e-30, torch.ones_like(largest), largest / WEIGHT_MAX).float()
    steps = torch.round(real / scale.double().reshape(-1, *(1,) * (real.ndim - 1)))
    return steps.clamp(-WEIGHT_MAX, WEIGHT_MAX).to(torch.int8), scale
