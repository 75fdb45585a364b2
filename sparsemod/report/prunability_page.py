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
    prunability,
    prunability_csv,
    series_of,
)

_STYLE = (
    "body{font:15px system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;margin:1rem 0}th,td{padding:.25rem .7rem;text-align:right;border-bottom:1px solid #ddd}"
    "th:nth-child(2),td:nth-child(2){text-align:left}svg{max-width:100%;height:auto}"
)


def write_prunability(
    folder: Path, name: str, rows: Sequence[TrialRecord], shares: tuple[float, float] = (0.0, 1.0)
) -> dict[str, Path]:
    """Write the report of a study to `folder` and return the files by name.

    prunability.html (self-contained), prunability.csv, curves.npz, curves.pdf, curves.svg. `shares`: the smallest and the
    largest share of the weights that plots show; the numbers are complete. Raises InvalidInput
    for an experiment that is no study.
    """
    series = series_of(rows, name)
    bests = prunability(series)
    figure = curves_figure(name, [one.within(*shares) for one in series])
    svg = figure_bytes(figure, "svg")
    raw = io.BytesIO()
    np.savez(raw, **curves(series))  # type: ignore[arg-type]
    content = {
        "prunability.html": page(name, rows, bests, svg.decode()).encode(),
        "prunability.csv": prunability_csv(bests).encode(),
        "curves.npz": raw.getvalue(),
        "curves.pdf": figure_bytes(figure, "pdf"),
        "curves.svg": svg,
    }
    folder.mkdir(parents=True, exist_ok=True)
    for file, data in content.items():
        write_atomically(folder / file, data)
    return {file: folder / file for file in content}


def page(name: str, rows: Sequence[TrialRecord], bests: Sequence[Best], svg: str) -> str:
    """Return the HTML page of a report."""
    title = html.escape(name)
    drawing = svg[svg.index("<svg") :]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
        f"<h1>{title}</h1><p>{len(rows)} networks. Lines: mean over networks and repetitions; bands: their range; dashed: the "
        f"reference.</p>{drawing}<h2>Prunability</h2><p>For each level, the smallest network of each method whose error is at most "
        f"the reference's error plus the level; in brackets the share of the cost that was removed.</p>{_table(bests)}</html>\n"
    )


def _table(bests: Sequence[Best]) -> str:
    shown = [name for name in COSTS if any(name in best.costs for best in bests)]
    head = "".join(f"<th>{html.escape(word)}</th>" for word in ("level", "method", "series", "error", *shown))
    lines = []
    for best in bests:
        cells = [f"{100 * best.level:+.2f} %", html.escape(best.method), f"{best.series} of {best.of}"]
        cells.append("none" if best.error is None else f"{100 * best.error:.2f} %")
        for name in shown:
            known = name in best.costs
            cells.append(f"{best.costs[name]:,.0f} ({100 * best.ratios[name]:.0f} %)" if known else "")
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>"
