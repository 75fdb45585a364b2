"""One ONNX file: its constants, its operators in order, and the values between them."""

from collections.abc import Callable
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.errors import InvalidInput, Unsupported
from sparsemod.graph.rules.normalizing import EPSILON_MAX
from sparsemod.importing.builder import Builder
from sparsemod.importing.readers.onnx_qoperators import expanded
from sparsemod.importing.source import MOST_ELEMENTS, MOST_OPERATORS, Source, checked_shape
from sparsemod.importing.steps import Scale
from sparsemod.layouts import Shape

Array = NDArray[Any]


class Quantized:
    """A constant int8 tensor: integers and scales, one or one for each place along `axis`."""

    def __init__(self, values: Array, scale: Array, axis: int) -> None:
        self.values, self.scale, self.axis = values, scale, axis

    @property
    def real(self) -> Array:
        """The real values."""
        if self.scale.size == 1:
            return np.asarray(self.values.astype(np.float32) * np.float32(self.scale.reshape(-1)[0]))
        shape = [-1 if axis == self.axis else 1 for axis in range(self.values.ndim)]
        return np.asarray(self.values.astype(np.float32) * self.scale.reshape(shape))


class Numbers:
    """An int8 tensor converted to whole numbers, plus `offset`: the index of a table."""

    def __init__(self, source: str, offset: int) -> None:
        self.source, self.offset = source, offset


class Length:
    """The length of the vectors of `source` along `axis` of a sample: what a normalization divides by."""

    def __init__(self, source: str, axis: int) -> None:
        self.source, self.axis = source, axis

    def bounded(self, call: "Call", *constants: Any) -> "Length":
        """Return the length itself where a small constant keeps it from 0. Raises Unsupported for a constant that changes it."""
        values = [float(value) for each in constants for value in np.asarray(each).reshape(-1)]
        if not all(0 <= value <= EPSILON_MAX for value in values):
            raise call.builder.unsupported(
                f"the length of a tensor with {values[0]:g}; with an epsilon of 0 to {EPSILON_MAX:g}"
            )
        return self


class Moved:
    """A tensor whose batch axis is not the first in the file: `name` holds it batch first, `place` is the batch axis in the file.

    `place` is None where a reshape has joined the batch, of size 1 in the file, with another axis: (T, F) of (1, T, F). The axes of the file are
    then those of a sample.
    """

    def __init__(self, name: str, place: int | None) -> None:
        self.name, self.place = name, place

    @property
    def words(self) -> str:
        """Where the batch is, for errors."""
        return "has no batch axis" if self.place is None else f"has the batch as axis {self.place}, not 0"


_CONTRIBUTED = ("QuantizeLinear", "DequantizeLinear", "Gelu")
"""Operators of ONNX Runtime's own domain that are equal to those of ONNX."""

Rule = Callable[["Call"], Any]
RULES: dict[str, Rule] = {}
"""Rules by the operator's type: a rule returns the value of the output, or a list of the values of the first outputs."""


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a rule for operators of these types."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


class OnnxFile:
    """Translation of one file. `values`: the file's name -> a tensor's name, or a constant. `on_moved` translates operators on `Moved`."""

    def __init__(self, model: Any, source: Source, shape: Shape | None, on_moved: Rule) -> None:
        self.model, self.source, self.shape, self.on_moved = model, source, shape, on_moved
        self.builder = Builder(source)
        self.values: dict[str, Any] = {"": None}
        self.opset = max(
            [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")] or [1]
        )
        self.unsigned: set[str] = set()  # uint8 activations, shifted to int8

    def steps(self) -> Any:
        """Translate the file."""
        graph = self.model.graph
        if len(graph.node) > MOST_OPERATORS:
            raise self.source.broken(f"{len(graph.node):,} operators, at most {MOST_OPERATORS:,}")
        elements = 0
        for tensor in graph.initializer:
            self.values[tensor.name] = self.constant(tensor)
            elements += self.values[tensor.name].size
            if elements > MOST_ELEMENTS:
                raise self.source.broken(f"more than {MOST_ELEMENTS:,} constants")
        given = self._input(graph)
        for node in self._ordered(graph, given):
            self._translate(node)
        outputs = [self.values.get(output.name) for output in graph.output]
        outputs = [one.name if isinstance(one, Moved) and one.place is None else one for one in outputs]
        if self.builder.refused:
            return self.builder.finish(given, given)
        if len(outputs) != 1 or not isinstance(outputs[0], str):
            raise self.source.broken(f"{len(outputs)} outputs, instead of one that depends on the input")
        metadata = {entry.key: entry.value for entry in self.model.metadata_props}
        return self.builder.finish(given, outputs[0], metadata)

    def _input(self, graph: Any) -> str:
        inputs = [value for value in graph.input if value.name not in self.values]
        if len(inputs) != 1:
            names = [value.name for value in inputs]
            raise Unsupported(
                f"{len(inputs)} inputs",
                ", ".join(names) or "input",
                self.source.by,
                hint="a model of one input is needed",
            )
        name, kind = inputs[0].name, inputs[0].type.tensor_type
        sizes = [d.dim_value if d.HasField("dim_value") else 0 for d in kind.shape.dim]
        shape = self.shape or tuple(sizes[1:])
        if not shape or min(shape) < 1:
            raise InvalidInput(
                "input shape",
                tuple(sizes),
                "sizes of one sample: state them with --shape, such as 1,28,28",
                self.source.name,
            )
        self.builder.input(name, checked_shape(shape, self.source, "the input"))
        self.values[name] = name
        return str(name)

    def _ordered(self, graph: Any, given: str) -> list[Any]:
        """Return the operators in an order in which they can run. Raises InvalidInput for a cycle or a missing tensor."""
        known = {*self.values, given}
        waiting, ordered = list(expanded(graph.node)), []
        while waiting:
            ready = [node for node in waiting if all(name in known for name in node.input)]
            if not ready:
                node = waiting[0]
                missing = [name for name in node.input if name not in known]
                computed = {name for other in waiting for name in other.output}
                cause = "a cycle of operators" if missing[0] in computed else "no operator computes it"
                raise self.source.broken(
                    f"it reads {missing[0]!r}: {cause}", node.name or node.output[0], node.op_type
                )
            taken = {id(node) for node in ready}
            for node in ready:
                known.update(node.output)
            ordered += ready
            waiting = [node for node in waiting if id(node) not in taken]
        return ordered

    def constant(self, tensor: Any) -> Array:
        """Return a constant of the file. Raises InvalidInput for one that is too large or incomplete."""
        from onnx import TensorProto, numpy_helper

        shape = checked_shape(tensor.dims, self.source, f"constant {tensor.name!r}")
        if tensor.data_location == TensorProto.EXTERNAL:
            entries = {entry.key: entry.value for entry in tensor.external_data}
            content = self.source.beside(entries.get("location", ""))
            start = int(entries.get("offset", 0))
            length = int(entries.get("length", len(content) - start))
            if not 0 <= start <= start + length <= len(content):
                raise self.source.broken(f"bytes {start} to {start + length} of {entries.get('location')!r}")
            tensor = _inside(tensor, content[start : start + length])
        try:
            array: Array = numpy_helper.to_array(tensor)
        except Exception as error:  # noqa: BLE001  of onnx, for any content
            raise self.source.broken(f"constant {tensor.name!r}: {error}") from None
        if array.shape != shape:
            raise self.source.broken(f"constant {tensor.name!r} has shape {array.shape}, not {shape}")
        return array

    def _translate(self, node: Any) -> None:
        builder = self.builder
        builder.title, builder.operator = (
            node.name or (node.output[0] if node.output else node.op_type),
            node.op_type,
        )
        inputs = [self.values.get(name, _LOST) for name in node.input]
        if any(value is _LOST for value in inputs):
            # A step before it is not supported; this one is checked as far as its name.
            if node.op_type not in RULES:
                builder.refuse(builder.unsupported())
            return
        try:
            if any(value is UNREAD for value in inputs):
                unread = [name for name, value in zip(node.input, inputs, strict=True) if value is UNREAD]
                raise builder.unsupported(f"it reads {unread[0]!r}, an output that is not translated")
            if node.domain not in ("", "ai.onnx") and not (
                node.domain == "com.microsoft" and node.op_type in _CONTRIBUTED
            ):
                raise builder.unsupported(operator=f"{node.domain}.{node.op_type}")
            translate = RULES.get(node.op_type)
            if translate is None:
                dynamic = node.op_type in (
                    "DynamicQuantizeLinear",
                    "MatMulInteger",
                    "ConvInteger",
                    "DynamicQuantizeLSTM",
                    "DynamicQuantizeMatMul",
                )
                raise builder.unsupported(
                    "dynamic quantization: take the float model, or quantize it statically" if dynamic else ""
                )
            call = Call(self, node, inputs)
            moved = any(isinstance(value, Moved) for value in inputs)
            results = self.on_moved(call) if moved else translate(call)
        except Unsupported as error:
            builder.refuse(error)
            return
        made = results if isinstance(results, list) else [results]
        for name, value in zip_longest(node.output, made[: len(node.output)]):
            if name:  # an output without a name is left out
                # numpy gives scalars for arrays without axes
                value = np.asarray(value) if isinstance(value, np.generic) else value
                self.values[name] = UNREAD if value is None else value


_LOST = object()
UNREAD = object()
"""The value of an output that its operator's rule does not translate, such as the cell after the last step of an LSTM."""


def _inside(tensor: Any, content: bytes) -> Any:
    from onnx import TensorProto

    whole = TensorProto()
    whole.CopyFrom(tensor)
    whole.ClearField("external_data")
    whole.data_location = TensorProto.DEFAULT
    whole.raw_data = content
    return whole


class Call:
    """One operator with the values of its inputs."""

    def __init__(self, file: OnnxFile, node: Any, inputs: list[Any]) -> None:
        self.file, self.node, self.inputs, self.builder = file, node, inputs, file.builder
        self.output = next((str(name) for name in node.output if name), "")
        self._attributes = {attribute.name: attribute for attribute in node.attribute}

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute."""
        from onnx import helper

        if name not in self._attributes:
            return default
        value = helper.get_attribute_value(self._attributes[name])
        return value.decode() if isinstance(value, bytes) else value

    def given(self, place: int) -> Any:
        """Return the value of an input; None when it is absent."""
        return self.inputs[place] if place < len(self.inputs) else None

    def tensor(self, place: int = 0) -> str:
        """Return the name of an input that depends on the model's input. Raises Unsupported for another one."""
        value = self.given(place)
        if isinstance(value, Moved):
            raise self.builder.unsupported(f"its input {place} {value.words}")
        if not isinstance(value, str):
            raise self.builder.unsupported(f"its input {place} must depend on the model's input")
        return value

    def shape(self, place: int = 0) -> Shape:
        """Return the shape of such an input, without the batch axis."""
        return self.builder.shapes[self.tensor(place)]

    def constant(self, place: int, default: Any = None) -> Any:
        """Return an input as a real constant. Raises Unsupported for one that depends on the model's input."""
        value = self.given(place)
        if value is None:
            return default
        if isinstance(value, Quantized):
            return value.real
        if not isinstance(value, np.ndarray):
            raise self.builder.unsupported(f"its input {place} must be a constant")
        return value

    def integers(self, place: int, name: str = "", default: Any = None) -> list[int] | None:
        """Return whole numbers of an input, or of the attribute `name` of earlier versions."""
        if self.given(place) is not None:
            return [int(n) for n in self.constant(place).reshape(-1)]
        value = self.get(name) if name else None
        return default if value is None else [int(n) for n in np.atleast_1d(value)]

    def axis(self, value: int, rank: int | None = None) -> int:
        """Convert an axis of the file to an axis of a sample. Raises Unsupported for the batch axis."""
        rank = len(self.shape()) + 1 if rank is None else rank
        axis = int(value) + rank if value < 0 else int(value)
        if not 1 <= axis < rank:
            raise self.builder.unsupported(f"axis {value}: the batch axis stays")
        return axis - 1

    def first_axis(self, value: int) -> int:
        """Convert the axis from which on an operator takes all axes together. Raises Unsupported if the batch axis is one of them."""
        return self.axis(value)

    def emit(self, kind: str, inputs: tuple[str, ...], **attributes: Any) -> str:
        """Add a step that computes this call's output."""
        return self.builder.emit(kind, inputs, self.output, attributes)

    def view(self, operator: str, x: str | None = None, output: str = "", **arguments: Any) -> str:
        """Add a copy of elements."""
        source = x or self.tensor()
        made = self.builder.emit(
            "view", (source,), output or self.output, {"operator": operator, "arguments": arguments}
        )
        if source in self.builder.scales:
            self.builder.scales[made] = self.builder.scales[source]
        if source in self.file.unsigned:
            self.file.unsigned.add(made)
        return made

    def scale(self, scale: Any, zero_point: Any) -> tuple[Scale, bool]:
        """Return the scale of an activation, and whether it is uint8."""
        if scale.size != 1:
            raise self.builder.unsupported("an activation with several scales")
        unsigned = zero_point is None or zero_point.dtype == np.uint8
        if zero_point is not None and zero_point.dtype not in (np.int8, np.uint8):
            raise self.builder.unsupported(f"{zero_point.dtype} values; int8 or uint8")
        value = float(np.float32(scale.reshape(-1)[0]))
        if not 0 < value < float("inf"):
            raise self.builder.broken(f"scale {value}")
        point = 0 if zero_point is None else int(zero_point.reshape(-1)[0])
        return Scale(value, point - 128 if unsigned else point), unsigned
