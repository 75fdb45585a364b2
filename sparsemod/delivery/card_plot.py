"""Plot of one inference's memory: the address of each tensor in the arena while each layer runs."""

import io
import os
from dataclasses import dataclass

from sparsemod.export.c.arena import ArenaPlan

_COLOURS = ("#0b7285", "#e8590c", "#5f3dc4", "#2b8a3e", "#c2255c", "#1971c2", "#a67c00", "#495057")
_MOST_NAMES = 40


@dataclass(frozen=True)
class Block:
    """A tensor (or scratch) in the arena: first byte, number of bytes, first and last live step."""

    name: str
    offset: int
    size: int
    first: int
    last: int
    scratch: bool = False


def blocks(plan: ArenaPlan) -> tuple[Block, ...]:
    """Return the blocks of a plan's arena. A tensor whose memory another tensor takes over in place ends one step earlier."""
    by_name: dict[str, Block] = {}
    problem, moments = plan.layout.problem, plan.plan.timeline
    for step, (index, moment) in enumerate(zip(plan.plan.order, moments, strict=True)):
        kernel = problem.steps[index]
        in_place = moment.overlap is not None and moment.overlap.distance == 0
        for name in moment.buffers:
            if name in plan.plan.offsets:
                start = by_name[name].first if name in by_name else step
                last = step
                if in_place and moment.overlap is not None and name == moment.overlap.name:
                    last = max(start, step - 1)
                by_name[name] = Block(name, plan.plan.offsets[name], problem.sizes[name], start, last)
        if kernel.scratch:
            at = plan.plan.scratch[kernel.name]
            by_name[f"\0{step}"] = Block("scratch", at, kernel.scratch, step, step, True)
    return tuple(by_name.values())


def memory_plot(plan: ArenaPlan, kind: str) -> bytes:
    """Return the plot as a file's content; `kind` is png or svg."""
    os.environ.setdefault("MPLBACKEND", "agg")
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    names = plan.order
    figure = Figure(figsize=(9, 4.2), layout="constrained", dpi=140)
    axis = figure.subplots()
    height = max(1, plan.size)
    colours: dict[str, str] = {}
    for block in blocks(plan):
        colour = colours.setdefault(block.name, _COLOURS[len(colours) % len(_COLOURS)])
        width = block.last - block.first + 1
        fill = "#ced4da" if block.scratch else colour
        axis.add_patch(
            Rectangle(
                (block.first, block.offset),
                width,
                block.size,
                facecolor=fill,
                alpha=1.0 if block.scratch else 0.82,
                edgecolor="white",
                linewidth=1.0,
                hatch="///" if block.scratch else None,
            )
        )
        if block.size > 0.06 * height and len(names) <= _MOST_NAMES:
            room = max(4, int(width * 90 / max(4, len(names))))
            words = f"{block.name}  {block.size:,} B"
            label = words if len(words) <= room else _shortened(block.name, room)
            axis.text(
                block.first + width / 2, block.offset + block.size / 2, label, ha="center", va="center", fontsize=7.5,
                color="#343a40" if block.scratch else "white",
            )  # fmt: skip
    alive = [count for _, count in plan.timeline]
    places = range(len(names) + 1)
    axis.step(
        places,
        [*alive, alive[-1]] if alive else [0],
        where="post",
        color="#212529",
        linewidth=1.4,
        label="bytes alive",
    )
    axis.axhline(plan.size, color="#b3261e", linewidth=1.2, linestyle="--", label=f"arena: {plan.size:,} B")
    axis.set_xlim(0, max(1, len(names)))
    axis.set_ylim(0, height * 1.06)
    axis.set_xticks([i + 0.5 for i in range(len(names))])
    slanted = len(names) > 8 or max((len(name) for name in names), default=0) > 12
    labels = [_shortened(name, 28) for name in names]
    axis.set_xticklabels(
        labels, rotation=35 if slanted else 0, ha="right" if slanted else "center", fontsize=8
    )
    axis.set_ylabel("address in the arena [bytes]")
    axis.tick_params(axis="x", length=0)
    axis.yaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axis.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper right", ncols=2, frameon=False, fontsize=8)
    out = io.BytesIO()
    # With a fixed date and fixed ids, equal plans give equal bytes.
    with matplotlib.rc_context({"svg.hashsalt": "sparsemod", "svg.fonttype": "path"}):
        figure.savefig(out, format=kind, metadata={"Date": None} if kind == "svg" else {"Software": None})
    return out.getvalue()


def _shortened(name: str, room: int) -> str:
    return name if len(name) <= room else "…" + name[-(room - 1) :]
