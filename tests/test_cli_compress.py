"""`sparsemod compress`: a finished trial of a local run, pruned by several methods."""

import json
from pathlib import Path

import pytest
import yaml
from test_cli_local import cli

from service.cli import main
from sparsemod.pipeline.compression import compression_spec
from sparsemod.records import Artifact, Candidate, TrialRecord, TrialState
from sparsemod.sources.study import StudyConfig
from sparsemod.space.parameters import Fixed
from sparsemod.spec.experiment import ExperimentSpec

pytestmark = pytest.mark.long

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
    assert (tmp_path / "report" / "prunability.html").read_text().split("<h2>")[1].count("<tbody>") == 13
    # the same command again has nothing left to do
    again = cli(capsys, *words)
    assert "the study is complete: 4 networks" in again
    assert len((tmp_path / "small" / "trials.jsonl").read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--methods", "magnitud"), "source.methods = 'magnitud': known: alds"),
        (("--methods", "svd,n_of_m"), "source.methods = 'n_of_m': methods with the key sparsity: alds"),
        (("--methods", ""), "source.methods = []: at least 1 item"),
        (("--sparsity", "0.0000001"), "sparsity = [1e-07]: shares"),
        (("--schedule", "cubi"), "pruning.schedule.name = 'cubi'"),
        (("--sparsity", "0.5,lots"), "numbers separated by commas"),
        (("--sparsity", "1.5"), "above 0 and below 1"),
    ],
)
def test_mistakes_are_one_line(
    words: tuple[str, ...], message: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["compress", str(finished), "0", "--out", str(tmp_path / "small"), *words])
    captured = capsys.readouterr()
    assert end.value.code == 2 and message in captured.err and captured.err.count("\n") == 1
    assert not (tmp_path / "small" / "trials.jsonl").exists()


def test_the_options_reach_the_study(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A cascade of two ratios, each after one epoch, pruned by the schedule that the user names."""
    cli(
        capsys, "compress", str(finished), "0", "--methods", "magnitude", "--sparsity", "0.4,0.7", "--epochs", "1",
        "--cascade", "--schedule", "cubic", "--out", str(tmp_path / "small"),
    )  # fmt: skip
    trials = [json.loads(line) for line in (tmp_path / "small" / "trials.jsonl").read_text().splitlines()]
    assert [t["candidate"]["parent"] for t in trials] == [None, 0, 1]
    assert [t["planned_epochs"] for t in trials] == [2, 1, 1]
    spec = json.loads((tmp_path / "small" / "spec.json").read_text())
    assert spec["pruning"]["schedule"]["name"] == "cubic" and spec["pruning"]["of"] == "weights"


def test_the_network_that_was_searched_is_the_one_compressed(tmp_path: Path) -> None:
    spec = ExperimentSpec.parse(
        yaml.safe_load(SPEC) | {"space": {"dropout": [0.0, 0.3]}, "source": {"name": "grid", "values": {}}}
    )
    weights = Artifact(kind="weights", digest=f"sha256:{0:064}", size=1, name="weights.safetensors")
    trial = TrialRecord(
        index=3, state=TrialState.COMPLETED, candidate=Candidate(parameters={"dropout": 0.3}, origin="grid", round="grid"),
        epochs=4, seed=0, artifacts=(weights,),
    )  # fmt: skip
    study = compression_spec(spec, trial, ["svd"], [0.7, 0.5])
    assert study.space["dropout"] == Fixed(name="dropout", value=0.3)
    assert isinstance(study.source, StudyConfig)
    assert study.source.sparsities() == (0.5, 0.7) and study.source.retrain_epochs == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("compress", "{run}", "7"), "error no trial 7 in {run}, which has trial 0"),
        (("compress", "./nothing", "0"), "error experiment = './nothing': an experiment, or the folder of a local run; there is no such folder"),
        (("prunability", "./nothing"), "error experiment = './nothing': an experiment, or the folder of a local run; there is no such folder"),
        (("prunability", "{run}"), "error experiment = 'tiny': a study with a completed reference network"),
    ],
)  # fmt: skip
def test_wrong_folders_and_trials_are_one_line(
    words: tuple[str, ...], message: str, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main([word.format(run=finished) for word in words])
    assert end.value.code == 2 and capsys.readouterr().err.strip() == message.format(run=finished)
