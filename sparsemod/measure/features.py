"""Loop counts of each kernel for one layer."""

import math
from dataclasses import dataclass
from typing import Protocol

from sparsemod.arena import Node
from sparsemod.kinds.dsp import dsp_loops
from sparsemod.kinds.dsp_linear import DspLinear
from sparsemod.kinds.mve import MveAdd, mve_loops
from sparsemod.kinds.mve_filters import mve_linear
from sparsemod.kinds.v6m import v6m_loops
from sparsemod.kinds.v6m_linear import v6m_linear
from sparsemod.kinds.windows import Window
from sparsemod.layouts import Tensors
from sparsemod.measure.work import FEATURES, Features, Loops


def _filters(taps: int, outputs: int, windows: int) -> Features:
    quads, rest = divmod(outputs, 4)
    return {
        "quad_words": float(windows * quads * (taps // 4)),
        "quad_tails": float(windows * quads * (taps % 4)),
        "quads": float(windows * quads),
        "single_words": float(windows * rest * (taps // 4)),
        "single_tails": float(windows * rest * (taps % 4)),
        "singles": float(windows * rest),
        "windows": float(windows),
    }


@dataclass(frozen=True)
class _Windows:
    """Windows on an input: the taps inside the input for each output row and column; at `edges` some taps lie outside."""

    rows: tuple[int, ...]
    columns: tuple[int, ...]
    kernel: tuple[int, int]

    @property
    def positions(self) -> int:
        """Number of outputs of one channel."""
        return len(self.rows) * len(self.columns)

    @property
    def lines(self) -> int:
        """Number of kernel rows inside the input, over all positions."""
        return sum(self.rows) * len(self.columns)

    @property
    def inside(self) -> int:
        """Number of taps inside the input, over all positions."""
        return sum(self.rows) * sum(self.columns)

    @property
    def outside(self) -> int:
        """Number of taps outside the input, over all positions."""
        return math.prod(self.kernel) * self.positions - self.inside

    def loops(self) -> Features:
        """Return the loops of every windowed kernel: rows, positions, and positions at an edge."""
        edges = sum(c < self.kernel[1] for c in self.columns) * len(self.rows)
        edges += sum(r < self.kernel[0] for r in self.rows)
        return {"rows": float(len(self.rows)), "positions": float(self.positions), "edges": float(edges)}


def _windows(tensors: Tensors, node: Node) -> tuple[Window, _Windows]:
    size, window = tensors.image(node.inputs[0])[1:], node.window
    return window, _Windows(window.inside(size, 0), window.inside(size, 1), window.kernel)


class _Shape(Protocol):
    """The loops of a kernel that is generated for one shape."""

    @property
    def sure(self) -> bool: ...

    @property
    def extra(self) -> int: ...

    def features(self) -> dict[str, float]: ...

    def code(self) -> dict[str, float]: ...


def _generated(kernel: str, shape: _Shape) -> Loops:
    return Loops(kernel, shape.features(), code=shape.code(), extra=shape.extra, sure=shape.sure)


@FEATURES.register("conv")
def conv(tensors: Tensors, node: Node) -> Loops:
    """Count the loops of the kernel for the window: depthwise, 1 x 1 or general."""
    (channels, *size), outputs = tensors.image(node.inputs[0]), tensors.image(node.output)[0]
    kernel = node.window.conv_kernel(channels, outputs)
    loops = dsp_loops(node.window, channels, outputs, (size[0], size[1]))
    vector = mve_loops(node.window, channels, outputs, (size[0], size[1]))
    narrow = v6m_loops(node.window, channels, outputs, (size[0], size[1]))
    name = "depthwise" if kernel == "depthwise" else "conv"
    own = {
        family: _generated(f"{family}_{name}", each)
        for family, each in (("dsp", loops), ("mve", vector), ("v6m", narrow))
        if each is not None
    }
    if kernel == "depthwise":
        return Loops(kernel, _depthwise(tensors, node, outputs), own)
    if kernel == "conv_1x1":
        _, rows, columns = tensors.image(node.output)
        return Loops(kernel, {**_filters(channels, outputs, rows * columns), "rows": float(rows)}, own)
    return Loops(kernel, _gathered(tensors, node, channels // node.window.groups, outputs), own)


def _gathered(tensors: Tensors, node: Node, channels: int, outputs: int) -> Features:
    window, windows = _windows(tensors, node)
    lines = sum(windows.rows) * window.groups
    # Without dilation and groups the taps of a kernel row are contiguous.
    joined = window.groups == 1 and window.dilation[1] == 1
    pieces = [span * channels for span in windows.columns] if joined else [channels] * sum(windows.columns)
    taps = math.prod(window.kernel) * channels
    return {
        **_filters(taps, outputs // window.groups, windows.positions * window.groups),
        "lines": float(lines * len(windows.columns)),
        "pieces": float(lines * len(pieces)),
        "copied_words": float(lines * sum(piece // 4 for piece in pieces)),
        "copied_tails": float(lines * sum(piece % 4 for piece in pieces)),
        "filled": float(windows.outside * channels * window.groups),
        **windows.loops(),
    }


def _depthwise(tensors: Tensors, node: Node, outputs: int) -> Features:
    window, windows = _windows(tensors, node)
    quads, rest = divmod(outputs, 4)
    return {
        "quad_taps": float(windows.inside * quads),
        "quad_outside": float(windows.outside * quads),
        "quad_lines": float(windows.positions * window.kernel[0] * quads),
        "quads": float(windows.positions * quads),
        "single_taps": float(windows.inside * rest),
        "single_outside": float(windows.outside * rest),
        "single_lines": float(windows.positions * window.kernel[0] * rest),
        "singles": float(windows.positions * rest),
        **windows.loops(),
    }


@FEATURES.register("linear")
def linear(tensors: Tensors, node: Node) -> Loops:
    """Count filters applied to one window."""
    taps, outputs = tensors.elements(node.inputs[0]), tensors.elements(node.output)
    features = _filters(taps, outputs, 1)
    del features["windows"]
    own = {
        "dsp": _generated("dsp_linear", DspLinear(taps, outputs)),
        "mve": _generated("mve_linear", mve_linear(taps, outputs)),
    }
    narrow = v6m_linear(taps, outputs)
    if narrow is not None:
        own["v6m"] = _generated("v6m_linear", narrow)
    return Loops("linear", features, own)


@FEATURES.register("max_pool")
def max_pool(tensors: Tensors, node: Node) -> Loops:
    """Count loops over four channels at a time."""
    _, windows = _windows(tensors, node)
    quads, rest = divmod(tensors.image(node.output)[0], 4)
    features = {
        "quad_taps": float(windows.inside * quads),
        "quad_lines": float(windows.lines * quads),
        "quads": float(windows.positions * quads),
        "single_taps": float(windows.inside * rest),
        "single_lines": float(windows.lines * rest),
        "singles": float(windows.positions * rest),
        **windows.loops(),
    }
    return Loops("max_pool", features)


@FEATURES.register("avg_pool")
def avg_pool(tensors: Tensors, node: Node) -> Loops:
    """Count loops over one channel at a time."""
    _, windows = _windows(tensors, node)
    channels = tensors.image(node.output)[0]
    features = {
        "taps": float(windows.inside * channels),
        "lines": float(windows.lines * channels),
        "outputs": float(windows.positions * channels),
        **windows.loops(),
    }
    return Loops("avg_pool", features)


@FEATURES.register("global_avg_pool")
def mean(tensors: Tensors, node: Node) -> Loops:
    """Count every element once."""
    outputs = float(tensors.elements(node.output))
    return Loops("global_avg_pool", {"elements": float(tensors.elements(node.inputs[0])), "outputs": outputs})


@FEATURES.register("add")
def added(tensors: Tensors, node: Node) -> Loops:
    """Count every element once."""
    own = {"mve": _generated("mve_add", MveAdd(tensors.elements(node.output)))}
    return Loops("add", _elements(tensors, node), own)


@FEATURES.register("clamp")
def clamped(tensors: Tensors, node: Node) -> Loops:
    """Count every element once."""
    return Loops("clamp", _elements(tensors, node))


@FEATURES.rules("flatten", "transpose")
def moved(tensors: Tensors, node: Node) -> Loops:
    """Count one read and write of each element, like the clamp kernel; no calibration network has a view that moves bytes."""
    return Loops("clamp", _elements(tensors, node))


def _elements(tensors: Tensors, node: Node) -> Features:
    return {
        "elements": float(tensors.elements(node.output)),
        "channels": float(tensors.image(node.output)[0]),
    }


@FEATURES.register("concat")
def concat(tensors: Tensors, node: Node) -> Loops:
    """Count one rescaled run of bytes per input and position; the graph determines which runs are only copied (see `works`)."""
    size = tensors.elements(node.output)
    runs = len(node.inputs) * size // tensors.image(node.output)[0]
    return Loops(
        "concat",
        {"inputs": float(len(node.inputs)), "runs": float(runs), "copied": 0.0, "rescaled": float(size)},
    )
