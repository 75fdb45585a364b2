"""An experiment in a terminal: rounds, trials, workers, the front and the time left.

A `Snapshot` is plain data; `render` returns a rich renderable for live screens, `line` one line of text for
pipes and log files.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from service.cli.common import STATE_STYLES, duration, metric_text
from sparsemod.records import NearMiss
from sparsemod.units import ERROR, METRICS, quality_among

COUNTED = ("completed", "running", "queued", "infeasible", "failed", "stopped")
BLOCKS = "▁▂▃▄▅▆▇█"
PARTS = " ▏▎▍▌▋▊▉█"


@dataclass(frozen=True)
class Progress:
    """A round: its label and title, trials that count towards it, and how many it is to have. `planned`: the source has it; trials attached by
    hand are not planned."""

    name: str
    done: int
    total: int
    title: str = ""
    planned: bool = True

    @property
    def words(self) -> str:
        """Label and title, or one of them when both are equal."""
        if not self.title or self.title == self.name:
            return self.name
        return f"{self.name} {self.title}" if self.planned else self.title


@dataclass(frozen=True)
class Running:
    """A running trial: its worker, and its last curve point if there is one."""

    index: int
    round: str
    worker: str
    epoch: int
    epochs: int
    error: float | None
    seconds: float


@dataclass(frozen=True)
class Point:
    """A point of the front."""

    index: int
    values: Mapping[str, float]
    origin: str
    parent: int | None
    operators: Sequence[str] = ()


@dataclass(frozen=True)
class Snapshot:
    """An experiment at one moment. `seconds` is its age, `left` the estimated remaining seconds (None when
    unknown). `limited`: metrics with a budget that are not objectives, shown beside the objectives."""

    identity: int | None
    name: str
    state: str
    reason: str | None
    rounds: Sequence[Progress]
    counts: Mapping[str, int]
    objectives: Sequence[str]
    budgets: Mapping[str, float]
    front: Sequence[Point]
    hypervolume: float
    history: Sequence[float]
    seconds: float
    left: float | None
    running: Sequence[Running] = ()
    workers: int | None = None
    notes: Sequence[str] = field(default=())
    limited: Sequence[str] = field(default=())
    nearest: Sequence[NearMiss] = field(default=())

    @property
    def finished(self) -> bool:
        """Whether the experiment is not running, so that nothing more happens by itself."""
        return self.state != "running"


def render(snapshot: Snapshot, *, height: int = 40, width: int = 100) -> RenderableType:
    """Return the whole view; the front is shortened to fit into `height` lines."""
    parts: list[RenderableType] = [_title(snapshot), Text(), _rounds(snapshot), Text(), _counts(snapshot)]
    used = 7 + len(snapshot.rounds)
    if snapshot.running:
        parts += [
            Text(),
            running_table(snapshot.running, quality_among((*snapshot.objectives, *snapshot.budgets))),
        ]
        used += 3 + len(snapshot.running)
    room = max(3, height - used - 6)
    if snapshot.front:
        parts += [Text(), _gain(snapshot, width), front_table(snapshot, room)]
    elif snapshot.finished or snapshot.counts.get("completed"):
        parts += [Text(), Text(emptiness(snapshot), style="yellow")]
    parts += [Text(note, style="dim") for note in snapshot.notes]
    return Padding(Group(*parts), (1, 2))


def emptiness(snapshot: Snapshot) -> str:
    """Return a sentence that explains the empty front."""
    completed = snapshot.counts.get("completed", 0)
    yet = "" if snapshot.finished else " yet"
    if not completed:
        return f"the front is empty: no trial {'was' if snapshot.finished else 'has'} completed{yet}"
    limits = ", ".join(f"{name} <= {metric_text(name, limit)}" for name, limit in snapshot.budgets.items())
    text = f"the front is empty: of {completed} completed, no trial is within the budgets{yet} ({limits})"
    return text + "".join(f"\n{miss_text(miss)}" for miss in snapshot.nearest)


def miss_text(miss: NearMiss) -> str:
    """Return a trial over a budget as a line: its values and the limits that they exceed."""
    over = ", ".join(
        f"{name} {metric_text(name, miss.values[name])} > {metric_text(name, miss.values[name] - excess)}"
        for name, excess in miss.excess.items()
    )
    return f"nearest: trial {miss.index} ({over})"


def line(snapshot: Snapshot) -> str:
    """Return the snapshot as one line for a log."""
    rounds = " ".join(f"{r.name} {r.done}/{r.total}" for r in snapshot.rounds if r.total)
    counts = ", ".join(f"{snapshot.counts[s]} {s}" for s in COUNTED if snapshot.counts.get(s))
    best = ""
    if snapshot.front and snapshot.objectives:
        first = snapshot.objectives[0]
        value = min(point.values[first] for point in snapshot.front)
        best = f"  front {len(snapshot.front)}, best {first} {metric_text(first, value)}"
    elif snapshot.nearest:
        best = f"  no trial within the budgets, {miss_text(snapshot.nearest[0])}"
    left = "" if snapshot.left is None or snapshot.finished else f"  {duration(snapshot.left)} left"
    state = snapshot.state + (f" ({snapshot.reason})" if snapshot.reason else "")
    hypervolume = f"  hypervolume {snapshot.hypervolume:.4f}"
    return f"{duration(snapshot.seconds):>9}  {state}  {rounds}  {counts or 'no trials yet'}{best}{hypervolume}{left}"


def _title(snapshot: Snapshot) -> Text:
    text = Text(snapshot.name, style="bold")
    if snapshot.identity is not None:
        text.append(f"  experiment {snapshot.identity}", style="not bold dim")
    text.append("  ")
    text.append(f"● {snapshot.state}", style=f"not bold {STATE_STYLES.get(snapshot.state, 'default')}")
    if snapshot.reason:
        text.append(f"  {snapshot.reason}", style="not bold")
    text.append(f"  {duration(snapshot.seconds)}", style="not bold")
    if not snapshot.finished and snapshot.left is not None:
        text.append(f", about {duration(snapshot.left)} left", style="not bold")
    return text


def _rounds(snapshot: Snapshot) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(min_width=10)
    table.add_column()
    table.add_column(justify="right")
    for part in snapshot.rounds:
        full = part.total > 0 and part.done >= part.total
        table.add_row(
            part.words,
            Text(bar(part.done, part.total, 32), style="green" if full else "cyan"),
            f"{part.done}/{part.total}",
        )
    return table


def bar(done: int, total: int, width: int) -> str:
    """Return a progress bar of `width` cells, in steps of an eighth of a cell."""
    eighths = round(8 * width * min(1.0, done / total)) if total else 0
    full, part = divmod(eighths, 8)
    return ("█" * full + (PARTS[part] if part else "")).ljust(width, "·")


def _counts(snapshot: Snapshot) -> Text:
    text = Text()
    for state in COUNTED:
        count = snapshot.counts.get(state, 0)
        if count or state in ("completed", "running"):
            text.append(f"{count} ", style="bold")
            text.append(f"{state}   ", style=STATE_STYLES.get(state, "default"))
    if snapshot.workers is not None:
        text.append(f"{snapshot.workers} ", style="bold" if snapshot.workers else "bold red")
        text.append("worker" if snapshot.workers == 1 else "workers")
    return text


def running_table(running: Sequence[Running], metric: str = ERROR) -> Table:
    """Return a table of the running trials; `metric` is that of the task."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for title in ("worker", "trial", "round", "epoch", ""):
        table.add_column(title, justify="right" if title in ("trial",) else "left")
    table.add_column(METRICS[metric].title, justify="right")
    table.add_column("for", justify="right")
    for item in running:
        table.add_row(
            item.worker,
            str(item.index),
            item.round,
            f"{item.epoch}/{item.epochs}",
            Text(bar(item.epoch, item.epochs, 10), style="cyan"),
            metric_text(metric, item.error),
            duration(item.seconds),
        )
    return table


def _gain(snapshot: Snapshot, width: int) -> Text:
    text = Text("front ", style="bold")
    points = "point" if len(snapshot.front) == 1 else "points"
    text.append(f"{len(snapshot.front)} {points}   hypervolume ", style="not bold")
    text.append(f"{snapshot.hypervolume:.4f} ", style="bold")
    text.append(sparkline(snapshot.history, min(40, max(8, width - 50))), style="cyan")
    return text


def sparkline(values: Sequence[float], width: int) -> str:
    """Return `values` as a line of at most `width` block characters, scaled from the lowest value to the highest."""
    if not values:
        return ""
    step = max(1, math.ceil(len(values) / width))
    picked = [max(values[i : i + step]) for i in range(0, len(values), step)]
    low, high = min(picked), max(picked)
    span = (high - low) or 1.0
    return "".join(BLOCKS[round((len(BLOCKS) - 1) * (v - low) / span)] for v in picked)


def front_table(snapshot: Snapshot, rows: int | None = None) -> Table:
    """Return a table of the front, sorted by the first objective. With `rows`, further points are only counted."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("trial", justify="right")
    metrics = [*snapshot.objectives, *snapshot.limited]
    for name in metrics:
        budget = snapshot.budgets.get(name)
        title = METRICS[name].title if name in METRICS else name
        if budget is not None:
            title += f"\n≤ {metric_text(name, budget)}"
        table.add_column(title, justify="right")
    table.add_column("origin")
    first = snapshot.objectives[0]
    points = sorted(snapshot.front, key=lambda point: point.values[first])
    best = {name: min(point.values[name] for point in points) for name in snapshot.objectives}
    listed = points if rows is None or len(points) <= rows else points[: max(1, rows - 1)]
    for point in listed:
        cells = [
            Text(
                metric_text(name, point.values.get(name)),
                style="bold green" if point.values.get(name) == best.get(name, "") else "",
            )
            for name in metrics
        ]
        table.add_row(str(point.index), *cells, origin_text(point.origin, point.parent, point.operators))
    if len(listed) < len(points):
        table.add_row("", *[""] * len(metrics), Text(f"and {len(points) - len(listed)} more", style="dim"))
    return table


def origin_text(origin: str, parent: int | None, operators: Sequence[str] = ()) -> str:
    """Return the origin of a candidate, with its parent and operators."""
    if parent is None:
        return origin
    return f"{origin} of {parent}" + (f": {', '.join(operators)}" if operators else "")


def facts_table(facts: Mapping[str, Any]) -> Table:
    """Return a table with two columns: name and value."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column()
    for name, value in facts.items():
        table.add_row(name, value if isinstance(value, Text) else str(value))
    return table
