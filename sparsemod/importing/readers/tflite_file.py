"""One TensorFlow Lite file: its tensors, its operators in order, and the values between them."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.errors import Unsupported
from sparsemod.importing.builder import Builder
from sparsemod.importing.source import MOST_OPERATORS, Source, checked_shape
from sparsemod.importing.steps import Scale
from sparsemod.layouts import Shape

Array = NDArray[Any]
_TYPES = {
    0: np.float32,
    1: np.float16,
    2: np.int32,
    3: np.uint8,
    4: np.int64,
    6: np.bool_,
    7: np.int16,
    9: np.int8,
}
IMAGE = 4
"""Axes of an image in the file: (N, H, W, C)."""

Rule = Callable[["Call"], Any]
RULES: dict[str, Rule] = {}
"""Rules by the operator's name: a rule returns the value of the output, or a list of the values of all outputs."""


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a rule for operators of these names."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


class Numbers:
    """An int8 tensor converted to whole numbers, plus `offset`: the index of a table."""

    def __init__(self, source: str, offset: int) -> None:
        self.source, self.offset = source, offset


class State:
    """A tensor that an operator keeps between calls of the model; zero at the start."""


class TfliteFile:
    """Translation of one file. `values`: number of a tensor -> a tensor's name, a constant array, or Numbers."""

    def __init__(self, model: Any, schema: Any, source: Source) -> None:
        self.model, self.schema, self.source = model, schema, source
        self.builder = Builder(source)
        self.values: dict[int, Any] = {}
        self.operators = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}

    def steps(self) -> Any:
        """Translate the file."""
        graphs = self.model.subgraphs or []
        if not graphs:
            raise self.source.broken("no graph")
        if len(graphs) != 1:
            raise Unsupported(
                f"{len(graphs)} subgraphs", "model", self.source.by, hint="control flow; one graph is needed"
            )
        graph = self.graph = graphs[0]
        operators = graph.operators if graph.operators is not None else []
        if not len(operators) or len(operators) > MOST_OPERATORS:
            raise self.source.broken(f"{len(operators):,} operators; 1 to {MOST_OPERATORS:,}")
        inputs, outputs = (
            list(map(int, names)) if names is not None else [] for names in (graph.inputs, graph.outputs)
        )
        if len(inputs) != 1 or len(outputs) != 1:
            raise Unsupported(
                f"{len(inputs)} inputs and {len(outputs)} outputs",
                "model",
                self.source.by,
                hint="one of each is needed",
            )
        given = self._input(inputs[0])
        for operator in operators:
            self._translate(operator)
        value = self.values.get(outputs[0])
        if not self.builder.refused and not isinstance(value, str):
            raise self.source.broken("no operator computes the output from the input")
        return self.builder.finish(given, str(value), self._metadata())

    def _metadata(self) -> dict[str, str]:
        found = {}
        for entry in self.model.metadata or []:
            name = entry.name.decode() if isinstance(entry.name, bytes) else str(entry.name)
            if name.startswith("sparsemod."):
                found[name] = self.bytes_of(entry.buffer).decode()
        return found

    def _input(self, number: int) -> str:
        shape, tensor = self.file_shape(number), self.tensor(number)
        name = self.name(number)
        self.builder.input(name, self.sample(shape))
        scale = self.scale(number)
        if scale is not None:
            self.builder.scales[name] = scale
        elif tensor.type != 0:
            raise Unsupported(
                f"input of type {self._type(tensor)}", name, self.source.by, hint="float32, int8 or uint8"
            )
        self.values[number] = name
        return name

    def _type(self, tensor: Any) -> str:
        return np.dtype(_TYPES[tensor.type]).name if tensor.type in _TYPES else f"number {tensor.type}"

    def tensor(self, number: int) -> Any:
        """Return a tensor of the file. Raises InvalidInput for a number that it does not have."""
        if not 0 <= number < len(self.graph.tensors):
            raise self.source.broken(
                f"tensor {number} of {len(self.graph.tensors)}", self.builder.title, self.builder.operator
            )
        return self.graph.tensors[number]

    def name(self, number: int) -> str:
        """Return a unique name of a tensor."""
        name = self.tensor(number).name
        text = name.decode(errors="replace") if isinstance(name, bytes) else str(name or "tensor")
        return f"{text}:{number}"

    def file_shape(self, number: int) -> Shape:
        """Return a tensor's shape in the file, with the batch axis."""
        shape = self.tensor(number).shape
        return checked_shape([] if shape is None else shape, self.source, f"tensor {self.name(number)!r}")

    def sample(self, shape: Shape) -> Shape:
        """Convert a shape of the file to that of a sample here."""
        if len(shape) == IMAGE:
            return (shape[3], shape[1], shape[2])
        return shape[1:]

    def scale(self, number: int) -> Scale | None:
        """Return the scale of an int8 or uint8 activation; None for a float tensor. Raises Unsupported for several scales."""
        tensor = self.tensor(number)
        parameters = tensor.quantization
        scales = None if parameters is None else parameters.scale
        if tensor.type not in (3, 9) or scales is None or not len(scales):
            return None
        if len(scales) != 1:
            raise self.builder.unsupported("an activation with several scales")
        points = parameters.zeroPoint
        point = int(points[0]) if points is not None and len(points) else 0
        value = float(np.float32(scales[0]))
        if not 0 < value < float("inf"):
            raise self.builder.broken(f"scale {value}")
        return Scale(value, point - 128 if tensor.type == 3 else point)

    def bytes_of(self, number: int) -> bytes:
        """Return the bytes of a buffer."""
        buffers = self.model.buffers or []
        if not 0 <= number < len(buffers):
            raise self.source.broken(f"buffer {number} of {len(buffers)}")
        buffer = buffers[number]
        start, size = int(getattr(buffer, "offset", 0) or 0), int(getattr(buffer, "size", 0) or 0)
        if start > 1:
            return self.source.content[start : start + size]
        return b"" if buffer.data is None else np.asarray(buffer.data, np.uint8).tobytes()

    def constant(self, number: int) -> Array | None:
        """Return a constant tensor, None for a tensor without data."""
        tensor = self.tensor(number)
        content = self.bytes_of(tensor.buffer)
        if not content:
            return None
        if tensor.type not in _TYPES:
            raise self.builder.unsupported(f"a constant of type {self._type(tensor)}")
        if getattr(tensor, "sparsity", None) is not None:
            raise self.builder.unsupported("a sparse constant")
        shape, kind = self.file_shape(number), np.dtype(_TYPES[tensor.type])
        if len(content) != int(np.prod(shape)) * kind.itemsize:
            raise self.source.broken(
                f"constant {self.name(number)!r}: {len(content)} bytes for shape {shape} of {kind}"
            )
        return np.frombuffer(content, kind).reshape(shape)

    def _translate(self, operator: Any) -> None:
        codes = self.model.operatorCodes or []
        if not 0 <= operator.opcodeIndex < len(codes):
            raise self.source.broken(f"operator code {operator.opcodeIndex} of {len(codes)}")
        code = codes[operator.opcodeIndex]
        kind = self.operators.get(max(code.builtinCode, code.deprecatedBuiltinCode), "unknown")
        if kind == "CUSTOM":
            name = code.customCode
            kind = f"CUSTOM {name.decode(errors='replace') if isinstance(name, bytes) else name}"
        inputs = [int(n) for n in operator.inputs] if operator.inputs is not None else []
        outputs = [int(n) for n in operator.outputs] if operator.outputs is not None else []
        builder = self.builder
        builder.operator = kind
        builder.title = self.name(outputs[0]).rpartition(":")[0] if outputs else kind
        lost = False
        for number in inputs:
            if number >= 0 and number not in self.values:
                constant = self.constant(number)
                if constant is None and self.tensor(number).isVariable:
                    self.values[number] = State()
                elif constant is None:
                    lost = True
                else:
                    self.values[number] = constant
        translate = RULES.get(kind)
        if lost and translate is not None and not builder.refused:
            raise builder.broken(
                "it reads a tensor that no earlier operator computes: a cycle, or a missing operator"
            )
        try:
            if translate is None:
                raise builder.unsupported()
            if lost:
                return
            results = translate(Call(self, operator, inputs, outputs))
        except Unsupported as error:
            builder.refuse(error)
            return
        made = results if isinstance(results, list) else [results]
        for number, value in zip(outputs, made, strict=True):
            self.values[number] = value


class Call:
    """One operator with the values of its inputs."""

    def __init__(self, file: TfliteFile, operator: Any, inputs: list[int], outputs: list[int]) -> None:
        self.file, self.builder, self.inputs, self.outputs = file, file.builder, inputs, outputs
        self.options = operator.builtinOptions
        self.output = file.name(outputs[0])
        self.kind = self.builder.operator

    def option(self, name: str, default: Any = None) -> Any:
        """Return an option of the operator."""
        return getattr(self.options, name, default)

    def given(self, place: int) -> Any:
        """Return the value of an input; None when it is absent."""
        if place >= len(self.inputs) or self.inputs[place] < 0:
            return None
        return self.file.values[self.inputs[place]]

    def tensor(self, place: int = 0) -> str:
        """Return the name of an input that depends on the model's input. Raises Unsupported for another one."""
        value = self.given(place)
        if not isinstance(value, str):
            raise self.builder.unsupported(f"its input {place} must depend on the model's input")
        return value

    def shape(self, place: int = 0) -> Shape:
        """Return the shape of such an input here, without the batch axis."""
        return self.builder.shapes[self.tensor(place)]

    def rank(self, place: int = 0) -> int:
        """Return the number of axes of an input in the file, with the batch axis."""
        return len(self.shape(place)) + 1

    def raw(self, place: int) -> Array:
        """Return a constant input as the file holds it. Raises Unsupported for one that depends on the model's input."""
        value = self.given(place)
        if not isinstance(value, np.ndarray):
            raise self.builder.unsupported(f"its input {place} must be a constant")
        return value

    def integers(self, place: int) -> list[int]:
        """Return a constant input as whole numbers."""
        return [int(n) for n in self.raw(place).reshape(-1)]

    def scales(self, place: int) -> tuple[Array, Array, int] | None:
        """Return (scales, zero points, axis) of a constant; None for floats."""
        parameters = self.file.tensor(self.inputs[place]).quantization
        if parameters is None or parameters.scale is None or not len(parameters.scale):
            return None
        scale = np.asarray(parameters.scale, np.float32)
        points = parameters.zeroPoint
        zero = np.zeros(len(scale), np.int64) if points is None else np.asarray(points, np.int64)
        return scale, zero, int(parameters.quantizedDimension or 0)

    def real(self, place: int) -> Array:
        """Return a constant input as real numbers."""
        value, scales = self.raw(place), self.scales(place)
        if value.dtype.kind == "f" or scales is None:
            return value.astype(np.float32)
        scale, zero, axis = scales
        shape = [-1 if at == axis and len(scale) > 1 else 1 for at in range(value.ndim)]
        return np.asarray((value.astype(np.float64) - zero.reshape(shape)) * scale.reshape(shape), np.float32)

    def axis(self, value: int, rank: int | None = None) -> int:
        """Convert an axis of the file to an axis of a sample here. Raises Unsupported for the batch axis."""
        rank = self.rank() if rank is None else rank
        axis = value + rank if value < 0 else value
        if not 1 <= axis < rank:
            raise self.builder.unsupported(f"axis {value}: the batch axis stays")
        if rank == IMAGE:
            return {3: 0, 1: 1, 2: 2}[axis]
        return axis - 1

    def emit(self, kind: str, inputs: tuple[str, ...], /, output: str = "", **attributes: Any) -> str:
        """Add a step that computes this call's output, with the scale that the file gives it."""
        made = self.builder.emit(kind, inputs, output or self.output, attributes)
        return self.scaled(made) if not output else made

    def scaled(self, made: str, place: int = 0) -> str:
        """Give an output the scale of the file."""
        scale = self.file.scale(self.outputs[place])
        if scale is not None:
            self.builder.scales[made] = scale
        return made

    def view(self, operator: str, x: str, output: str = "", **arguments: Any) -> str:
        """Add a copy of elements."""
        return self.emit("view", (x,), output=output, operator=operator, arguments=arguments)

    def in_file_order(self, place: int = 0) -> str:
        """Return an input with the axes of the file."""
        name = self.tensor(place)
        if self.rank(place) != IMAGE:
            return name
        return self.view("transpose", name, f"{self.output}/{place}/last", order=(1, 2, 0))

    def to_file_shape(self, x: str, shape: Shape) -> str:
        """Return a tensor in the file's order with a shape of the file (without batch), in the order here."""
        if len(shape) != 3:
            return self.view("reshape", x, shape=shape)
        made = self.view("reshape", x, f"{self.output}/reshaped", shape=shape)
        return self.view("transpose", made, order=(2, 0, 1))

    def clamp(self) -> tuple[float | None, float | None]:
        """Return the bounds of the fused activation. Raises Unsupported for another activation."""
        kinds = self.file.schema.ActivationFunctionType
        bounds = {
            kinds.NONE: (None, None),
            kinds.RELU: (0.0, None),
            kinds.RELU6: (0.0, 6.0),
            kinds.RELU_N1_TO_1: (-1.0, 1.0),
        }
        fused = self.option("fusedActivationFunction", kinds.NONE)
        if fused not in bounds:
            raise self.builder.unsupported("a fused tanh or sign")
        return bounds[fused]
