"""Translation of ONNX quantization, and of layers with weights, to steps."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sparsemod.graph.functions import X
from sparsemod.importing.readers.onnx_file import Call, Quantized, rule
from sparsemod.importing.windows import same_padding

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


def window(call: Call, kernel: tuple[int, ...]) -> dict[str, Any]:
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
    geometry = window(call, weight.shape[2:])
    geometry.pop("kernel")
    bias = _bias(call, 2, weights)
    weights["weight"] = weight if weight.ndim == 4 else weight[:, :, None]
    return call.emit(
        "conv", (call.tensor(),), **weights, bias=bias, groups=int(call.get("group", 1)), **geometry
    )


@rule("ConvTranspose")
def _conv_transpose(call: Call) -> str:
    weight = np.asarray(call.constant(1), np.float32)
    if weight.ndim not in (3, 4) or call.get("output_shape") is not None:
        raise call.builder.unsupported(f"weights of shape {weight.shape}")
    geometry = window(call, weight.shape[2:])
    geometry.pop("kernel")
    extra = tuple([0, 0, *call.get("output_padding", [0] * (weight.ndim - 2))][-2:])
    bias = call.constant(2)
    weight = weight if weight.ndim == 4 else weight[:, :, None]
    return call.emit(
        "conv_transpose", (call.tensor(),), weight=weight, bias=bias, output_padding=extra, groups=int(call.get("group", 1)), **geometry
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
