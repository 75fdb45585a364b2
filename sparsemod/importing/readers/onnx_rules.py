"""Translation of ONNX operators to steps."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from sparsemod.graph.functions import X
from sparsemod.importing.readers.onnx_file import Call, Numbers, Quantized, rule
from sparsemod.importing.source import checked_shape
from sparsemod.importing.steps import Scale
from sparsemod.importing.windows import pool, same_padding

# -- int8


@rule("QuantizeLinear")
def _quantize(call: Call) -> Any:
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
    scale, unsigned = call.scale(call.constant(1), call.constant(2))
    known = call.builder.scales.get(name)
    if known is None:
        if unsigned and name not in call.file.unsigned and call.builder.steps:
            raise call.builder.unsupported("uint8 values of unknown origin")
        call.builder.scales[name] = scale
    elif known != scale:
        raise call.builder.unsupported(f"a tensor of scale {known.scale:g} is read with scale {scale.scale:g}")
    return name


def _constant_of(call: Call, value: Any) -> Quantized:
    scale, zero = np.asarray(call.constant(1), np.float32), call.constant(2)
    axis = int(call.get("axis", 1)) % max(1, value.ndim)
    if value.dtype == np.uint8:
        value = (value.astype(np.int16) - 128).astype(np.int8)
        zero = np.full(scale.shape, -128) if zero is None else zero.astype(np.int16) - 128
    if value.dtype not in (np.int8, np.int32):
        raise call.builder.unsupported(f"constants of type {value.dtype}; int8, uint8 or int32")
    if zero is not None and np.any(zero):
        if value.dtype != np.int8:
            raise call.builder.unsupported("a bias with a zero point")
        # Only layers with weights need a zero point of 0; for them `weights` raises an error.
        shape = [-1 if at == axis else 1 for at in range(value.ndim)] if scale.size > 1 else [1] * max(1, value.ndim)
        return Quantized(value.astype(np.int16) - zero.astype(np.int16).reshape(shape), scale, axis)
    return Quantized(value, scale, axis)


def _weights(call: Call, place: int, axis: int, transpose: bool = False) -> dict[str, Any]:
    """Return weight and weight_scale of a layer; `axis` is that of its outputs."""
    value = call.given(place)
    if not isinstance(value, Quantized):
        array = np.asarray(call.constant(place), np.float32)
        return {"weight": array.T.copy() if transpose else array}
    if value.values.dtype != np.int8:
        raise call.builder.unsupported("asymmetric weights: quantize them with a zero point of 0 (symmetric)")
    if value.values.min() < -127:
        hint = "a weight of -128: quantize to -127 to 127"
        raise call.builder.unsupported(hint)
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


def _window(call: Call, kernel: tuple[int, ...]) -> dict[str, Any]:
    """Return kernel, stride, dilation and padding of a window, of sequences with one row."""
    count = len(kernel)
    pair = lambda name: tuple([1, 1, *call.get(name, [1] * count)][-2:])  # noqa: E731
    stride, dilation = pair("strides"), pair("dilations")
    rows = (1, *kernel)[-2:]
    auto = call.get("auto_pad", "NOTSET")
    shape = call.shape()
    size = (1, *shape[1:])[-2:]
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
    return call.emit("conv", (call.tensor(),), **weights, bias=bias, groups=int(call.get("group", 1)), **window)


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
        raise call.builder.unsupported("a product of two tensors that depend on the input")
    weights = _weights(call, 1, 1, transpose=True)
    if weights["weight"].ndim != 2:
        raise call.builder.unsupported("weights that are no matrix")
    return call.emit("linear", (call.tensor(),), **weights, bias=None)


@rule("BatchNormalization")
def _batch_norm(call: Call) -> str:
    names = ("weight", "bias", "mean", "variance")
    values = {name: np.asarray(call.constant(place + 1), np.float32) for place, name in enumerate(names)}
    return call.emit("batch_norm", (call.tensor(),), **values, epsilon=float(call.get("epsilon", 1e-5)))


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
def _clip(call: Call) -> str:
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

_PAIRS = {"Add": "add", "Sub": "subtract", "Mul": "multiply", "Div": "divide", "Max": "maximum", "Min": "minimum"}
_NUMPY: dict[str, Any] = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Max": np.maximum, "Min": np.minimum}


@rule(*_PAIRS)
def _pair(call: Call) -> Any:
    kind = call.node.op_type
    if len(call.inputs) != 2:
        raise call.builder.unsupported(f"{len(call.inputs)} inputs")
    first, second = call.inputs
    for number, other in ((first, second), (second, first)):
        if isinstance(number, Numbers) and isinstance(other, np.ndarray) and kind == "Add" and other.size == 1:
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
    if operator == "add" and last is not None and last.output == name and last.kind == "linear" and not quantized:
        float_weights = last.attributes.get("weight_scale") is None
        if float_weights and last.attributes["bias"] is None and array.size in (1, len(last.attributes["weight"])):
            bias = np.broadcast_to(array.reshape(-1), (len(last.attributes["weight"]),)).copy()
            call.builder.steps.pop()
            return call.builder.emit("linear", last.inputs, call.output, {**last.attributes, "bias": bias})
    return call.emit("constant", (name,), operator=operator, value=array, reverse=reverse)


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
    axis = call.axis(int(call.get("axis", -1 if call.file.opset >= 13 else 1)))
    return call.emit("softmax" if call.node.op_type == "Softmax" else "log_softmax", (call.tensor(),), axis=axis)


@rule("LpNormalization")
def _normalize(call: Call) -> str:
    if call.get("p", 2) != 2:
        raise call.builder.unsupported("only p = 2")
    return call.emit("l2_normalize", (call.tensor(),), axis=call.axis(int(call.get("axis", -1))))


# -- copies


@rule("Identity", "Dropout")
def _identity(call: Call) -> Any:
    return [call.given(0), None][: max(1, len(call.node.output))]


@rule("Cast")
def _cast(call: Call) -> Any:
    from onnx import helper

    wanted = helper.tensor_dtype_to_np_dtype(int(call.get("to")))
    value = call.given(0)
    if isinstance(value, np.ndarray):
        return value.astype(wanted)
    name = call.tensor()
    if np.dtype(wanted) in (np.dtype(np.int32), np.dtype(np.int64)):
        return Numbers(name, 0)
    if np.dtype(wanted) != np.float32:
        raise call.builder.unsupported(f"to {wanted}")
    return name


@rule("Constant")
def _constant(call: Call) -> Any:
    value = call.get("value")
    if value is not None:
        return call.file.constant(value)
    for name, kind in (("value_float", np.float32), ("value_int", np.int64), ("value_floats", np.float32), ("value_ints", np.int64)):
        if call.get(name) is not None:
            return np.array(call.get(name), kind)
    raise call.builder.unsupported("a constant of another type")


@rule("ConstantOfShape")
def _constant_of_shape(call: Call) -> Any:
    shape = checked_shape(call.integers(0) or [], call.file.source, "a constant")
    value = call.get("value")
    return np.full(shape, 0.0, np.float32) if value is None else np.full(shape, call.file.constant(value).reshape(-1)[0])


@rule("Shape")
def _shape(call: Call) -> Any:
    value = call.given(0)
    sizes = value.shape if isinstance(value, np.ndarray) else (1, *call.shape())
    return np.array(sizes, np.int64)[call.get("start", 0) : call.get("end")]


@rule("Gather")
def _gather(call: Call) -> Any:
    data, index = call.inputs
    if isinstance(index, Numbers):
        table = np.asarray(call.constant(0))
        if table.shape != (256,) or table.dtype != np.int8 or index.offset != 128:
            raise call.builder.unsupported("a table that is not 256 int8 numbers")
        return call.emit("lookup", (index.source,), table=table)
    places = np.asarray(call.constant(1)).astype(np.int64)
    if isinstance(data, np.ndarray):
        return np.take(data, places, int(call.get("axis", 0)))
    axis = call.axis(int(call.get("axis", 0)))
    size = call.shape()[axis]
    if places.ndim > 1 or np.any(places < -size) or np.any(places >= size):
        raise call.builder.broken(f"places {places.shape} outside of an axis of {size}")
    chosen = tuple(int(place) % size for place in places.reshape(-1))
    if places.ndim:
        return call.view("take", axis=axis, places=chosen)
    shape = call.shape()
    kept = call.view("slice", output=f"{call.output}/one", axis=axis, start=chosen[0], stop=chosen[0] + 1, step=1)
    return call.view("reshape", kept, shape=shape[:axis] + shape[axis + 1 :])


@rule("Flatten")
def _flatten(call: Call) -> str:
    if int(call.get("axis", 1)) not in (1, 1 - len(call.shape()) - 1):
        raise call.builder.unsupported("only axis 1")
    return call.view("flatten")


@rule("Reshape")
def _reshape(call: Call) -> Any:
    wanted = call.integers(1) or []
    value = call.given(0)
    if isinstance(value, np.ndarray):
        return value.reshape(wanted)
    given = (1, *call.shape())
    sizes = [given[place] if size == 0 and place < len(given) else size for place, size in enumerate(wanted)]
    total = math.prod(given)
    if sizes.count(-1) == 1 and sizes[0] != -1:
        rest = math.prod(size for size in sizes if size != -1)
        sizes = [total // rest if size == -1 and rest else size for size in sizes]
    # The first axis is the batch, whatever number the file has for it.
    if len(sizes) < 2 or min(sizes[1:]) < 1 or math.prod(sizes[1:]) != total:
        raise call.builder.unsupported(f"from {given[1:]} to {wanted}: the batch axis stays first")
    return call.view("reshape", shape=tuple(sizes[1:]))


@rule("Squeeze", "Unsqueeze")
def _squeeze(call: Call) -> Any:
    axes = call.integers(1, "axes")
    value = call.given(0)
    adds = call.node.op_type == "Unsqueeze"
    if isinstance(value, np.ndarray):
        if adds:
            return np.expand_dims(value, tuple(axes or ()))
        return np.squeeze(value, None if axes is None else tuple(axes))
    shape = list(call.shape())
    if adds:
        rank = len(shape) + 1 + len(axes or ())
        for axis in sorted(call.axis(a, rank) for a in axes or ()):
            shape.insert(axis, 1)
    else:
        gone = [at for at, size in enumerate(shape) if size == 1] if axes is None else [call.axis(a) for a in axes]
        shape = [size for at, size in enumerate(shape) if at not in gone]
    return call.view("reshape", shape=tuple(shape))


@rule("Transpose")
def _transpose(call: Call) -> Any:
    value, order = call.given(0), call.get("perm")
    if isinstance(value, np.ndarray):
        return value.transpose(order)
    rank = len(call.shape()) + 1
    order = list(order) if order is not None else list(range(rank))[::-1]
    if sorted(order) != list(range(rank)) or order[0] != 0:
        raise call.builder.unsupported(f"order {order}: the batch axis stays first")
    return call.view("transpose", order=tuple(place - 1 for place in order[1:]))


@rule("Concat")
def _concat(call: Call) -> Any:
    if all(isinstance(value, np.ndarray) for value in call.inputs):
        return np.concatenate(call.inputs, int(call.get("axis", 0)))
    names = tuple(call.tensor(place) for place in range(len(call.inputs)))
    return call.emit("concat", names, axis=call.axis(int(call.get("axis", 1))))


@rule("Split")
def _split(call: Call) -> list[str]:
    axis = call.axis(int(call.get("axis", 0)))
    size, count = call.shape()[axis], len(call.node.output)
    each = -(-size // count)
    sizes = call.integers(1, "split") or [min(each, size - each * place) for place in range(count)]
    if sum(sizes) != size or min(sizes) < 1:
        raise call.builder.broken(f"parts {sizes} of an axis of {size}")
    made, start = [], 0
    for name, part in zip(call.node.output, sizes, strict=True):
        made.append(call.view("slice", output=name, axis=axis, start=start, stop=start + part, step=1))
        start += part
    return made


@rule("Slice")
def _slice(call: Call) -> Any:
    starts, ends = call.integers(1, "starts") or [], call.integers(2, "ends") or []
    axes = call.integers(3, "axes", list(range(len(starts)))) or []
    steps = call.integers(4, "", [1] * len(starts)) or []
    value = call.given(0)
    if isinstance(value, np.ndarray):
        cut = [slice(None)] * value.ndim
        for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
            cut[axis] = slice(start, end, step)
        return value[tuple(cut)]
    name, shape = call.tensor(), call.shape()
    for number, (axis, start, end, step) in enumerate(zip(axes, starts, ends, steps, strict=True)):
        place = call.axis(axis, len(shape) + 1)
        chosen = range(shape[place])[slice(start, end, step)]
        output = call.output if number == len(axes) - 1 else f"{call.output}/{number}"
        if not len(chosen):
            raise call.builder.broken(f"no element of an axis of {shape[place]}: {start} to {end}")
        if step > 0:
            name = call.view("slice", name, output, axis=place, start=chosen.start, stop=chosen.stop, step=step)
        else:
            name = call.view("take", name, output, axis=place, places=tuple(chosen))
    return name


@rule("Pad")
def _pad(call: Call) -> str:
    pads, rank = call.integers(1, "pads") or [], len(call.shape()) + 1
    axes = call.integers(3)
    if axes is not None:
        whole = [0] * 2 * rank
        for number, axis in enumerate(axes):
            whole[axis % rank], whole[axis % rank + rank] = pads[number], pads[number + len(axes)]
        pads = whole
    if len(pads) != 2 * rank or pads[0] or pads[rank]:
        raise call.builder.unsupported(f"amounts {pads}: the batch axis stays")
    amounts = tuple(n for axis in range(1, rank) for n in (pads[axis], pads[axis + rank]))
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}[call.get("mode", "constant")]
    value = call.constant(2)
    number = float(call.get("value", 0.0)) if value is None else float(np.asarray(value).reshape(-1)[0])
    if value is not None and value.dtype == np.int8 and mode == "constant":
        number = _padding_value(call, int(number))
    return call.view("pad", amounts=amounts, mode=mode, value=number)


def _padding_value(call: Call, value: int) -> float:
    """Return the real value of int8 padding: the zero point is 0, -128 is the lowest number."""
    scale: Scale | None = call.builder.scales.get(call.tensor())
    if scale is not None and value == scale.zero_point:
        return 0.0
    if value == -128:
        return float("-inf")
    raise call.builder.unsupported(f"padding with {value}, which is neither the zero point nor the lowest value")


@rule("DepthToSpace", "SpaceToDepth")
def _depth(call: Call) -> str:
    block = int(call.get("blocksize"))
    if call.node.op_type == "SpaceToDepth":
        return call.view("space_to_depth", block=block)
    return call.view("depth_to_space", block=block, columns_first=call.get("mode", "DCR") == "DCR")


@rule("Resize", "Upsample")
def _resize(call: Call) -> str:
    shape, mode = call.shape(), call.get("mode", "nearest")
    upsample = call.node.op_type == "Upsample"
    how = "asymmetric" if upsample else call.get("coordinate_transformation_mode", "half_pixel")
    sizes = None if upsample else call.integers(3)
    if not sizes:
        factors = np.asarray(call.constant(1 if upsample else 2, call.get("scales"))).reshape(-1)
        sizes = [1, *(int(np.floor(np.float32(n) * np.float32(f))) for n, f in zip(shape, factors[1:], strict=True))]
    if len(sizes) != len(shape) + 1 or sizes[1] != shape[0] or min(sizes) < 1:
        raise call.builder.unsupported(f"from {shape} to {sizes[1:]}")
    whole = all(wanted % size == 0 for size, wanted in zip(shape[1:], sizes[2:], strict=True))
    if mode == "nearest":
        floor = call.get("nearest_mode", "round_prefer_floor") == "floor" and how == "asymmetric"
        if not (whole or floor or upsample):
            raise call.builder.unsupported(f"nearest with {how}, other than by whole factors")
    elif mode != "linear" or how not in ("half_pixel", "align_corners", "pytorch_half_pixel"):
        raise call.builder.unsupported(f"{mode} with {how}")
    checked_shape(sizes[1:], call.file.source, "an upsampling")
    kind = "nearest" if mode == "nearest" else "linear"
    return call.emit("resize", (call.tensor(),), size=tuple(sizes[2:]), mode=kind, aligned=how == "align_corners")
