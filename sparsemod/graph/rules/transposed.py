"""Transposed convolutions, as a convolution that computes each of the s x s outputs of a position, and a move of these outputs.

With stride s, output o reads the taps k = (o + padding) mod s + s t of the kernel. So all outputs of the same o mod s come from one
ordinary convolution, whose kernel has every s-th tap. The convolutions of all s x s remainders are one convolution with s x s times the
channels.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparsemod.graph.aten import aten, four, pair, positions
from sparsemod.graph.call import Call, Constant
from sparsemod.graph.rules.movements import place


@aten("conv_transpose1d.default", "conv_transpose2d.input", kinds=("conv", "move", "take"))
def _transposed(call: Call) -> None:
    axes = positions(call, "input")
    weight, bias = call.constant("weight"), call.constant("bias")
    if weight is None:
        raise call.unsupported("without a constant weight")
    emit_transposed(
        call, weight, bias, pair(call["stride"], axes), four(call["padding"], axes)[::2], pair(call["dilation"], axes),
        int(call["groups"]),
    )  # fmt: skip


def emit_transposed(
    call: Call, weight: Constant, bias: Constant | None, stride: tuple[int, int], padding: tuple[int, ...],
    dilation: tuple[int, int], groups: int,
) -> None:  # fmt: skip
    """Append a transposed convolution of the call's `input`; `padding` is (rows, columns)."""
    shape, made = call.shape("input"), call.result_shape
    filters = weight.tensor.detach().double()
    if filters.ndim == 3:
        filters = filters[:, :, None]
    sizes, wanted = ((1, *shape[1:])[-2:], (1, *made[1:])[-2:])
    plans = [
        _axis(filters.shape[2 + axis], stride[axis], padding[axis], dilation[axis], sizes[axis], wanted[axis])
        for axis in (0, 1)
    ]
    kernel = _kernel(filters, plans, groups)
    channels = made[0]
    attributes: dict[str, Any] = {
        "kernel": tuple(kernel.shape[2:]), "stride": (1, 1), "padding": (*plans[0].around, *plans[1].around), "dilation": (1, 1),
        "groups": groups, "parameter": None,
    }  # fmt: skip
    copies = stride[0] * stride[1]
    spread = None if bias is None else Constant(bias.tensor.detach().repeat_interleave(copies))
    if len(shape) == 2:
        kernel = kernel[:, :, 0]
    rows, columns = plans[0].count, plans[1].count
    image = (channels * copies, rows, columns)
    source = call.emit(
        "conv", (call.tensor("input"),), attributes, Constant(kernel.float()), spread,
        shape=image if len(shape) == 3 else (image[0], columns),
    )  # fmt: skip
    if copies == 1 and (rows, columns) == wanted:
        return
    numbers = np.arange(channels * copies * rows * columns).reshape(
        channels, stride[0], stride[1], rows, columns
    )
    whole = numbers.transpose(0, 3, 1, 4, 2).reshape(channels, rows * stride[0], columns * stride[1])
    spatial = len(shape) == 3
    if copies > 1:
        source = place(call, source, whole if spatial else whole[:, 0])
    if whole.shape[1:] != wanted:  # the last row, the last column or both reach beyond the output
        cropped = np.arange(whole.size).reshape(whole.shape)[:, : wanted[0], : wanted[1]]
        place(call, source, cropped if spatial else cropped[:, 0])


class _Plan:
    """One axis: `taps[remainder]` are (tap of the new kernel, tap of the given kernel), `around` the padding, `count` the outputs."""

    def __init__(self) -> None:
        self.taps: list[list[tuple[int, int]]] = []
        self.size, self.count, self.around = 1, 1, (0, 0)


def _axis(kernel: int, stride: int, padding: int, dilation: int, size: int, wanted: int) -> _Plan:
    plan, reads = _Plan(), []
    for remainder in range(stride):
        # output j * stride + remainder reads input j + shift with the given kernel's tap
        reads.append(
            [
                ((remainder + padding - tap * dilation) // stride, tap)
                for tap in range(kernel)
                if (remainder + padding - tap * dilation) % stride == 0
            ]
        )
    shifts = [shift for taps in reads for shift, _ in taps] or [0]
    plan.count = -(-wanted // stride)
    low, high = min(0, *shifts), max(size - plan.count, *shifts)
    high = max(high, low)
    plan.size = high - low + 1
    plan.around = (-low, plan.count + high - size)
    plan.taps = [[(shift - low, tap) for shift, tap in taps] for taps in reads]
    return plan


def _kernel(filters: Tensor, plans: list[_Plan], groups: int) -> Tensor:
    """Return the weights (outputs x remainders, inputs / groups, rows, columns) of the convolution."""
    inputs, per_group = filters.shape[:2]
    rows, columns = plans
    made = torch.zeros(
        groups, per_group, len(rows.taps), len(columns.taps), inputs // groups, rows.size, columns.size,
        dtype=torch.float64,
    )  # fmt: skip
    grouped = filters.reshape(groups, inputs // groups, per_group, *filters.shape[2:]).transpose(1, 2)
    for r, row_taps in enumerate(rows.taps):
        for c, column_taps in enumerate(columns.taps):
            for to_row, row in row_taps:
                for to_column, column in column_taps:
                    made[:, :, r, c, :, to_row, to_column] = grouped[:, :, :, row, column]
    return made.reshape(-1, inputs // groups, rows.size, columns.size)
