"""Bilinear upsampling and downsampling."""

from torch import Tensor
from torch.nn import functional

from sparsemod.graph.aten import aten
from sparsemod.graph.call import Call
from sparsemod.graph.execute import FLOAT, as_image
from sparsemod.graph.operators import Graph, Operator

PARTS = 1024
Between = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


@aten(
    "upsample_bilinear2d.default", "upsample_bilinear2d.vec", "upsample_linear1d.default", "upsample_linear1d.vec",
    kinds=("interpolate",),
)  # fmt: skip
def _bilinear(call: Call) -> None:
    name = "input" if "input" in call.arguments else "self"
    call.channels_first(name)
    given = call.layout(name).image(call.shape(name))
    made, aligned = call.result_shape, bool(call["align_corners"])
    sizes = (1, *made[1:])[-2:]
    for size, wanted, factor in zip(given[1:], sizes, _factors(call), strict=True):
        if factor is not None and abs(wanted - size * factor) > 1e-6 and not aligned:
            raise call.unsupported(f"{size} positions times {factor} is no whole number")
    rows, columns = (between(size, wanted, aligned) for size, wanted in zip(given[1:], sizes, strict=True))
    attributes = {
        "rows": rows[0], "rows_next": rows[1], "rows_part": rows[2], "columns": columns[0], "columns_next": columns[1],
        "columns_part": columns[2], "aligned": aligned,
    }  # fmt: skip
    call.emit("interpolate", (call.tensor(name),), attributes)


def _factors(call: Call) -> list[float | None]:
    stated = call.arguments.get("scale_factors")
    if stated is None:
        names = ("scales_h", "scales_w") if "2d" in call.operator else ("scales",)
        stated = [call.arguments.get(name) for name in names]
    found = [None if value is None else float(value) for value in stated]
    return [None, *found][-2:]


def between(size: int, wanted: int, aligned: bool) -> Between:
    """Return, for each of `wanted` positions, the positions of the input before and behind it, and its place between them in 1024ths.

    The positions are those of torch: with `aligned`, the outermost positions of both sides coincide; else the edges do.
    """
    before, behind, parts = [], [], []
    for place in range(wanted):
        if aligned:
            real = place * (size - 1) / (wanted - 1) if wanted > 1 else 0.0
        else:
            real = max(0.0, (place + 0.5) * size / wanted - 0.5)
        low = min(int(real), size - 1)
        part = int((real - low) * PARTS + 0.5)
        if part == PARTS:  # rounded up to the next position
            low, part = min(low + 1, size - 1), 0
        before.append(low)
        behind.append(min(low + 1, size - 1))
        parts.append(part)
    return tuple(before), tuple(behind), tuple(parts)


@FLOAT.register("interpolate")
def _run_interpolate(graph: Graph, operator: Operator, inputs: list[Tensor]) -> Tensor:
    rows, columns = (len(operator.attributes[name]) for name in ("rows", "columns"))
    aligned = bool(operator.attributes["aligned"])
    x = as_image(graph, operator, inputs[0])
    made = functional.interpolate(x, (rows, columns), mode="bilinear", align_corners=aligned)
    return made.reshape(len(made), *graph.shapes[operator.output])
