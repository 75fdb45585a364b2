"""One trial in a terminal: candidate, measurements with provenance, learning curve, attempts, files."""

import csv
import io
import json
from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from service.cli.common import STATE_STYLES, duration, metric_text
from service.cli.view import facts_table, origin_text, sparkline
from service.schemas.dashboard import TrialGraph
from service.schemas.trials import TrialView
from sparsemod.records import CurvePoint
from sparsemod.units import ANGLE, CHOICES, METRICS, title


def render_trial(trial: TrialView, curve: Sequence[CurvePoint]) -> RenderableType:
    """Return everything about a trial as a renderable."""
    head = Text(f"trial {trial.index}", style="bold")
    head.append(f"  of experiment {trial.experiment}  ", style="not bold dim")
    head.append(f"● {trial.state}", style=f"not bold {STATE_STYLES.get(trial.state, 'default')}")
    candidate = trial.candidate
    facts = {
        "from": f"{origin_text(candidate.origin, candidate.parent, candidate.operators)} (round {candidate.round})",
        "epochs": f"{trial.epochs} planned, {trial.trained_epochs:g} trained (including inherited ones)",
        "seed": trial.seed,
        "parameters": ", ".join(f"{name}={value}" for name, value in candidate.parameters.items()),
    }
    if trial.seconds:
        facts["time"] = ", ".join(f"{stage} {duration(value)}" for stage, value in trial.seconds.items())
    if trial.failure is not None:
        facts["failure"] = Text(f"{trial.failure.kind}: {trial.failure.message}", style="red")
    if trial.stopping is not None:
        facts["stopped"] = Text(trial.stop_reason, style=STATE_STYLES["stopped"])
    for number, note in enumerate(trial.notes):
        facts[f"note {number + 1}"] = note
    parts: list[RenderableType] = [head, Text(), facts_table(facts)]
    if trial.measurements:
        parts += [Text(), _measurements(trial)]
        parts += [Text(line) for line in _sequences(trial)]
    elif trial.costs:
        costs = ", ".join(
            f"{name} {metric_text(name, value)}" for name, value in trial.costs.items() if name in METRICS
        )
        parts += [Text(), Text(f"costs before training: {costs}")]
    if curve:
        parts += [Text(), _curve(curve)]
    if angles := [point.angle for point in curve if point.angle is not None]:
        parts.append(_angles(angles))
    if trial.attempts:
        parts += [Text(), _attempts(trial)]
    if trial.artifacts:
        parts += [Text(), _artifacts(trial)]
    return Group(*parts)


def _table(*titles: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    for name in titles:
        table.add_column(name)
    return table


def _measurements(trial: TrialView) -> Table:
    table = _table("measured", "value", "split", "how", "target")
    table.columns[1].justify = "right"
    for item in trial.measurements:
        shown_as = "error" if item.unit == "fraction" else item.metric.removeprefix("float_")
        value = metric_text(shown_as, item.value)
        if item.standard_error is not None:
            value += f" ± {metric_text(shown_as, item.standard_error)}"
        style = "bold" if item.metric in CHOICES else ""
        table.add_row(
            Text(item.metric, style=style), value, item.split or "-", item.method, item.target or "-"
        )
    return table


def _sequences(trial: TrialView) -> list[str]:
    """Return one line about the sequences of each measurement that has facts about them."""
    lines = []
    for item in trial.measurements:
        facts = item.detail.get("sequences")
        if not facts:
            continue
        words = []
        if "windows" in facts:
            shown_as = "error" if item.unit == "fraction" else item.metric
            values = [metric_text(shown_as, facts[name]) for name in ("value", "window_value")]
            words += [
                f"{facts['sequences']} sequences, {facts['voting']} by votes of several windows",
                f"{facts['windows']} windows, {_spread(facts['windows_each'])} of one sequence",
                f"{item.metric} {values[0]} of sequences, {values[1]} of single windows",
            ]
        if "lengths" in facts:
            sample = "window" if "windows" in facts else "sample"
            words.append(f"{_spread(facts['lengths'])} valid steps of a {sample}")
        lines.append(f"sequences ({item.split}): {'; '.join(words)}")
    return lines


def _spread(values: Sequence[float]) -> str:
    """Return least, most and mean of a number in words."""
    least, mean, most = values
    return f"{least:g}" if least == most else f"{least:g} to {most:g} (mean {mean:.3g})"


def _curve(curve: Sequence[CurvePoint]) -> Text:
    errors = [point.validation_error for point in curve]
    text = Text("validation error ", style="dim")
    text.append(sparkline(errors, 60), style="cyan")
    text.append(
        f" {metric_text('error', errors[0])} to {metric_text('error', errors[-1])}, best {metric_text('error', min(errors))}"
    )
    return text


def _angles(angles: Sequence[float]) -> Text:
    """Return the curve of the angle to the true gradient in a line."""
    text = Text(f"{title(ANGLE)} ", style="dim")
    text.append(sparkline(angles, 60), style="cyan")
    text.append(f" {metric_text(ANGLE, angles[0])} to {metric_text(ANGLE, angles[-1])}")
    return text


def _attempts(trial: TrialView) -> Table:
    table = _table("attempt", "worker", "device", "state", "took", "what happened")
    for attempt in trial.attempts:
        took = duration((attempt.ended_at - attempt.started_at).total_seconds()) if attempt.ended_at else "-"
        table.add_row(
            str(attempt.attempt),
            attempt.worker,
            attempt.device,
            Text(attempt.state, style=STATE_STYLES.get(attempt.state, "")),
            took,
            attempt.failure.message if attempt.failure else "",
        )
    return table


def _artifacts(trial: TrialView) -> Table:
    table = _table("file", "kind", "bytes", "digest")
    for artifact in trial.artifacts:
        table.add_row(artifact.name, artifact.kind, f"{artifact.size:,}", artifact.digest[:19] + "…")
    return table


def curve_csv(curve: Sequence[CurvePoint]) -> str:
    """Return a learning curve as CSV, one line per epoch."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(CurvePoint.model_fields), lineterminator="\n")
    writer.writeheader()
    writer.writerows(point.model_dump() for point in curve)
    return text.getvalue()


def curve_json(curve: Sequence[CurvePoint]) -> str:
    """Return a learning curve as JSON, as the server sends it."""
    return json.dumps([json.loads(point.model_dump_json()) for point in curve], indent=1) + "\n"


def render_network(graph: TrialGraph) -> RenderableType:
    """Return a network as deployed: its operators, and the memory in use while each runs."""
    size = METRICS["model_size"].show
    alive = {moment.operator: moment.bytes for moment in graph.timeline}
    table = _table("operator", "kind", "from", "output", "parameters", "multiply-adds", "weights", "alive")
    for column in table.columns[4:]:
        column.justify = "right"
    for layer in graph.layers:
        kind = layer.kind.replace("_", " ") + (f" + {layer.activation}" if layer.activation else "")
        at_once = alive.get(layer.name)
        table.add_row(
            layer.name,
            kind,
            ", ".join(layer.inputs),
            " × ".join(map(str, layer.shape)),
            f"{layer.parameters:,}" if layer.parameters else "-",
            f"{layer.macs:,}" if layer.macs else "-",
            size(layer.bytes) if layer.bytes else "-",
            "-"
            if at_once is None
            else Text(size(at_once), style="bold" if at_once == graph.peak_bytes else ""),
        )
    words = (
        f"trial {graph.trial} of experiment {graph.experiment} as deployed: {graph.parameters:,} parameters, {graph.macs:,} multiply-adds, "
        f"{size(graph.bytes)} of weights, at most {size(graph.peak_bytes)} alive at once"
    )
    return Group(Text(words), table)
