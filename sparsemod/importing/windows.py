"""Padding of pools as files state it, in the forms that a pool here can have."""

from typing import Any

from sparsemod.importing.builder import Builder
from sparsemod.kinds.windows import Pair, Window

Four = tuple[int, int, int, int]
LOWEST = float("-inf")


def same_padding(size: Pair, kernel: Pair, stride: Pair, dilation: Pair, lower: bool = False) -> Four:
    """Return the padding SAME as (top, bottom, left, right): as many windows as positions / stride, rounded up.

    An odd rest is after the input, or with `lower` before it.
    """
    found = []
    for axis in (0, 1):
        count = -(-size[axis] // stride[axis])
        reach = dilation[axis] * (kernel[axis] - 1) + 1
        total = max(0, (count - 1) * stride[axis] + reach - size[axis])
        before = total - total // 2 if lower else total // 2
        found += [before, total - before]
    return found[0], found[1], found[2], found[3]


def pool(
    builder: Builder, kind: str, x: str, output: str, kernel: Pair, stride: Pair, padding: Four, *,
    dilation: Pair = (1, 1), ceil: bool = False, count_padding: bool = False,
) -> str:  # fmt: skip
    """Add a pool. Padding behind the input alone becomes a last window that reaches beyond it, where both are the same."""
    shape = builder.shapes[x]
    if len(shape) not in (2, 3):
        raise builder.unsupported(f"its input has shape {shape}")
    size: Pair = (shape[-2] if len(shape) == 3 else 1, shape[-1])
    attributes: dict[str, Any] = {
        "kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation, "ceil": ceil, "count_padding": count_padding,
    }  # fmt: skip
    counted = kind == "avg_pool" and count_padding and any(padding)
    top, bottom, left, right = padding
    if (top, left) != (bottom, right) and not counted:
        wanted = Window(kernel, stride, padding, dilation, ceil=ceil).counts(size)
        even: Four = (top, top, left, left)
        if Window(kernel, stride, even, dilation, ceil=True).counts(size) == wanted:
            attributes |= {"padding": even, "ceil": True}
    padding = attributes["padding"]
    halves = (kernel[0] // 2,) * 2 + (kernel[1] // 2,) * 2
    uneven = (padding[0], padding[2]) != (padding[1], padding[3])
    if uneven or any(p > half for p, half in zip(padding, halves, strict=True)):
        if kind == "avg_pool" and not counted:
            raise builder.unsupported(f"padding {padding} that does not count")
        value = LOWEST if kind == "max_pool" else 0.0
        amounts = (0, 0, *padding)[-2 * len(shape) :] if len(shape) == 3 else (0, 0, *padding[2:])
        arguments = {"amounts": amounts, "value": value}
        x = builder.emit("view", (x,), f"{output}/padded", {"operator": "pad", "arguments": arguments})
        attributes["padding"] = (0, 0, 0, 0)
    return builder.emit(kind, (x,), output, attributes)
