"""ONNX operators on quantized tensors (QLinearConv, QGemm and so on) as the operators on real numbers between DequantizeLinear and QuantizeLinear.

Sources: ONNX operator specification; ONNX Runtime's contrib operators (domain com.microsoft).
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

Names = list[str]


class _Expansion:
    """The nodes that replace one node."""

    def __init__(self, node: Any) -> None:
        from onnx import helper

        self.node, self._make = node, helper.make_node
        self.name = node.name or node.output[0]
        self.nodes: list[Any] = []

    def input(self, place: int) -> str:
        """Return the name of an input, "" when it is absent."""
        return self.node.input[place] if place < len(self.node.input) else ""

    def add(self, kind: str, inputs: Names, output: str, **attributes: Any) -> str:
        self.nodes.append(self._make(kind, inputs, [output], name=self.name, **attributes))
        return output

    def real(self, place: int, axis: int = 0) -> str:
        """Return the real values of the tensor at `place`, which its scale and its zero point follow."""
        inputs = [name for name in (self.input(place), self.input(place + 1), self.input(place + 2)) if name]
        return self.add("DequantizeLinear", inputs, f"{self.name}/real{place}", axis=axis)

    def bias(self, place: int, scales: tuple[int, int]) -> Names:
        """Return the real values of an int32 bias, whose scale is the product of two scales; none for an absent bias."""
        if not self.input(place):
            return []
        scale = self.add("Mul", [self.input(one) for one in scales], f"{self.name}/bias_scale")
        return [self.add("DequantizeLinear", [self.input(place), scale], f"{self.name}/bias", axis=0)]

    def finish(self, kind: str, inputs: Names, place: int, without: Names | None = None) -> list[Any]:
        """Add the operator and the quantization of its result, whose scale and zero point begin at `place`."""
        from onnx import helper

        attributes = {
            one.name: helper.get_attribute_value(one)
            for one in self.node.attribute
            if one.name not in (without or [])
        }
        result = self.add(kind, inputs, f"{self.name}/result", **attributes)
        scale = [name for name in (self.input(place), self.input(place + 1)) if name]
        self.add("QuantizeLinear", [result, *scale], self.node.output[0])
        return self.nodes


def _conv(made: _Expansion) -> list[Any]:
    return made.finish("Conv", [made.real(0), made.real(3), *made.bias(8, (1, 4))], 6)


def _gemm(made: _Expansion) -> list[Any]:
    turned = any(one.name == "transB" and one.i for one in made.node.attribute)
    return made.finish("Gemm", [made.real(0), made.real(3, 0 if turned else 1), *made.bias(6, (1, 4))], 7)


def _two(kind: str) -> Callable[[_Expansion], list[Any]]:
    return lambda made: made.finish(kind, [made.real(0), made.real(3, 1)], 6)


def _one(kind: str) -> Callable[[_Expansion], list[Any]]:
    return lambda made: made.finish(kind, [made.real(0)], 3, ["channels_last", "opset"])


def _concat(made: _Expansion) -> list[Any]:
    return made.finish("Concat", [made.real(place) for place in range(2, len(made.node.input), 3)], 0)


_EXPANSIONS: dict[str, Callable[[_Expansion], list[Any]]] = {
    "QLinearConv": _conv, "QGemm": _gemm, "QLinearMatMul": _two("MatMul"), "QLinearAdd": _two("Add"), "QLinearMul": _two("Mul"),
    "QLinearSigmoid": _one("Sigmoid"), "QLinearLeakyRelu": _one("LeakyRelu"), "QLinearSoftmax": _one("Softmax"),
    "QLinearGlobalAveragePool": _one("GlobalAveragePool"), "QLinearAveragePool": _one("AveragePool"),
    "QLinearReduceMean": _one("ReduceMean"), "QLinearConcat": _concat,
}  # fmt: skip


def expanded(nodes: Iterable[Any]) -> Iterator[Any]:
    """Return the nodes, those on quantized tensors as several. One with channels last stays, and is then not supported."""
    for node in nodes:
        last = any(one.name == "channels_last" and one.i for one in node.attribute)
        if node.op_type in _EXPANSIONS and node.output and not last:
            yield from _EXPANSIONS[node.op_type](_Expansion(node))
        else:
            yield node
