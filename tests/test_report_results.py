"""Results as files."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest

from sparsemod.objectives import Objectives
from sparsemod.records import Ancestor, Candidate, Measurement, TrialRecord, TrialState
from sparsemod.report.pareto import front, lineage, parents_of
from sparsemod.report.plots import draw, pareto_figure
from sparsemod.report.results import trials_csv, write_results
from sparsemod.scales import Scale

NAMES = ("error", "model_size", "working_memory", "latency")


def some_rows(count: int = 40) -> list[TrialRecord]:
    rng = np.random.default_rng(0)
    rows = []
    for index in range(count):
        round_name = ("r1", "r2", "r3")[min(2, index * 3 // count)]
        size = float(rng.integers(500, 40_000))
        values = {
            "error": 0.02 + 200 / size * float(rng.random()),
            "model_size": size,
            "working_memory": size / float(rng.integers(2, 8)),
            "latency": size / 1000,
        }
        rows.append(
            TrialRecord(
                index=index,
                epochs=1,
                seed=index,
                candidate=Candidate(
                    parameters={"filters": int(size) // 100, **({"kernel": 3} if index % 2 else {})},
                    origin="morphism" if round_name == "r3" else "sobol",
                    round=round_name,
                    parent=index // 2 if round_name == "r3" else None,
                    operators=("widen",) if round_name == "r3" else (),
                ),
                state=TrialState.COMPLETED if index % 7 else TrialState.INFEASIBLE,
                measurements=tuple(
                    Measurement(metric=n, value=v, unit="u", method="made up") for n, v in values.items()
                ),
            )
        )
    return rows


def objectives(names=NAMES) -> Objectives:
    return Objectives(names, {n: 1e5 for n in names}, {"model_size": 30_000.0})


def test_csv_has_a_line_a_trial_and_a_column_a_metric_and_parameter():
    rows = some_rows()
    read = list(csv.DictReader(io.StringIO(trials_csv(rows))))
    assert [int(line["trial"]) for line in read] == list(range(len(rows)))
    assert float(read[3]["error [u]"]) == rows[3].values()["error"]
    assert read[0]["kernel"] == ""
    assert read[-1]["parent"] == str(rows[-1].candidate.parent)


def test_front_holds_completed_feasible_rows_only():
    rows = some_rows()
    best = front(objectives(), rows)
    assert best
    assert all(row.state is TrialState.COMPLETED and row.values()["model_size"] <= 30_000 for row in best)


def test_lineage_follows_parents():
    rows = some_rows()
    assert lineage(39, parents_of(rows)) == (Ancestor(index=19, operators=("widen",)),)
    assert lineage(0, parents_of(rows)) == ()


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_files_are_written_for_any_number_of_objectives(tmp_path, count):
    files = write_results(tmp_path / "results", "demo", objectives(NAMES[:count]), some_rows())
    assert sorted(files) == [
        "pareto.csv", "pareto.json", "pareto.png", "pareto.svg", "repetitions.csv", "trials.csv",
    ]  # fmt: skip
    assert files["pareto.png"].read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in files["pareto.svg"].read_bytes()
    data = json.loads(files["pareto.json"].read_text())
    assert data["hypervolume"] == data["history"][-1]["hypervolume"]
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == sorted(files)


def test_without_a_completed_trial_no_plot_is_written(tmp_path):
    assert "pareto.png" not in write_results(tmp_path, "demo", objectives(), [])


def test_equal_results_give_equal_files():
    assert pareto_figure("demo", objectives(), some_rows(), "png") == pareto_figure(
        "demo", objectives(), some_rows(), "png"
    )


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_nothing_of_a_plot_is_cut_off(count):
    rows = [
        row.model_copy(update={"candidate": row.candidate.model_copy(update={"round": "manual"})})
        if row.index % 5 == 0
        else row
        for row in some_rows()
    ]
    figure = draw("n" * 30 + " " + "m" * 30 + " " + "o" * 30, objectives(NAMES[:count]), rows)
    figure.draw_without_rendering()
    paper = figure.bbox
    for part in (figure._suptitle, *figure.legends, *figure.axes):
        box = part.get_tightbbox()
        assert paper.x0 <= box.x0 and box.x1 <= paper.x1, part
        assert paper.y0 <= box.y0 and box.y1 <= paper.y1, part


def test_a_network_without_an_error_is_on_the_plot():
    rows = some_rows()
    perfect = Measurement(metric="error", value=0.0, unit="u", method="made up")
    rows[1] = rows[1].model_copy(update={"measurements": (perfect, *rows[1].measurements[1:])})
    scales = {n: Scale("log", 0.0, 1e5, 0.003) for n in objectives().names}
    logarithmic = replace(objectives(), scales=scales)
    for axis in draw("demo", logarithmic, rows).axes:
        assert axis.get_yscale() == "linear"
        assert axis.get_ylim()[0] <= 0


def test_the_axes_of_the_plot_are_the_objectives_scales():
    names = objectives().names
    scales = {n: Scale("log", 1e-3, 1e5) for n in names[1:]}
    for axis in draw("demo", replace(objectives(), scales=scales), some_rows()).axes:
        assert (axis.get_xscale(), axis.get_yscale()) == ("log", "linear")
    scales = {names[0]: Scale("log", 0.0, 1e5, 0.003)}
    for axis in draw("demo", replace(objectives(), scales=scales), some_rows()).axes:
        assert (axis.get_xscale(), axis.get_yscale()) == ("linear", "log")
