"""The plot of memory traces: bytes over the operations of one iteration, and what is live at each peak."""

import io
import os
from collections.abc import Mapping

from sparsemod.training.memory_trace import MemoryTrace
from sparsemod.units import METRICS

_LARGEST = 6


def memory_figure(traces: Mapping[str, MemoryTrace], kind: str = "svg") -> bytes:
    """Return the plot as a file's content; `kind` is png or svg.

    Left: the bytes after each change, a line for each rule, with its peak. Right: the bytes that are live at the peak, by
    layer: the largest six and the rest.
    """
    os.environ.setdefault("MPLBACKEND", "agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 2.4 + 1.4 * len(traces)), layout="constrained", dpi=110)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    show = METRICS["working_memory"].show
    bars: list[tuple[str, int]] = []
    for name, trace in traces.items():
        totals = [event.total for event in trace.events]
        (line,) = left.plot(
            range(len(totals)), [t / 2**20 for t in totals], label=name, drawstyle="steps-post"
        )
        place = totals.index(trace.peak)
        left.plot([place], [trace.peak / 2**20], "o", color=line.get_color())
        left.annotate(
            f"{show(trace.peak)}\n{trace.peak_operation}", (place, trace.peak / 2**20), fontsize=7, ha="center", va="bottom"
        )  # fmt: skip
        layers = list(trace.by_layer().items())
        rest = sum(size for _, size in layers[_LARGEST:])
        bars += [(f"{name}: {layer}", size) for layer, size in layers[:_LARGEST]]
        if rest:
            bars.append((f"{name}: other layers", rest))
    left.set_xlabel("changes of one iteration, in order")
    left.set_ylabel("MiB")
    left.margins(y=0.2)
    left.set_ylim(bottom=0)
    left.legend()
    names = [name for name, _ in bars]
    right.barh(range(len(bars)), [size / 2**20 for _, size in bars], color="#8da0cb")
    right.set_yticks(range(len(bars)), names, fontsize=7)
    right.invert_yaxis()
    right.set_xlabel("MiB live at the peak")
    out = io.BytesIO()
    figure.savefig(out, format=kind, metadata={"Date": None} if kind == "svg" else {"Software": None})
    return out.getvalue()
