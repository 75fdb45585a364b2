"""The summary of an experiment: groups, order, means by value, CSV, and the command for folders and servers."""

import csv
import io
import json
import re

import pytest
from support_cli import cli, served

from sparsemod.records import Candidate, Failure, FailureKind, Measurement, TrialRecord, TrialState
from sparsemod.report.combinations import by_value, combinations, ranked, summary_csv, varied


def record(index, rate, width, error=None):
    done = error is not None
    return TrialRecord(
        index=index,
        state=TrialState.COMPLETED if done else TrialState.FAILED,
        candidate=Candidate(parameters={"rate": rate, "width": width, "head": "flat"}, origin="grid", round="grid"),
        epochs=1,
        seed=index,
        measurements=(Measurement(metric="error", value=error, unit="fraction", method="x"),) if done else (),
        seconds={"train": 2.0, "measure": 0.5},
        failure=None if done else Failure(kind=FailureKind.FAULT, message="it broke"),
    )  # fmt: skip


ROWS = [
    record(0, 0.1, 8, 0.5), record(1, 0.1, 16, 0.2), record(2, 0.3, 8), record(3, 0.3, 16, 0.4),
    record(4, 0.1, 16, 0.4), record(5, 0.3, 8),
]  # fmt: skip


def test_a_line_for_each_combination_with_failures():
    found = combinations(ROWS)
    assert [one.trials for one in found] == [(0,), (1, 4), (2, 5), (3,)]
    assert [one.completed for one in found] == [1, 2, 0, 1]
    pair = found[1].metrics["error"]
    assert (pair.mean, pair.low, pair.high) == (pytest.approx(0.3), 0.2, 0.4)
    assert pair.deviation == pytest.approx(0.2 / 2**0.5) and found[0].metrics["error"].deviation == 0
    assert found[2].states == {"failed": 2} and found[2].failure == "it broke" and found[2].metrics == {}
    assert found[1].seconds == 5.0
    assert [one.trials for one in ranked(found, "error")] == [(1, 4), (3,), (0,), (2, 5)]


def test_the_mean_by_each_value_of_what_varies():
    found = combinations(ROWS)
    assert varied([one.parameters for one in found]) == ["rate", "width"]
    means = by_value(found, "error")
    assert list(means) == ["rate", "width"]
    assert means["rate"][0.1].mean == pytest.approx(0.4) and means["rate"][0.3].mean == pytest.approx(0.4)
    assert means["width"][8].mean == 0.5 and means["width"][16].mean == pytest.approx(0.35)


def test_the_csv_has_every_combination():
    lines = list(csv.DictReader(io.StringIO(summary_csv(ranked(combinations(ROWS), "error")))))
    assert [line["trials"] for line in lines] == ["1 4", "3", "0", "2 5"]
    assert lines[0]["rate"] == "0.1" and float(lines[0]["mean error [fraction]"]) == pytest.approx(0.3)
    assert lines[3]["states"] == "2 failed" and lines[3]["failure"] == "it broke"
    assert lines[3]["mean error [fraction]"] == "" and float(lines[1]["seconds"]) == 2.5


SPEC = """\
name: product
dataset: {name: digits, limit: 300}
network: {family: mlp, options: {max_layers: 1, max_width: 8}}
source: {name: grid, values: {learning_rate: [0.001, 0.01], batch_size: [32, 64]}, epochs: 1}
measure: {device: model}
"""


def test_a_grid_runs_into_a_folder_by_its_time_and_prints_its_summary(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "product.yaml").write_text(SPEC)
    shown = cli(capsys, "run", "product.yaml", "--out", "results/{time}")
    (folder,) = (tmp_path / "results").iterdir()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d", folder.name)
    assert "learning_rate" in shown and "mean error" in shown
    assert (folder / "trials.jsonl").read_text().count("\n") == 4
    found = json.loads(cli(capsys, "summary", str(folder), "--format", "json"))
    errors = [one["metrics"]["error"]["mean"] for one in found]
    assert len(found) == 4 and errors == sorted(errors)
    flash = cli(capsys, "summary", str(folder), "--by", "flash", "--format", "csv").splitlines()
    assert len(flash) == 5
    assert "learning_rate" in cli(capsys, "summary", str(folder))
    assert "nothing" in cli(capsys, "summary", str(folder), "--by", "nothing", code=2)


def test_an_experiment_of_the_server(capsys, tmp_path):
    with served(tmp_path) as service:
        service.finish(1)
        table = cli(capsys, "summary", "1", "--server", service.url)
        lines = cli(capsys, "summary", "1", "--server", service.url, "--format", "csv").splitlines()
    assert "trials" in table and len(lines) > 2
