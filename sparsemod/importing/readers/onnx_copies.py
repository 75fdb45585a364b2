"""Translation of ONNX operators that copy elements, and of those that compute constants."""

from typing import Any

import numpy as np

from sparsemod.importing.readers.onnx_file import Call, Length, Numbers, rule
from sparsemod.importing.readers.onnx_moved import sizes
from sparsemod.importing.source import checked_shape
from sparsemod.importing.steps import Scale


@rule("Identity", "Dropout")
def _identity(call: Call) -> Any:
    return call.given(0)


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
    for name, kind in (
        ("value_float", np.float32),
        ("value_int", np.int64),
        ("value_floats", np.float32),
        ("value_ints", np.int64),
    ):
        if call.get(name) is not None:
            return np.array(call.get(name), kind)
    raise call.builder.unsupported("a constant of another type")


@rule("ConstantOfShape")
def _constant_of_shape(call: Call) -> Any:
    shape = checked_shape(call.integers(0) or [], call.file.source, "a constant")
    value = call.get("value")
    return (
        np.full(shape, 0.0, np.float32)
        if value is None
        else np.full(shape, call.file.constant(value).reshape(-1)[0])
    )


@rule("Shape")
def _shape(call: Call) -> Any:
    value = call.given(0)
    found = value.shape if isinstance(value, np.ndarray) else sizes(call)
    return np.array(found, np.int64)[call.get("start", 0) : call.get("end")]


@rule("Expand")
def _expand(call: Call) -> Any:
    value, wanted = call.given(0), call.integers(1) or []
    if isinstance(value, Length):
        return value
    if not isinstance(value, np.ndarray):
        raise call.builder.unsupported("only of constants")
    checked_shape(wanted, call.file.source, "a constant")
    try:
        return np.broadcast_to(value, np.broadcast_shapes(value.shape, tuple(wanted)))
    except ValueError as error:
        raise call.builder.broken(error) from None


@rule("Tile")
def _tile(call: Call) -> Any:
    repeats = call.integers(1) or []
    if isinstance(call.given(0), np.ndarray):
        checked_shape(
            [a * b for a, b in zip(call.given(0).shape, repeats, strict=True)], call.file.source, "a constant"
        )
        return np.tile(call.given(0), repeats)
    shape, name = call.shape(), call.tensor()
    if len(repeats) != len(shape) + 1 or repeats[0] != 1 or min(repeats) < 1:
        raise call.builder.unsupported(f"{repeats} times: the batch axis stays")
    checked_shape([a * b for a, b in zip(shape, repeats[1:], strict=True)], call.file.source, "a tiling")
    for axis, times in enumerate(repeats[1:]):
        if times > 1:
            places = tuple(range(shape[axis])) * times
            name = call.view("take", name, f"{call.output}/axis{axis}", axis=axis, places=places)
    return name


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
    kept = call.view(
        "slice", output=f"{call.output}/one", axis=axis, start=chosen[0], stop=chosen[0] + 1, step=1
    )
    return call.view("reshape", kept, shape=shape[:axis] + shape[axis + 1 :])


@rule("Flatten")
def _flatten(call: Call) -> str:
    if int(call.get("axis", 1)) not in (1, 1 - len(call.shape()) - 1):
        raise call.builder.unsupported("only axis 1")
    return call.view("flatten")


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
        gone = (
            [at for at, size in enumerate(shape) if size == 1]
            if axes is None
            else [call.axis(a) for a in axes]
        )
        shape = [size for at, size in enumerate(shape) if at not in gone]
    return call.view("reshape", shape=tuple(shape))


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
    parts = call.integers(1, "split") or [min(each, size - each * place) for place in range(count)]
    if sum(parts) != size or min(parts) < 1:
        raise call.builder.broken(f"parts {parts} of an axis of {size}")
    made, start = [], 0
    for name, part in zip(call.node.output, parts, strict=True):
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
            name = call.view(
                "slice", name, output, axis=place, start=chosen.start, stop=chosen.stop, step=step
            )
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
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}[
        call.get("mode", "constant")
    ]
    value = call.constant(2)
    fill = float(call.get("value", 0.0)) if value is None else float(np.asarray(value).reshape(-1)[0])
    if value is not None and value.dtype == np.int8 and mode == "constant":
        fill = _padding_value(call, int(fill))
    return call.view("pad", amounts=amounts, mode=mode, value=fill)


def _padding_value(call: Call, value: int) -> float:
    """Return the real value of int8 padding: the zero point is 0, -128 is the lowest number."""
    scale: Scale | None = call.builder.scales.get(call.tensor())
    if scale is not None and value == scale.zero_point:
        return 0.0
    if value == -128:
        return float("-inf")
    raise call.builder.unsupported(
        f"padding with {value}, which is neither the zero point nor the lowest value"
    )


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
    wanted = None if upsample else call.integers(3)
    if not wanted:
        factors = np.asarray(call.constant(1 if upsample else 2, call.get("scales"))).reshape(-1)
        wanted = [
            1,
            *(int(np.floor(np.float32(n) * np.float32(f))) for n, f in zip(shape, factors[1:], strict=True)),
        ]
    if len(wanted) != len(shape) + 1 or wanted[1] != shape[0] or min(wanted) < 1:
        raise call.builder.unsupported(f"from {shape} to {wanted[1:]}")
    whole = all(new % size == 0 for size, new in zip(shape[1:], wanted[2:], strict=True))
    if mode == "nearest":
        floor = call.get("nearest_mode", "round_prefer_floor") == "floor" and how == "asymmetric"
        if not (whole or floor or upsample):
            raise call.builder.unsupported(f"nearest with {how}, other than by whole factors")
    elif mode != "linear" or how not in ("half_pixel", "align_corners", "pytorch_half_pixel"):
        raise call.builder.unsupported(f"{mode} with {how}")
    checked_shape(wanted[1:], call.file.source, "an upsampling")
    kind = "nearest" if mode == "nearest" else "linear"
    return call.emit(
        "resize", (call.tensor(),), size=tuple(wanted[2:]), mode=kind, aligned=how == "align_corners"
    )
