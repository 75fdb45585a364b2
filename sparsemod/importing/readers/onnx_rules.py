"""Translation of ONNX operators to steps."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sparsemod.graph.functions import X, inside
from sparsemod.importing.readers.onnx_file import Call, Length, Numbers, Quantized, rule
from sparsemod.importing.windows import pool, same_padding

# -- int8


_WIDE = "16-bit activations, read as real numbers and quantized to 8 bits here"


def _wide(call: Call) -> bool:
    """Whether an activation has 16 bits in the file; no layer here has them."""
    zero = call.constant(2)
    wide = zero is not None and zero.dtype in (np.int16, np.uint16)
    if wide and _WIDE not in call.builder.notes:
        call.builder.notes.append(_WIDE)
    return wide


@rule("QuantizeLinear")
def _quantize(call: Call) -> Any:
    if _wide(call):
        # tools leave out a relu where the range of the result begins at 0
        zero = call.constant(2)
        cut = int(zero.reshape(-1)[0]) == np.iinfo(zero.dtype).min
        return call.emit("function", (call.tensor(),), function=("relu", X)) if cut else call.tensor()
    scale, unsigned = call.scale(call.constant(1), call.constant(2))
    if not isinstance(call.given(0), str):
        raise call.builder.unsupported("a constant that the file itself quantizes")
    made = call.emit("quantize", (call.tensor(),))
    call.builder.scales[made] = scale
    if unsigned:
        call.file.unsigned.add(made)
    return made


@rule("DequantizeLinear")
def _dequantize(call: Call) -> Any:
    value = call.given(0)
    if isinstance(value, np.ndarray):
        return _constant_of(call, value)
    name = call.tensor()
    if _wide(call):
        return name
    scale, unsigned = call.scale(call.constant(1), call.constant(2))
    known = call.builder.scales.get(name)
    if known is None:
        if unsigned and name not in call.file.unsigned and call.builder.steps:
            raise call.builder.unsupported("uint8 values of unknown origin")
        call.builder.scales[name] = scale
    elif known != scale:
        raise call.builder.unsupported(
            f"a tensor of scale {known.scale:g} is read with scale {scale.scale:g}"
        )
    return name


def _constant_of(call: Call, value: Any) -> Quantized:
    scale, zero = np.asarray(call.constant(1), np.float32), call.constant(2)
    axis = int(call.get("axis", 1)) % max(1, value.ndim)
    if value.dtype == np.uint8:
        value = (value.astype(np.int16) - 128).astype(np.int8)
        zero = np.full(scale.shape, -128) if zero is None else zero.astype(np.int16) - 128
    if value.dtype in (np.int16, np.uint16):
        value = value.astype(np.int32)
        zero = None if zero is None else zero.astype(np.int32)
    if value.dtype not in (np.int8, np.int32):
        raise call.builder.unsupported(f"constants of type {value.dtype}; 8, 16 or 32 bits")
    if zero is not None and np.any(zero):
        if value.dtype != np.int8:
            raise call.builder.unsupported("a bias with a zero point")
        # Only layers with weights need a zero point of 0; for them `weights` raises an error.
        shape = (
            [-1 if at == axis else 1 for at in range(value.ndim)]
            if scale.size > 1
            else [1] * max(1, value.ndim)
        )
        return Quantized(value.astype(np.int16) - zero.astype(np.int16).reshape(shape), scale, axis)
    return Quantized(value, scale, axis)


def _weights(call: Call, place: int, axis: int, transpose: bool = False) -> dict[str, Any]:
    """Return weight and weight_scale of a layer; `axis` is that of its outputs."""
    value = call.given(place)
    if not isinstance(value, Quantized):
        array = np.asarray(call.constant(place), np.float32)
        return {"weight": array.T.copy() if transpose else array}
    if value.values.dtype != np.int8 or value.values.min() < -127:
        # no int8 layer here has such weights: `sparsemod.importing.finish` reads the model as a float one
        why = "of -128" if value.values.dtype == np.int8 else "with a zero point, or of 16 bits"
        call.builder.notes.append(
            f"{call.builder.title}: weights {why}; quantize them to -127 to 127, symmetrically, to keep them"
        )
        return {"weight": value.real.T.copy() if transpose else value.real}
    if value.scale.size > 1 and value.axis != axis:
        raise call.builder.unsupported(f"scales of weights along axis {value.axis}, not {axis}")
    weight = value.values.T.copy() if transpose else value.values
    return {"weight": weight, "weight_scale": value.scale.reshape(-1)}


def _bias(call: Call, place: int, weights: dict[str, Any], factor: float = 1.0) -> Any:
    """Return the bias: in an int8 layer as whole numbers with the scale of input x weights."""
    value = call.given(place)
    if value is None or "weight_scale" not in weights:
        return None if value is None else np.asarray(call.constant(place), np.float32).reshape(-1) * factor
    scale = call.builder.scales.get(call.tensor())
    if scale is None:
        return np.asarray(call.constant(place), np.float32).reshape(-1)
    unit = np.float64(scale.scale) * np.asarray(weights["weight_scale"], np.float64)
    unit = np.where(unit == 0, 1.0, unit)
    if isinstance(value, Quantized) and value.values.dtype == np.int32:
        given = np.broadcast_to(value.scale.astype(np.float64).reshape(-1), value.values.reshape(-1).shape)
        if np.allclose(given, unit, rtol=1e-5):
            return value.values.reshape(-1).astype(np.int32)
    real = np.asarray(call.constant(place), np.float64).reshape(-1)
    note = f"{call.builder.title}: its bias is rounded to multiples of input scale x weight scale"
    call.builder.notes.append(note)
    return np.clip(np.rint(real / unit), -(2**30), 2**30).astype(np.int32)


# -- layers with weights


def _two(numbers: Sequence[int]) -> tuple[int, int]:
    """Return one or two numbers as (rows, columns); sequences have one row."""
    rows, columns = (1, *numbers)[-2:]
    return int(rows), int(columns)


def _window(call: Call, kernel: tuple[int, ...]) -> dict[str, Any]:
    """Return kernel, stride, dilation and padding of a window, of sequences with one row."""
    count = len(kernel)
    stride, dilation = (_two(call.get(name, [1] * count)) for name in ("strides", "dilations"))
    rows = _two(kernel)
    auto = call.get("auto_pad", "NOTSET")
    shape = call.shape()
    size = _two(shape[1:])
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        padding = same_padding(size, rows, stride, dilation, auto == "SAME_LOWER")
    else:
        pads = list(call.get("pads", [0] * 2 * count)) if auto != "VALID" else [0] * 2 * count
        before, after = [0, 0, *pads[:count]][-2:], [0, 0, *pads[count:]][-2:]
        padding = (before[0], after[0], before[1], after[1])
    if min(padding) < 0 or min(stride) < 1 or min(dilation) < 1 or min(rows) < 1:
        raise call.builder.broken(f"padding {padding}, strides {stride}, dilations {dilation}")
    return {"kernel": rows, "stride": stride, "dilation": dilation, "padding": padding}


@rule("Conv")
def _conv(call: Call) -> str:
    weights = _weights(call, 1, 0)
    weight = weights["weight"]
    if weight.ndim not in (3, 4) or weight.ndim != len(call.shape()) + 1:
        raise call.builder.unsupported(f"weights of shape {weight.shape} on samples of shape {call.shape()}")
    window = _window(call, weight.shape[2:])
    window.pop("kernel")
    bias = _bias(call, 2, weights)
    weights["weight"] = weight if weight.ndim == 4 else weight[:, :, None]
    return call.emit(
        "conv", (call.tensor(),), **weights, bias=bias, groups=int(call.get("group", 1)), **window
    )


@rule("ConvTranspose")
def _conv_transpose(call: Call) -> str:
    weight = np.asarray(call.constant(1), np.float32)
    if weight.ndim not in (3, 4) or call.get("output_shape") is not None:
        raise call.builder.unsupported(f"weights of shape {weight.shape}")
    window = _window(call, weight.shape[2:])
    window.pop("kernel")
    extra = tuple([0, 0, *call.get("output_padding", [0] * (weight.ndim - 2))][-2:])
    bias = call.constant(2)
    weight = weight if weight.ndim == 4 else weight[:, :, None]
    return call.emit(
        "conv_transpose", (call.tensor(),), weight=weight, bias=bias, output_padding=extra, groups=int(call.get("group", 1)), **window
    )  # fmt: skip


@rule("Gemm")
def _gemm(call: Call) -> str:
    if call.get("transA", 0):
        raise call.builder.unsupported("transA")
    transposed = bool(call.get("transB", 0))
    alpha, beta = float(call.get("alpha", 1.0)), float(call.get("beta", 1.0))
    weights = _weights(call, 1, 0 if transposed else 1, transpose=not transposed)
    if (alpha, beta) != (1.0, 1.0) and "weight_scale" in weights:
        raise call.builder.unsupported("int8 with alpha or beta")
    if alpha != 1.0:
        weights["weight"] = weights["weight"] * np.float32(alpha)
    bias = _bias(call, 2, weights, beta)
    if bias is not None and bias.size == 1 and len(weights["weight"]) > 1:
        bias = np.broadcast_to(bias, (len(weights["weight"]),)).copy()
    return call.emit("linear", (call.tensor(),), **weights, bias=bias)


@rule("MatMul")
def _matmul(call: Call) -> str:
    if isinstance(call.given(1), str):
        return call.emit("matmul", (call.tensor(), call.tensor(1)))
    weights = _weights(call, 1, 1, transpose=True)
    if weights["weight"].ndim != 2:
        raise call.builder.unsupported("weights that are no matrix")
    return call.emit("linear", (call.tensor(),), **weights, bias=None)


# -- functions

_PLAIN = {
    "Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh", "Exp": "exp", "Log": "log", "Sqrt": "sqrt", "Abs": "abs", "Neg": "neg",
    "Reciprocal": "reciprocal", "Erf": "erf", "HardSwish": "hardswish", "Mish": "mish", "Softsign": "softsign", "Sin": "sin",
    "Cos": "cos", "Floor": "floor", "Ceil": "ceil", "Round": "round", "Sign": "sign",
}  # fmt: skip


@rule(*_PLAIN)
def _plain(call: Call) -> Any:
    if isinstance(call.given(0), np.ndarray) and call.node.op_type == "Sqrt":
        return np.sqrt(call.given(0))
    return call.emit("function", (call.tensor(),), function=(_PLAIN[call.node.op_type], X))


@rule("Clip")
def _clip(call: Call) -> Any:
    if isinstance(call.given(0), Length):
        return call.given(0)  # a lower bound of the length, against a division by 0
    bounds = []
    for place, name in ((1, "min"), (2, "max")):
        value = call.constant(place)
        bounds.append(call.get(name) if value is None else float(np.asarray(value).reshape(-1)[0]))
    if bounds == [0.0, 6.0]:
        return call.emit("function", (call.tensor(),), function=("relu6", X))
    return call.emit("function", (call.tensor(),), function=("clamp", X, *bounds))


_WITH_NUMBERS: dict[str, Callable[[Call], tuple[Any, ...]]] = {
    "LeakyRelu": lambda call: ("leaky_relu", X, float(call.get("alpha", 0.01))),
    "Elu": lambda call: ("elu", X, float(call.get("alpha", 1.0)), 1.0, 1.0),
    "Celu": lambda call: ("elu", X, float(call.get("alpha", 1.0)), 1.0, 1.0 / float(call.get("alpha", 1.0))),
    "Selu": lambda call: (
        "elu", X, float(call.get("alpha", 1.67326319)), float(call.get("gamma", 1.05070102)), 1.0
    ),
    "Softplus": lambda call: ("softplus", X, 1.0, 20.0),
    "Gelu": lambda call: ("gelu", X, call.get("approximate", "none")),
    "HardSigmoid": lambda call: (
        "clamp", ("affine", X, float(call.get("alpha", 0.2)), float(call.get("beta", 0.5))), 0.0, 1.0
    ),
    "ThresholdedRelu": lambda call: ("threshold", X, float(call.get("alpha", 1.0)), 0.0),
}  # fmt: skip


@rule(*_WITH_NUMBERS)
def _with_numbers(call: Call) -> str:
    return call.emit("function", (call.tensor(),), function=_WITH_NUMBERS[call.node.op_type](call))


@rule("PRelu")
def _prelu(call: Call) -> str:
    slopes = np.asarray(call.constant(1), np.float32).reshape(-1)
    channels = call.shape()[0]
    if slopes.size not in (1, channels):
        raise call.builder.unsupported(f"{slopes.size} slopes for {channels} channels")
    return call.emit("prelu", (call.tensor(),), slopes=np.broadcast_to(slopes, (channels,)).copy())


@rule("Pow")
def _pow(call: Call) -> str:
    exponent = np.asarray(call.constant(1)).reshape(-1)
    if exponent.size != 1:
        raise call.builder.unsupported("several exponents")
    function = ("square", X) if float(exponent[0]) == 2.0 else ("pow", X, float(exponent[0]))
    return call.emit("function", (call.tensor(),), function=function)


# -- arithmetic

_PAIRS = {
    "Add": "add",
    "Sub": "subtract",
    "Mul": "multiply",
    "Div": "divide",
    "Max": "maximum",
    "Min": "minimum",
}
_NUMPY: dict[str, Any] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Max": np.maximum,
    "Min": np.minimum,
}


@rule(*_PAIRS)
def _pair(call: Call) -> Any:
    kind = call.node.op_type
    if len(call.inputs) != 2:
        raise call.builder.unsupported(f"{len(call.inputs)} inputs")
    first, second = call.inputs
    for number, other in ((first, second), (second, first)):
        if isinstance(number, Length) and isinstance(other, np.ndarray) and kind in ("Max", "Add"):
            return number
    if isinstance(second, Length):
        if kind != "Div" or first != second.source:
            raise call.builder.unsupported("the length of a tensor; only a tensor divided by its own length")
        return call.emit("l2_normalize", (second.source,), axis=second.axis)
    for number, other in ((first, second), (second, first)):
        if (
            isinstance(number, Numbers)
            and isinstance(other, np.ndarray)
            and kind == "Add"
            and other.size == 1
        ):
            return Numbers(number.source, number.offset + int(other.reshape(-1)[0]))
    if isinstance(first, str) and isinstance(second, str):
        return call.emit("pair", (first, second), operator=_PAIRS[kind])
    constants = [isinstance(value, np.ndarray | Quantized) for value in (first, second)]
    if all(constants):
        a, b = call.constant(0), call.constant(1)
        if kind == "Div":
            return a // b if a.dtype.kind in "iu" else a / b
        return _NUMPY[kind](a, b)
    if not any(constants):
        raise call.builder.unsupported("whole numbers that depend on the input")
    reverse = constants[0]
    return _with_constant(call, call.constant(0 if reverse else 1), reverse, 1 if reverse else 0)


def _with_constant(call: Call, value: Any, reverse: bool, place: int) -> str:
    """Add arithmetic with a constant; a bias after a product becomes the product's bias."""
    name, rank = call.tensor(place), len(call.shape(place))
    array = np.asarray(value, np.float32)
    if array.size == 1:
        array = array.reshape(())
    elif array.ndim == rank + 1 and array.shape[0] == 1:
        array = array[0]
    elif array.ndim > rank:
        raise call.builder.unsupported(f"a constant of shape {array.shape}")
    operator = _PAIRS[call.node.op_type]
    last = call.builder.steps[-1] if call.builder.steps else None
    quantized = name in call.builder.scales
    if (
        operator == "add"
        and last is not None
        and last.output == name
        and last.kind == "linear"
        and not quantized
    ):
        float_weights = last.attributes.get("weight_scale") is None
        if (
            float_weights
            and last.attributes["bias"] is None
            and array.size in (1, len(last.attributes["weight"]))
        ):
            bias = np.broadcast_to(array.reshape(-1), (len(last.attributes["weight"]),)).copy()
            call.builder.steps.pop()
            return call.builder.emit("linear", last.inputs, call.output, {**last.attributes, "bias": bias})
    return call.emit("constant", (name,), operator=operator, value=array, reverse=reverse)


# -- conditions, of constants or of one tensor

_COMPARED: dict[str, tuple[Any, str, str]] = {
    "Greater": (np.greater, "gt", "lt"),
    "GreaterOrEqual": (np.greater_equal, "ge", "le"),
    "Less": (np.less, "lt", "gt"),
    "LessOrEqual": (np.less_equal, "le", "ge"),
}
_WHOLE: dict[str, Any] = {
    "Mod": np.mod,
    "Equal": np.equal,
    "And": np.logical_and,
    "Or": np.logical_or,
    "Not": np.logical_not,
}


@rule(*_WHOLE)
def _of_constants(call: Call) -> Any:
    """Arithmetic of shapes."""
    return _WHOLE[call.node.op_type](*(call.constant(place) for place in range(len(call.inputs))))


@rule(*_COMPARED)
def _compared(call: Call) -> Any:
    of_constants, name, mirrored = _COMPARED[call.node.op_type]
    first, second = call.inputs
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        return of_constants(first, second)
    turned = isinstance(first, np.ndarray)
    limit = np.asarray(call.constant(0 if turned else 1))
    if limit.size != 1:
        raise call.builder.unsupported(f"a comparison with {limit.size} numbers; with one")
    function = (mirrored if turned else name, X, float(limit.reshape(-1)[0]))
    return call.emit("function", (call.tensor(1 if turned else 0),), function=function)


@rule("Where")
def _where(call: Call) -> Any:
    """A choice is condition x first + (1 - condition) x second, all of them functions of one tensor."""
    if all(isinstance(value, np.ndarray) for value in call.inputs):
        return np.where(*call.inputs)
    source, condition = _function_of(call, call.tensor(0))
    chosen = []
    for place in (1, 2):
        value = call.given(place)
        if isinstance(value, str):
            root, function = _function_of(call, value)
            if root != source:
                raise call.builder.unsupported("its condition and its values must be functions of one tensor")
            chosen.append(function)
        else:
            number = np.asarray(call.constant(place))
            if number.size != 1:
                raise call.builder.unsupported(f"a constant of shape {number.shape}; one number")
            chosen.append(float(number.reshape(-1)[0]))
    return call.emit("function", (source,), function=("where", condition, *chosen))


def _function_of(call: Call, name: str) -> tuple[str, tuple[Any, ...]]:
    """Return (tensor, function): a tensor as a function of the tensor from which functions of one value compute it."""
    function: tuple[Any, ...] = X
    while name not in call.builder.scales:
        step = next(
            (one for one in call.builder.steps if one.output == name and one.kind == "function"), None
        )
        if step is None or step.inputs[0] in call.builder.scales:
            break
        function, name = inside(function, step.attributes["function"]), step.inputs[0]
    return name, function


# -- pooling and means


@rule("MaxPool", "AveragePool")
def _pool(call: Call) -> Any:
    if len(call.shape()) not in (2, 3):
        raise call.builder.unsupported(f"samples of shape {call.shape()}")
    window = _window(call, tuple(call.get("kernel_shape")))
    return pool(
        call.builder, "max_pool" if call.node.op_type == "MaxPool" else "avg_pool", call.tensor(), call.output,
        window["kernel"], window["stride"], window["padding"], dilation=window["dilation"],
        ceil=bool(call.get("ceil_mode", 0)), count_padding=bool(call.get("count_include_pad", 0)),
    )  # fmt: skip


@rule("GlobalAveragePool")
def _global_mean(call: Call) -> str:
    return call.emit("mean", (call.tensor(),), keep=True)


@rule("GlobalMaxPool")
def _global_max(call: Call) -> str:
    axes = tuple(range(1, len(call.shape())))
    return call.emit("reduce", (call.tensor(),), operator="max", axes=axes, keep=True)


@rule("ReduceProd")
def _product(call: Call) -> Any:
    """Arithmetic of shapes."""
    axes = call.integers(1, "axes")
    return np.prod(
        call.constant(0), axis=None if axes is None else tuple(axes), keepdims=bool(call.get("keepdims", 1))
    )


@rule("ReduceMean", "ReduceSum", "ReduceMax")
def _reduce(call: Call) -> str:
    rank, shape = len(call.shape()) + 1, call.shape()
    axes = call.integers(1, "axes")
    if not axes:
        raise call.builder.unsupported("without axes")
    places = tuple(sorted(call.axis(axis, rank) for axis in axes))
    operator, keep = call.node.op_type[6:].lower(), bool(call.get("keepdims", 1))
    if operator == "mean" and len(shape) > 1 and places == tuple(range(1, len(shape))):
        return call.emit("mean", (call.tensor(),), keep=keep)
    return call.emit("reduce", (call.tensor(),), operator=operator, axes=places, keep=keep)


@rule("Softmax", "LogSoftmax")
def _softmax(call: Call) -> str:
    if call.file.opset >= 13:
        axis = call.axis(int(call.get("axis", -1)))
    else:  # earlier versions take all axes from this one on together
        axis, shape = call.first_axis(int(call.get("axis", 1))), call.shape()
        if any(size > 1 for size in shape[axis + 1 :]):
            raise call.builder.unsupported(
                f"opset {call.file.opset}, over all axes of {shape[axis:]} together"
            )
    return call.emit(
        "softmax" if call.node.op_type == "Softmax" else "log_softmax", (call.tensor(),), axis=axis
    )


@rule("LpNormalization")
def _normalize(call: Call) -> str:
    if call.get("p", 2) != 2:
        raise call.builder.unsupported("only p = 2")
    return call.emit("l2_normalize", (call.tensor(),), axis=call.axis(int(call.get("axis", -1))))


@rule("ReduceL2")
def _length(call: Call) -> Length:
    axes = call.integers(1, "axes") or []
    if len(axes) != 1 or not call.get("keepdims", 1):
        raise call.builder.unsupported("over one axis that stays, as in a division of a tensor by its length")
    return Length(call.tensor(), call.axis(axes[0]))
