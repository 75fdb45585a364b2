"""Recurrent layers as an ONNX Scan over steps, in 64-bit integers: the integer network's results, exactly."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.export.exporters import unsupported_layer
from sparsemod.export.onnx.layers import RULES, OnnxGraph
from sparsemod.quantization.layers.recurrent import SIGMOID, Recurrent


class _Body:
    """Integer arithmetic as nodes. Names begin with `prefix`; constants are initializers of the whole graph."""

    def __init__(self, graph: OnnxGraph, prefix: str) -> None:
        self.graph, self.prefix, self.count = graph, prefix, 0

    def op(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Append a node and return its output."""
        self.count += 1
        return self.graph.node(operator, list(inputs), f"{self.prefix}/{self.count}", **attributes)

    def number(self, value: int) -> str:
        """Return a constant that all recurrent layers share."""
        return self.graph.constant(f"recurrent/{value}", np.int64(value))

    def values(self, name: str, values: NDArray[Any]) -> str:
        """Return a constant array of the layer."""
        return self.graph.constant(f"{self.prefix}/{name}", values)

    def scaled(self, a: str, by: int) -> str:
        return self.op("Mul", a, self.number(by))

    def shifted(self, a: str, bits: int, rounding: bool = True) -> str:
        """Return a / 2^bits, rounded to nearest with halves upwards, or down."""
        if rounding:
            a = self.op("Add", a, self.number(1 << (bits - 1)))
        return self.floored(a, self.number(1 << bits))

    def floored(self, a: str, divisor: str) -> str:
        """Return floor(a / divisor); ONNX divides towards zero, and Mod has the divisor's sign."""
        return self.op("Div", self.op("Sub", a, self.op("Mod", a, divisor)), divisor)

    def clipped(self, a: str, low: int = -32767, high: int = 32767) -> str:
        return self.op("Clip", a, self.number(low), self.number(high))

    def sigmoid(self, a: str) -> str:
        """See the definition in `sparsemod.quantization.layers.recurrent`."""
        a = self.clipped(a)
        size = self.op("Abs", a)
        place = self.op("Div", size, self.number(256))
        rest = self.op("Sub", size, self.scaled(place, 256))
        starts = self.graph.constant("recurrent/sigmoid", SIGMOID[:-1])
        steps = self.graph.constant("recurrent/sigmoid_steps", np.diff(SIGMOID))
        part = self.shifted(self.op("Mul", self.op("Gather", steps, place), rest), 8)
        value = self.op("Add", self.op("Gather", starts, place), part)
        mirrored = self.op("Sub", self.number(32768), value)
        return self.op("Where", self.op("Less", a, self.number(0)), mirrored, value)

    def tanh(self, a: str) -> str:
        doubled = self.sigmoid(self.scaled(self.clipped(a), 2))
        return self.op("Sub", self.scaled(doubled, 2), self.number(32768))

    def rows(
        self, x: str, name: str, weight: NDArray[np.int8], bias: Any, multiplier: Any, shift: Any
    ) -> str:
        """Return the requantized sums of the gate rows, (..., rows)."""
        matrix = self.op(
            "Cast", self.values(f"{name}_weight", weight.T), to=self.graph.tensor_type(np.dtype(np.int64))
        )
        sums = self.op(
            "Add", self.op("MatMul", x, matrix), self.values(f"{name}_bias", bias.astype(np.int64))
        )
        product = self.op("Mul", sums, self.values(f"{name}_multiplier", multiplier.astype(np.int64)))
        half, whole = (np.int64(1) << (bits - shift.astype(np.int64)) for bits in (30, 31))
        rounded = self.op("Add", product, self.values(f"{name}_half", half))
        return self.floored(rounded, self.values(f"{name}_divisor", whole))

    def gates(self, a: str, count: int) -> list[str]:
        """Split rows into gates."""
        width = self.op("Split", a, num_outputs=count, axis=-1)
        node = self.graph.nodes[-1]
        names = [f"{width}/{gate}" for gate in range(count)]
        del node.output[:]
        node.output.extend(names)
        return names

    def byte(self, a: str) -> str:
        return self.clipped(self.shifted(a, 8), -128, 127)


@RULES.rules("gru", "lstm")
def _recurrent(graph: OnnxGraph, layer: Recurrent) -> None:
    from onnx import helper

    if layer.lengths:
        raise unsupported_layer("onnx", f"{layer.kind} with lengths", layer.name, layer.kind)
    outer = _Body(graph, f"{layer.output}/scan")
    int64 = graph.tensor_type(np.dtype(np.int64))
    steps = outer.op("Transpose", f"{layer.inputs[0]}/q", perm=[1, 0, 2])
    zero = graph.network.tensors[layer.inputs[0]].zero_point
    given = outer.op("Sub", outer.op("Cast", steps, to=int64), outer.number(zero))
    of_input = outer.rows(
        given, "input", layer.weight[:, : layer.features], layer.bias, layer.multiplier, layer.shift
    )
    batch = outer.op("Shape", f"{layer.inputs[0]}/q", start=0, end=1)
    size = outer.op("Concat", batch, outer.values("units", np.array([layer.units], np.int64)), axis=0)
    start = outer.op("ConstantOfShape", size, value=helper.make_tensor("zero", int64, [1], [0]))

    nodes, graph.nodes = graph.nodes, []
    inside = _Body(graph, f"{layer.output}/step")
    names = [f"{inside.prefix}/{word}" for word in ("h", "state", "rows")]
    made = _step(inside, layer, *names)
    # Both are outputs of their own, for the next step and for the sequence.
    body_outputs = [made[0], made[1], inside.op("Identity", made[0])]
    body, graph.nodes = graph.nodes, nodes
    body_graph = helper.make_graph(
        body, "step",
        [helper.make_tensor_value_info(name, int64, None) for name in names],
        [helper.make_tensor_value_info(name, int64, None) for name in body_outputs],
    )  # fmt: skip
    directions = [1 if layer.reverse else 0]
    ends = [f"{outer.prefix}/{word}" for word in ("last", "last_state", "all")]
    graph.nodes.append(
        helper.make_node(
            "Scan", [start, start, of_input], ends, name=f"{outer.prefix}/scan", num_scan_inputs=1, body=body_graph,
            scan_input_directions=directions, scan_output_directions=directions,
        )
    )  # fmt: skip
    result = ends[0] if layer.last else outer.op("Transpose", ends[2], perm=[1, 0, 2])
    graph.node("Cast", [result], f"{layer.output}/q", to=graph.tensor_type(np.dtype(np.int8)))


def _step(body: _Body, layer: Recurrent, h: str, state: str, rows: str) -> tuple[str, str]:
    """Add the nodes of one step; return the new h and the new state."""
    of_state = body.rows(
        h,
        "state",
        layer.weight[:, layer.features :],
        layer.state_bias,
        layer.state_multiplier,
        layer.state_shift,
    )
    if layer.kind == "gru":
        given, own = body.gates(rows, 3), body.gates(of_state, 3)
        r, z = (body.sigmoid(body.op("Add", a, b)) for a, b in zip(given[:2], own[:2], strict=True))
        kept = body.shifted(body.op("Mul", r, body.clipped(own[2])), 15)
        n = body.tanh(body.op("Add", given[2], kept))
        moved = body.shifted(body.op("Mul", z, body.op("Sub", state, n)), 15)
        new = body.op("Add", n, moved)
        return body.byte(new), new
    i, f, g, o = body.gates(body.op("Add", rows, of_state), 4)
    i, f, g, o = body.sigmoid(i), body.sigmoid(f), body.tanh(g), body.sigmoid(o)
    added = body.shifted(body.op("Mul", i, g), 4, rounding=False)
    cell = body.clipped(body.shifted(body.op("Add", body.op("Mul", f, state), added), 15))
    return body.byte(body.shifted(body.op("Mul", o, body.tanh(cell)), 15)), cell
