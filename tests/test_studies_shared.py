"""A study that several processes share through a folder: equal to one process, interrupted, waiting, and its mistakes."""

import json
from pathlib import Path
from typing import Any

import pytest
from test_cli_local import cli

from service.cli import main
from sparsemod.errors import Conflict, InvalidInput
from sparsemod.pipeline.journal import Finished
from sparsemod.pipeline.local_run import LocalFolder, LocalRun
from sparsemod.records import TrialState
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.studies import shared
from sparsemod.studies.shared import SharedRun

pytestmark = pytest.mark.long


def spec(**settings: Any) -> ExperimentSpec:
    return ExperimentSpec.parse(
        {
            "name": "study",
            "dataset": {"name": "digits", "limit": 400},
            "network": {"family": "mlp"},
            "space": {"layers": {"type": "fixed", "value": 1}, "l1_width": {"type": "fixed", "value": 12}},
            "pruning": {"method": "magnitude", "schedule": {"name": "one-shot", "begin": 0.0}},
            "training": {"batch_size": 64},
            "measure": {"device": "model"},
            "source": {
                "name": "study",
                "methods": ["magnitude", "random_weights", "SVDNet"],
                "mode": "cascade",
                "nets": 2,
                "repetitions": 2,
                "spacing": [{"type": "manual", "values": [0.7, 0.4]}],
                "epochs": 1,
                "retrain_epochs": 1,
                **settings,
            },
        }
    )


def results(folder: Path) -> list[Any]:
    """The lines of a run without its times; the artifacts are compared by digest."""
    lines = []
    for trial in LocalFolder(folder).trials:
        plain = trial.model_dump(mode="json")
        plain["result"].pop("seconds")
        for point in plain["result"]["curve"]:
            point.pop("seconds")
        lines.append(plain)
    return lines


class Interrupted(Exception):
    pass


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    LocalRun(spec(), folder).run()
    return folder


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "PAUSE", 0.0)


@pytest.mark.parametrize("workers", [2, 3])
def test_processes_together_equal_one(whole: Path, tmp_path: Path, workers: int) -> None:
    waited: list[int] = []

    def start(worker: int) -> SharedRun:
        run = SharedRun(spec(), tmp_path, workers, worker)
        # Where this process would wait, the others do their part.
        run.on_wait = lambda planned: (waited.append(planned.index), start(planned.owner).run())  # type: ignore[func-returns-value]
        return run

    first = start(0).run()
    assert waited == [1], "process 0 waits for the reference network of process 1"
    for worker in range(workers):
        assert first.reason
        last = start(worker).run()
    assert last.reason == "the study is complete: 26 networks" and last.files
    assert results(tmp_path) == results(whole)
    assert not list(tmp_path.glob("trials-*.jsonl"))
    assert [a.name for a in sorted((tmp_path / "artifacts").iterdir())] == [
        a.name for a in sorted((whole / "artifacts").iterdir())
    ]


def test_the_work_is_divided_by_networks_methods_and_repetitions(tmp_path: Path) -> None:
    planned = SharedRun(spec(), tmp_path, 4, 0).planned()
    assert [p.owner for p in planned[:2]] == [0, 1]
    assert [sum(p.owner == k for p in planned[2:]) for k in range(4)] == [6] * 4
    assert all(
        p.owner == planned[p.candidate.parent].owner
        for p in planned
        if p.candidate.parent is not None and p.candidate.parent > 1
    ), "one process runs a whole cascade"


@pytest.mark.parametrize("after", [1, 3, 8])
def test_an_interrupted_process_goes_on(whole: Path, tmp_path: Path, after: int) -> None:
    count = 0

    def stop(trial: Finished) -> None:
        nonlocal count
        count += 1
        if count == after:
            raise Interrupted

    with pytest.raises(Interrupted):
        SharedRun(spec(), tmp_path, 1, 0).run(stop)
    part = tmp_path / "trials-0.jsonl"
    with part.open("a") as file:
        file.write('{"index": 99, "cand')  # killed during a write
    with pytest.raises(Conflict, match=r"parts of a study that several processes share"):
        LocalRun(spec(), tmp_path)
    SharedRun(spec(), tmp_path, 1, 0).run()
    assert results(tmp_path) == results(whole)


def test_a_run_by_one_process_is_continued_by_several(whole: Path, tmp_path: Path) -> None:
    LocalRun(spec(), tmp_path)
    lines = (whole / "trials.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "trials.jsonl").write_text("".join(lines[:24]))
    for path in (whole / "artifacts").iterdir():
        (tmp_path / "artifacts" / path.name).write_bytes(path.read_bytes())
    for worker in (0, 1):
        SharedRun(spec(), tmp_path, 2, worker).run()
    assert results(tmp_path) == results(whole)


def test_networks_behind_a_failed_one_have_the_indices_of_a_run_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sparsemod.pipeline import local_run

    inner = local_run.evaluate

    def evaluate(told: Any, candidate: Any, **keys: Any) -> Any:
        result = inner(told, candidate, **keys)
        broken = candidate.parameters["pruning_method"] == "magnitude"
        return result.model_copy(update={"state": TrialState.FAILED, "artifacts": ()}) if broken else result

    monkeypatch.setattr(local_run, "evaluate", evaluate)
    small = spec(nets=1, repetitions=1, methods=["magnitude", "random_weights"])
    LocalRun(small, tmp_path / "one").run()
    for worker in (0, 1):
        SharedRun(small, tmp_path / "two", 2, worker).run()
    assert results(tmp_path / "two") == results(tmp_path / "one")
    states = [line["result"]["state"] for line in results(tmp_path / "one")]
    assert states == ["completed", "failed", "failed", "completed", "completed"]


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"-i = 2: 0 to 1, a process of 2"):
        SharedRun(spec(), tmp_path, 2, 2)
    with pytest.raises(Conflict, match=r"another process 0 is at work"):
        SharedRun(spec(), tmp_path, 2, 0).run(lambda trial: SharedRun(spec(), tmp_path, 2, 0).run())  # type: ignore[arg-type, return-value]
    with pytest.raises(Conflict, match=r"source\.nets was 2, now 3; source\.epochs was 1, now 2"):
        SharedRun(spec(epochs=2, nets=3), tmp_path, 2, 0)


STUDY = """
network: {family: mlp, parameters: {layers: 1, l1_width: 12}, dataset: {name: digits, limit: 400}}
training: {epochs: 1, batch_size: 64}
experiments:
  methods: [magnitude]
  spacing: [{type: manual, values: [0.5, 0.2]}]
  plotting: {min: 0.4}
measure: {device: model}
"""


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(STUDY)
    printed = cli(capsys, "study", str(file), "--out", str(tmp_path / "one"))
    assert "the study is complete: 3 networks" in printed and "prunability.html" in printed
    for worker in ("0", "1"):
        printed = cli(capsys, "study", str(file), "--out", str(tmp_path / "two"), "-j", "2", "-i", worker)
    assert "prunability.html" in printed
    assert results(tmp_path / "two") == results(tmp_path / "one")
    csv = (tmp_path / "two" / "prunability.csv").read_text()
    assert csv == (tmp_path / "one" / "prunability.csv").read_text()
    file.write_text(STUDY.replace("epochs: 1", "epochs: 2"))
    with pytest.raises(SystemExit):
        main(["study", str(file), "--out", str(tmp_path / "one")])
    assert "source.epochs was 1, now 2" in capsys.readouterr().err
    file.write_text(STUDY.replace("methods: [magnitude]", "methods: [lottery_ticket]"))
    with pytest.raises(SystemExit):
        main(["study", str(file), "--out", str(tmp_path / "three")])
    assert "small.yaml:5: experiments.methods = 'lottery_ticket'" in capsys.readouterr().err


def test_sweeps_and_files_of_torchprune(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "sweep.yaml"
    sweep = "customizations: [{key: training.learning_rate, value: 0.1}, {key: training.learning_rate, value: 0.01}]\n"
    file.write_text(STUDY.replace("  methods:", "  mode: train\n  methods:") + sweep)
    cli(capsys, "study", str(file), "--out", str(tmp_path / "runs"))
    rates = [
        json.loads((path / "spec.json").read_text())["training"]["learning_rate"]
        for path in sorted((tmp_path / "runs").iterdir())
    ]
    assert rates == [0.1, 0.01]
    theirs = tmp_path / "theirs.yaml"
    theirs.write_text(
        "network: {name: resnet20, dataset: CIFAR10, outputSize: 10}\nexperiments: {methods: [ThresNet], numNets: 1}\n"
    )
    with pytest.raises(SystemExit):
        main(["study", str(theirs)])
    assert "--convert FILE` converts it" in capsys.readouterr().err
    printed = cli(capsys, "study", str(theirs), "--convert", str(tmp_path / "ours.yaml"))
    assert "network.outputSize: the dataset states its classes" in printed
    assert "resnet-20" in (tmp_path / "ours.yaml").read_text()
