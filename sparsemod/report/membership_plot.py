"""The front over seeds as a plot: means with intervals, and the probability of being on the front as darkness."""

import io
import os
from collections.abc import Sequence

from sparsemod.objectives import Objectives
from sparsemod.report.membership import FrontMember, noisy
from sparsemod.report.plots import label, plain_ticks, show
from sparsemod.scales import Scale

_COLOUR = "#1b6ca8"


def members_figure(name: str, objectives: Objectives, members: Sequence[FrontMember], kind: str) -> bytes:
    """Return the plot as a file's content; `kind` is png or svg.

    Bars are two standard errors of the mean error to each side. Members below a probability of 0.5 are pale.
    """
    os.environ.setdefault("MPLBACKEND", "agg")
    from matplotlib.figure import Figure

    first, *others = objectives.names
    panels = max(1, len(others))
    figure = Figure(figsize=(4.6 * panels, 4.2), layout="constrained", dpi=130)
    for axis, other in zip(figure.subplots(1, panels, squeeze=False)[0], others or [first], strict=True):
        for member in members:
            place = show(other, member.metrics[other]), show(first, member.metrics[first])
            spread = 2.0 * (member.standard_error or 0.0)
            bars = {
                direction: show(noisy(objectives), spread)
                for direction, metric in (("xerr", other), ("yerr", first))
                if metric == noisy(objectives)
            }
            shade = 0.2 + 0.8 * member.probability
            axis.errorbar(
                *place, fmt="o", markersize=5, color=_COLOUR, alpha=shade, capsize=3, linewidth=1, **bars
            )
        for metric, set_scale, own in (
            (other, axis.set_xscale, axis.xaxis),
            (first, axis.set_yscale, axis.yaxis),
        ):
            if _is_log(objectives.scales.get(metric)) and all(one.metrics[metric] > 0 for one in members):
                set_scale("log")
                plain_ticks(own)
        axis.set_xlabel(label(other))
        axis.set_ylabel(label(first))
        axis.grid(True, which="major", linewidth=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    likely = sum(member.probability >= 0.5 for member in members)
    figure.suptitle(f"{name}: {likely} likely on the front; bars: ± 2 standard errors", fontsize=11)
    out = io.BytesIO()
    figure.savefig(out, format=kind, metadata={"Date": None} if kind == "svg" else {"Software": None})
    return out.getvalue()


def _is_log(scale: Scale | None) -> bool:
    return scale is not None and scale.kind == "log"
