"""`sparsemod compress`: a finished trial of a local run, pruned by several methods."""

import json
from pathlib import Path

import pytest
from test_cli_local import cli

SPEC = """
name: tiny
dataset: {name: digits, limit: 400}
network: {family: cnn, options: {max_filters: 8}}
source: {name: grid, values: {dropout: [0.0]}, epochs: 2}
objectives: [error, flash]
measure: {device: model}
"""


@pytest.fixture
def finished(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    (tmp_path / "spec.yaml").write_text(SPEC)
    cli(capsys, "run", str(tmp_path / "spec.yaml"), "--out", str(tmp_path / "run"))
    return tmp_path / "run"


def test_a_finished_trial_is_compressed(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (
        "compress", str(finished), "0", "--methods", "magnitude,SVDNet,FilterThresNet", "--sparsity", "0.6",
        "--epochs", "1", "--out", str(tmp_path / "small"),
    )  # fmt: skip
    printed = cli(capsys, *words)
    assert "SVDNet" in printed and "instructions" in printed
    trials = [json.loads(line) for line in (tmp_path / "small" / "trials.jsonl").read_text().splitlines()]
    assert [t["result"]["state"] for t in trials] == ["completed"] * 4
    values = [{m["metric"]: m["value"] for m in t["result"]["measurements"]} for t in trials]
    original = json.loads((finished / "trials.jsonl").read_text().splitlines()[0])
    assert values[0] == {m["metric"]: m["value"] for m in original["result"]["measurements"]}
    for found in values[1:]:
        assert found["nonzeros"] <= 0.5 * values[0]["nonzeros"]
    assert values[3]["flash"] < values[0]["flash"] and values[3]["instructions"] < values[0]["instructions"]
    assert {t["candidate"]["parent"] for t in trials[1:]} == {0}
    assert "series" in (tmp_path / "small" / "prunability.csv").read_text().splitlines()[0]
    written = cli(capsys, "prunability", str(tmp_path / "small"), "--out", str(tmp_path / "report"))
    assert written.count("prunability.") == 2 and written.count("curves.") == 3
    assert (tmp_path / "report" / "prunability.html").read_text().count("<tr>") == 1 + 13 * 3
    # the same command again has nothing left to do
    again = cli(capsys, *words)
    assert "the study is complete: 4 networks" in again
    assert len((tmp_path / "small" / "trials.jsonl").read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--methods", "magnitud"), "did you mean magnitude"),
        (("--sparsity", "0.5,lots"), "numbers separated by commas"),
        (("--sparsity", "1.5"), "above 0 and below 1"),
    ],
)
def test_mistakes_are_one_line(
    words: tuple[str, ...], message: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from service.cli import main

    with pytest.raises(SystemExit) as end:
        main(["compress", str(finished), "0", "--out", str(tmp_path / "small"), *words])
    captured = capsys.readouterr()
    assert end.value.code == 2 and message in captured.err
    assert not (tmp_path / "small" / "trials.jsonl").exists()
