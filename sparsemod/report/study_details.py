"""Details of a study's networks: what stays in each layer, and damage beyond the error; means over series."""

from collections.abc import Sequence
from dataclasses import dataclass

from sparsemod.records import TrialRecord
from sparsemod.report.csv_text import csv_text
from sparsemod.report.prunability import COSTS, LOSS, Series, quality_of, sparsity
from sparsemod.units import ERROR


def damage_names(quality: str = ERROR) -> tuple[str, ...]:
    """Return the metrics of the damage table. `quality`: the task's metric."""
    corrupted = (f"{name}_{quality}" for name in ("noise", "blur", "contrast"))
    return (quality, LOSS, "worst_class_error", "calibration_error", *corrupted)


@dataclass(frozen=True)
class Budget:
    """Weights of a layer that stay in networks of a method and sparsity: mean over series.

    `share` is relative to the reference network; 1 - share is the layer's prune ratio.
    """

    method: str
    sparsity: float
    layer: str
    weights: float
    share: float


@dataclass(frozen=True)
class Damage:
    """Metrics of networks of a method and sparsity (the reference: sparsity 0): means over series."""

    method: str
    sparsity: float
    metrics: dict[str, float]
    trials: tuple[int, ...]


def layer_budgets(series: Sequence[Series]) -> tuple[Budget, ...]:
    """Return what stays in each layer of the reference, by method, sparsity and layer.

    A layer that became a chain of smaller layers counts as one. Networks without stored layers are left out.
    """
    found: dict[tuple[str, float, str], list[tuple[float, float]]] = {}
    for one in series:
        whole = _layers(one.reference)
        for row in one.networks:
            left = _layers(row)
            if not whole or not left:
                continue
            for layer, weights in whole.items():
                stay = sum(n for name, n in left.items() if name == layer or name.startswith(f"{layer}."))
                found.setdefault((one.method, sparsity(row), layer), []).append(
                    (stay, stay / max(1, weights))
                )
    return tuple(
        Budget(method, share, layer, _mean([w for w, _ in told]), _mean([s for _, s in told]))
        for (method, share, layer), told in found.items()
    )


def damages(series: Sequence[Series]) -> tuple[Damage, ...]:
    """Return the damage metrics by method and sparsity, the reference networks first; empty if none was measured."""
    rows = []
    shown = damage_names(quality_of(series))
    for (method, share), members in _groups(series).items():
        told = [row.values() for row in members.values()]
        metrics = {name: _mean([v[name] for v in told]) for name in shown if all(name in v for v in told)}
        rows.append(Damage(method, share, metrics, tuple(members)))
    return tuple(rows) if any(len(row.metrics) > 1 for row in rows) else ()


@dataclass(frozen=True)
class CurvePoint:
    """Networks of a method and sparsity ("none" and 0: the reference): mean, least and most of error, loss and costs."""

    method: str
    sparsity: float
    trials: tuple[int, ...]
    mean: dict[str, float]
    least: dict[str, float]
    most: dict[str, float]


def curve_points(series: Sequence[Series]) -> tuple[CurvePoint, ...]:
    """Return the points of a study's curves: the reference, then each method by sparsity. Metrics that all networks have."""
    points = []
    for (method, share), members in _groups(series).items():
        told = [row.values() for row in members.values()]
        wanted = (quality_of(series), LOSS, *COSTS)
        names = [name for name in wanted if all(name in values for values in told)]
        columns = {name: [values[name] for values in told] for name in names}
        points.append(
            CurvePoint(
                method, share, tuple(members), {n: _mean(c) for n, c in columns.items()},
                {n: min(c) for n, c in columns.items()}, {n: max(c) for n, c in columns.items()},
            )
        )  # fmt: skip
    return tuple(points)


def _groups(series: Sequence[Series]) -> dict[tuple[str, float], dict[int, TrialRecord]]:
    """Return the networks of each method and sparsity by index, the references as ("none", 0) first."""
    groups: dict[tuple[str, float], dict[int, TrialRecord]] = {}
    for one in series:
        groups.setdefault(("none", 0.0), {})[one.reference.index] = one.reference
    for one in series:
        for row in one.networks:
            groups.setdefault((one.method, sparsity(row)), {})[row.index] = row
    return groups


def budgets_csv(budgets: Sequence[Budget]) -> str:
    """Return the budgets as CSV, a line for each method, sparsity and layer."""
    head: list[object] = ["method", "sparsity", "layer", "weights", "share", "prune ratio"]
    return csv_text(
        [
            head,
            *(
                [b.method, b.sparsity, b.layer, b.weights, round(b.share, 9), round(1 - b.share, 9)]
                for b in budgets
            ),
        ]
    )


def damage_csv(rows: Sequence[Damage]) -> str:
    """Return the damage as CSV, a line for each method and sparsity."""
    shown = list(dict.fromkeys(name for row in rows for name in row.metrics))
    lines: list[list[object]] = [["method", "sparsity", "networks", *shown]]
    for row in rows:
        lines.append([row.method, row.sparsity, len(row.trials), *(row.metrics.get(n, "") for n in shown)])
    return csv_text(lines)


def _layers(row: TrialRecord) -> dict[str, int]:
    for measurement in row.measurements:
        if measurement.metric == "nonzeros":
            return dict(measurement.detail.get("layers", {}))
    return {}


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers)
