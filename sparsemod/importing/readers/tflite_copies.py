"""Translation of TensorFlow Lite operators that copy elements."""

import math
from typing import Any

import numpy as np

from sparsemod.importing.readers.tflite_file import IMAGE, Call, Numbers, rule
from sparsemod.importing.source import checked_shape


@rule("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
def _reshape(call: Call) -> Any:
    if isinstance(call.given(0), np.ndarray):
        return call.raw(0).reshape(call.file.file_shape(call.outputs[0]))
    count = math.prod(call.shape())
    wanted = list(call.file.file_shape(call.outputs[0]))
    if call.kind == "RESHAPE":
        stated = call.given(1)
        sizes = (
            call.integers(1)
            if isinstance(stated, np.ndarray)
            else [int(n) for n in call.option("newShape") or wanted]
        )
        if len(sizes) > 1 and -1 in sizes[1:]:
            rest = math.prod(size for size in sizes[1:] if size != -1)
            sizes = [sizes[0], *(count // max(1, rest) if size == -1 else size for size in sizes[1:])]
        wanted = sizes
    if len(wanted) < 2 or math.prod(wanted[1:]) != count or min(wanted[1:]) < 1:
        raise call.builder.unsupported(f"from {call.shape()} to {wanted}: the batch axis stays first")
    return call.to_file_shape(call.in_file_order(), tuple(wanted[1:]))


@rule("TILE")
def _tile(call: Call) -> str:
    repeats, shape = call.integers(1), list(call.shape())
    if len(repeats) != call.rank() or repeats[0] != 1 or min(repeats) < 1:
        raise call.builder.unsupported(f"{repeats} times: the batch axis stays")
    times = {call.axis(place + 1): count for place, count in enumerate(repeats[1:])}
    checked_shape([size * times[axis] for axis, size in enumerate(shape)], call.file.source, "a tiling")
    name = call.tensor()
    for axis, count in times.items():
        if count > 1:
            name = call.view(
                "take", name, f"{call.output}/axis{axis}", axis=axis, places=tuple(range(shape[axis])) * count
            )
            call.scaled(name)
    return name


@rule("TRANSPOSE")
def _transpose(call: Call) -> str:
    order = call.integers(1)
    if sorted(order) != list(range(call.rank())) or order[0] != 0:
        raise call.builder.unsupported(f"order {order}: the batch axis stays first")
    x = call.in_file_order()
    moved = tuple(place - 1 for place in order[1:])
    if call.rank() != IMAGE:
        return call.view("transpose", x, order=moved)
    made = call.view("transpose", x, f"{call.output}/moved", order=moved)
    return call.view("transpose", made, order=(2, 0, 1))


@rule("CONCATENATION")
def _concat(call: Call) -> str:
    names = tuple(call.tensor(place) for place in range(len(call.inputs)))
    return call.emit("concat", names, axis=call.axis(int(call.option("axis", -1))), clamp=call.clamp())


@rule("SPLIT", "SPLIT_V")
def _split(call: Call) -> list[str]:
    place, at = (1, 0) if call.kind == "SPLIT" else (0, 2)
    axis, name = call.axis(call.integers(at)[0], call.rank(place)), call.tensor(place)
    size, count = call.builder.shapes[name][axis], len(call.outputs)
    sizes = [size // count] * count if call.kind == "SPLIT" else call.integers(1)
    if sum(sizes) != size or min(sizes) < 1 or len(sizes) != count:
        raise call.builder.broken(f"parts {sizes} of an axis of {size}")
    made, start = [], 0
    for number, part in enumerate(sizes):
        output = call.file.name(call.outputs[number])
        call.view("slice", name, output, axis=axis, start=start, stop=start + part, step=1)
        made.append(call.scaled(output, number))
        start += part
    return made


@rule("SLICE", "STRIDED_SLICE")
def _slice(call: Call) -> str:
    starts, ends = call.integers(1), call.integers(2)
    rank, name = call.rank(), call.tensor()
    steps = call.integers(3) if call.kind == "STRIDED_SLICE" else [1] * rank
    masks = [int(call.option(key, 0)) for key in ("beginMask", "endMask")]
    if (
        any(int(call.option(key, 0)) for key in ("ellipsisMask", "newAxisMask", "shrinkAxisMask"))
        or len(starts) != rank
    ):
        raise call.builder.unsupported("masks other than begin and end")
    for file_axis in range(1, rank):
        axis = call.axis(file_axis, rank)
        size, step = call.builder.shapes[name][axis], steps[file_axis]
        start = None if masks[0] >> file_axis & 1 else starts[file_axis]
        end = None if masks[1] >> file_axis & 1 else ends[file_axis]
        if call.kind == "SLICE":
            end = None if ends[file_axis] == -1 else starts[file_axis] + ends[file_axis]
        chosen = range(size)[slice(start, end, step)]
        if not len(chosen):
            raise call.builder.broken(f"no element of an axis of {size}")
        if chosen == range(size):
            continue
        name = call.view("take", name, f"{call.output}/{file_axis}", axis=axis, places=tuple(chosen)) if step != 1 else call.view(
            "slice", name, f"{call.output}/{file_axis}", axis=axis, start=chosen.start, stop=chosen.stop, step=1
        )  # fmt: skip
    return name


@rule("PAD", "PADV2", "MIRROR_PAD")
def _pad(call: Call) -> str:
    amounts = call.raw(1).reshape(-1, 2).tolist()
    if len(amounts) != call.rank() or any(amounts[0]):
        raise call.builder.unsupported(f"amounts {amounts}: the batch axis stays")
    inner = [amounts[3], *amounts[1:3]] if call.rank() == IMAGE else amounts[1:]
    mode, value = "constant", 0.0
    if call.kind == "MIRROR_PAD":
        if call.option("mode") != call.file.schema.MirrorPadMode.REFLECT:
            raise call.builder.unsupported("symmetric")
        mode = "reflect"
    elif call.kind == "PADV2":
        raw = call.raw(2).reshape(-1)[0]
        value = float(call.real(2).reshape(-1)[0])
        scale = call.builder.scales.get(call.tensor())
        if scale is not None:
            if int(raw) not in (scale.zero_point, -128):
                raise call.builder.unsupported(
                    f"padding with {raw}, neither the zero point nor the lowest value"
                )
            value = 0.0 if int(raw) == scale.zero_point else float("-inf")
    flat = tuple(int(n) for pair in inner for n in pair)
    return call.view("pad", call.tensor(), amounts=flat, mode=mode, value=value)


@rule("GATHER")
def _gather(call: Call) -> str:
    index = call.given(1)
    if isinstance(index, Numbers):
        table = call.raw(0)
        if table.shape != (256,) or table.dtype != np.int8 or index.offset != 128:
            raise call.builder.unsupported("a table that is not 256 int8 numbers")
        return call.emit("lookup", (index.source,), table=table)
    axis, places = call.axis(int(call.option("axis", 0))), call.raw(1)
    size = call.shape()[axis]
    if places.ndim != 1 or places.min() < 0 or places.max() >= size:
        raise call.builder.broken(f"places {places.shape} outside of an axis of {size}")
    return call.view("take", call.tensor(), axis=axis, places=tuple(int(n) for n in places))


@rule("DEPTH_TO_SPACE", "SPACE_TO_DEPTH")
def _depth(call: Call) -> str:
    block = int(call.option("blockSize", 1))
    if call.kind == "SPACE_TO_DEPTH":
        return call.view("space_to_depth", call.tensor(), block=block)
    return call.view("depth_to_space", call.tensor(), block=block, columns_first=True)


@rule("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")
def _resize(call: Call) -> str:
    size, shape = call.integers(1), call.shape()
    aligned, half = bool(call.option("alignCorners")), bool(call.option("halfPixelCenters"))
    whole = all(wanted % given == 0 for given, wanted in zip(shape[1:], size, strict=True))
    if call.kind == "RESIZE_NEAREST_NEIGHBOR":
        if aligned or (half and not whole):
            raise call.builder.unsupported("aligned corners, or factors that are not whole")
        return call.emit("resize", (call.tensor(),), size=tuple(size), mode="nearest", aligned=False)
    if not (aligned or half):
        raise call.builder.unsupported("neither aligned corners nor half pixel centers")
    return call.emit("resize", (call.tensor(),), size=tuple(size), mode="linear", aligned=aligned)
