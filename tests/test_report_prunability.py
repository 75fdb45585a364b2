"""The report of a study, against numbers computed by hand."""

import csv
import io
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparsemod.errors import InvalidInput
from sparsemod.records import Candidate, Measurement, TrialRecord, TrialState
from sparsemod.report.prunability import LEVELS, Best, curves, prunability, prunability_csv, series_of
from sparsemod.report.prunability_page import write_prunability


def trial(
    index: int, method: str, sparsity: float, parent: int | None, error: float, nonzeros: float, **more: Any
) -> TrialRecord:
    costs = {"error": error, "nonzeros": nonzeros, "macs": 10 * nonzeros, "flash": 1000 + nonzeros}
    return TrialRecord(
        index=index,
        state=more.get("state", TrialState.COMPLETED),
        candidate=Candidate(
            parameters={"pruning_method": method, "sparsity": sparsity},
            origin="study",
            round="reference" if parent is None else "study",
            parent=parent,
        ),
        epochs=1,
        seed=index,
        measurements=tuple(Measurement(metric=n, value=v, unit="", method="") for n, v in costs.items()),
    )


# Two reference networks; "a" prunes each once, "b" only the first one, twice.
ROWS = [
    trial(0, "none", 0.0, None, 0.10, 1000),
    trial(1, "none", 0.0, None, 0.20, 1000),
    trial(2, "a", 0.5, 0, 0.09, 500),
    trial(3, "a", 0.75, 0, 0.12, 250),
    trial(4, "a", 0.5, 1, 0.204, 480),
    trial(5, "a", 0.75, 1, 0.26, 240),
    trial(6, "b", 0.5, 0, 0.15, 510),
    trial(7, "b", 0.5, 0, 0.10, 520),
    trial(8, "b", 0.75, 0, 0.15, 260, state=TrialState.FAILED),
]


def at(bests: tuple[Best, ...], level: float, method: str) -> Best:
    return next(best for best in bests if best.level == level and best.method == method)


def test_there_are_13_levels_from_minus_to_plus_10_percent() -> None:
    assert len(LEVELS) == 13 and tuple(sorted(LEVELS)) == LEVELS
    assert LEVELS[0] == -0.1 and LEVELS[-1] == 0.1 and LEVELS[6] == 0


def test_series_are_method_reference_and_repetition() -> None:
    found = {
        (s.method, s.reference.index, s.repetition): [r.index for r in s.networks] for s in series_of(ROWS)
    }
    assert found == {("a", 0, 0): [2, 3], ("a", 1, 0): [4, 5], ("b", 0, 0): [6], ("b", 0, 1): [7]}


def test_a_cascade_is_one_series() -> None:
    rows = [trial(0, "none", 0.0, None, 0.1, 100), trial(1, "a", 0.5, 0, 0.1, 50), trial(2, "a", 0.5, 0, 0.1, 50),
            trial(3, "a", 0.75, 1, 0.1, 25), trial(4, "a", 0.75, 2, 0.1, 25)]  # fmt: skip
    assert [[r.index for r in s.networks] for s in series_of(rows)] == [[1, 3], [2, 4]]


def test_the_report_is_what_was_computed_by_hand() -> None:
    bests = prunability(series_of(ROWS))
    assert len(bests) == 13 * 2
    zero = at(bests, 0.0, "a")  # 500 weights of the first series; the second has only its reference
    assert (zero.series, zero.of, zero.error) == (2, 2, pytest.approx((0.09 + 0.20) / 2))
    assert zero.costs["nonzeros"] == 750 and (zero.least["nonzeros"], zero.most["nonzeros"]) == (500, 1000)
    assert zero.ratios["nonzeros"] == pytest.approx(0.25) and zero.difference == pytest.approx(-0.005)
    half = at(bests, 0.005, "a")  # 500 and 480
    assert half.costs["nonzeros"] == 490 and half.costs["macs"] == 4900 and half.costs["flash"] == 1490
    assert half.ratios["flash"] == pytest.approx((1 - 1500 / 2000 + 1 - 1480 / 2000) / 2)
    two = at(bests, 0.02, "a")  # 250 and 480
    assert two.costs["nonzeros"] == 365
    assert at(bests, 0.1, "a").costs["nonzeros"] == 245
    better = at(bests, -0.01, "a")  # only the first series has a better network
    assert (better.series, better.of, better.costs["nonzeros"]) == (1, 2, 500)
    none = at(bests, -0.02, "a")
    assert (none.series, none.error, none.costs) == (0, None, {})
    repeated = at(bests, 0.0, "b")  # the reference of the first repetition, 520 of the second
    assert repeated.costs["nonzeros"] == (1000 + 520) / 2


def test_the_files_hold_the_same_numbers(tmp_path: Path) -> None:
    files = write_prunability(tmp_path, "digits <b>", ROWS)
    assert set(files) == {
        "prunability.html",
        "prunability.csv",
        "layers.csv",
        "damage.csv",
        "curves.npz",
        "curves.pdf",
        "curves.svg",
    }
    bests = prunability(series_of(ROWS))
    lines = list(csv.DictReader(io.StringIO(files["prunability.csv"].read_text())))
    assert len(lines) == len(bests) and prunability_csv(bests) == files["prunability.csv"].read_text()
    line = next(line for line in lines if line["level"] == "0.005" and line["method"] == "a")
    assert float(line["nonzeros"]) == 490 and float(line["flash removed"]) == pytest.approx(0.255)
    raw = np.load(files["curves.npz"])
    assert raw["a/error"].shape == (2, 3) and raw["a/nonzeros"][1].tolist() == [1000, 480, 240]
    assert np.isnan(raw["b/error"][0]).sum() == 0 and raw["b/sparsity"].tolist() == [0.0, 0.5]
    assert set(raw) == set(curves(series_of(ROWS)))
    text = files["prunability.html"].read_text()
    assert "digits &lt;b&gt;" in text and "<svg" in text and "490 (51 %)" in text
    assert "1 of 2" in text and '<td title="480 to 500">490 (51 %)</td>' in text
    # a block for each level; methods without a network share a line: at -2 % both of them
    blocks = text.split("<tbody>")[1:]
    assert len(blocks) == 13 and blocks[3].startswith(
        '<tr><td rowspan="2">-1.00 %</td><td class="name">a</td>'
    )
    assert '<td class="none" colspan="6">no network of b</td>' in blocks[3]
    nothing = '<td rowspan="1">-2.00 %</td><td class="none" colspan="6">no network of any method</td>'
    assert blocks[2] == f"<tr>{nothing}</tr></tbody>"
    names = _Addresses()
    names.feed(text)
    assert not names.found, "the page loads nothing"
    assert files["curves.pdf"].read_bytes().startswith(b"%PDF")
    again = write_prunability(tmp_path / "again", "digits <b>", ROWS)
    assert all(again[name].read_bytes() == path.read_bytes() for name, path in files.items())


class _Addresses(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [v for n, v in attrs if n in ("src", "href") and v and v.startswith(("http", "//"))]


def test_an_experiment_that_is_no_study_is_refused() -> None:
    with pytest.raises(InvalidInput, match="a study with a completed reference network"):
        series_of([])
