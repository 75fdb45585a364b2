"""A study's report as one self-contained HTML file, and its raw files."""

import html
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sparsemod.files import write_atomically
from sparsemod.records import TrialRecord
from sparsemod.report.prunability import (
    COSTS,
    Best,
    curves,
    curves_figure,
    figure_bytes,
    metric_label,
    prunability,
    prunability_csv,
    quality_of,
    series_of,
)
from sparsemod.report.study_details import (
    Budget,
    Damage,
    budgets_csv,
    damage_csv,
    damages,
    layer_budgets,
)
from sparsemod.units import ERROR

_STYLE = (
    "body{font:15px system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;margin:1rem 0}th,td{padding:.25rem .7rem;text-align:right;border-bottom:1px solid #ddd}"
    "svg{max-width:100%;height:auto}.wide{overflow-x:auto}td{vertical-align:top}td[title]{cursor:help}"
    ".details th:nth-child(2),.details td:nth-child(2),.levels th:nth-child(2),.levels .name{text-align:left}"
    ".levels td{white-space:nowrap}.levels .none{text-align:left;color:#777;white-space:normal}"
    ".levels tbody{border-top:2px solid #999}"
)


def write_prunability(
    folder: Path, name: str, rows: Sequence[TrialRecord], shares: tuple[float, float] = (0.0, 1.0)
) -> dict[str, Path]:
    """Write the report of a study to `folder` and return the files by name.

    prunability.html (self-contained), prunability.csv, layers.csv, damage.csv, curves.npz, curves.pdf, curves.svg. `shares`: the smallest and the
    largest share of the weights that plots show; the numbers are complete. Raises InvalidInput
    for an experiment that is no study.
    """
    series = series_of(rows, name)
    bests = prunability(series)
    budgets, harm = layer_budgets(series), damages(series)
    figure = curves_figure(name, [one.within(*shares) for one in series])
    svg = figure_bytes(figure, "svg")
    raw = io.BytesIO()
    np.savez(raw, **curves(series))  # type: ignore[arg-type]
    content = {
        "prunability.html": page(name, rows, bests, svg.decode(), budgets, harm, quality_of(series)).encode(),
        "prunability.csv": prunability_csv(bests).encode(),
        "layers.csv": budgets_csv(budgets).encode(),
        "damage.csv": damage_csv(harm).encode(),
        "curves.npz": raw.getvalue(),
        "curves.pdf": figure_bytes(figure, "pdf"),
        "curves.svg": svg,
    }
    folder.mkdir(parents=True, exist_ok=True)
    for file, data in content.items():
        write_atomically(folder / file, data)
    return {file: folder / file for file in content}


def page(
    name: str,
    rows: Sequence[TrialRecord],
    bests: Sequence[Best],
    svg: str,
    budgets: Sequence[Budget] = (),
    harm: Sequence[Damage] = (),
    quality: str = ERROR,
) -> str:
    """Return the HTML page of a report. `quality`: the task's metric."""
    title = html.escape(name)
    drawing = svg[svg.index("<svg") :]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
        f"<h1>{title}</h1><p>{len(rows)} networks. Lines: mean over networks and repetitions; bands: their range; dashed: the "
        f"reference.</p>{drawing}<h2>Prunability</h2><p>For each level, the smallest network of each method whose error is at most "
        f"the reference's error plus the level; in brackets the share of the cost that was removed. Means over the series (networks "
        f"and repetitions) that have such a network; their range is shown under the pointer, and is in prunability.csv.</p>"
        f"{_table(bests, quality)}{_damage_table(harm)}{_budget_table(budgets)}</html>\n"
    )


def _damage_table(harm: Sequence[Damage]) -> str:
    """Return the damage beyond the error, empty if it was not measured."""
    if not harm:
        return ""
    shown = list(dict.fromkeys(name for row in harm for name in row.metrics))
    lines = [
        [
            f"{100 * row.sparsity:.2f} %",
            html.escape(row.method),
            *(_shown(name, row.metrics[name]) if name in row.metrics else "" for name in shown),
        ]
        for row in harm
    ]
    return (
        "<h2>Damage beyond the error</h2><p>Means over networks and repetitions: the error and the loss, the error of the "
        "worst class, the calibration error, and the errors on corrupted validation data.</p>"
        + _cells(["removed", "method", *(name.replace("_", " ") for name in shown)], lines)
    )


def _is_share(metric: str) -> bool:
    """Return whether a metric is a share: every error is one."""
    return metric.endswith("error")


def _shown(metric: str, value: float) -> str:
    return f"{100 * value:.2f} %" if _is_share(metric) else f"{value:.4g}"


def _budget_table(budgets: Sequence[Budget]) -> str:
    """Return the share of each layer's weights that stays, one line for each method and sparsity."""
    if not budgets:
        return ""
    layers = list(dict.fromkeys(b.layer for b in budgets))
    told = {(b.method, b.sparsity, b.layer): b for b in budgets}
    lines = []
    for method, share in dict.fromkeys((b.method, b.sparsity) for b in budgets):
        here = [told.get((method, share, layer)) for layer in layers]
        cells = ["" if b is None else f"{b.weights:,.0f} ({100 * b.share:.0f} %)" for b in here]
        lines.append([f"{100 * share:.2f} %", html.escape(method), *cells])
    return (
        "<h2>Layers</h2><p>Weights of each layer that stay; in brackets their share of the reference's.</p>"
        + _cells(["removed", "method", *map(html.escape, layers)], lines)
    )


def _cells(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in line) + "</tr>" for line in lines)
    heads = "".join(f"<th>{word}</th>" for word in head)
    return f'<div class="wide"><table class="details"><tr>{heads}</tr>{rows}</table></div>'


def _table(bests: Sequence[Best], quality: str) -> str:
    """Return the table: a block for each level; the methods without a network share one line."""
    shown = [name for name in COSTS if any(name in best.costs for best in bests)]
    heads = ("level", "method", "series", "error", *map(metric_label, shown))
    head = "".join(f"<th>{html.escape(word)}</th>" for word in heads)
    blocks = []
    for level in dict.fromkeys(best.level for best in bests):
        word = f"{100 * level:+.2f} %" if _is_share(quality) else f"{level:+g}"
        here = [best for best in bests if best.level == level]
        lines = [_best_cells(best, shown, quality) for best in here if best.error is not None]
        without = ", ".join(html.escape(best.method) for best in here if best.error is None)
        if without:
            told = f"no network of {without}" if lines else "no network of any method"
            lines.append(f'<td class="none" colspan="{3 + len(shown)}">{told}</td>')
        first = f'<td rowspan="{len(lines)}">{word}</td>'
        rows = "".join(f"<tr>{'' if place else first}{line}</tr>" for place, line in enumerate(lines))
        blocks.append(f"<tbody>{rows}</tbody>")
    return f'<div class="wide"><table class="levels"><thead><tr>{head}</tr></thead>{"".join(blocks)}</table></div>'


def _best_cells(best: Best, shown: Sequence[str], quality: str) -> str:
    """Return a network's cells; the range over series is a tooltip."""
    error = "" if best.error is None else _shown(quality, best.error)
    cells = [
        f'<td class="name">{html.escape(best.method)}</td><td>{best.series} of {best.of}</td><td>{error}</td>'
    ]
    for name in shown:
        if name not in best.costs:
            cells.append("<td></td>")
            continue
        span = f"{best.least[name]:,.0f} to {best.most[name]:,.0f}"
        cells.append(f'<td title="{span}">{best.costs[name]:,.0f} ({round(100 * best.ratios[name])} %)</td>')
    return "".join(cells)
