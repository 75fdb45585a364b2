"""Trials on sequences of different lengths: with their lengths, or cut into windows of a fixed or searched length."""

import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from service.cli.trial_view import render_trial
from service.schemas.trials import TrialView
from sparsemod.data import load
from sparsemod.errors import InvalidInput, InvalidSpec
from sparsemod.pipeline.local_run import LocalRun
from sparsemod.pipeline.problem import Problem
from sparsemod.pipeline.reporter import ParentWeights
from sparsemod.pipeline.trial import evaluate
from sparsemod.quantization import IntegerNetwork
from sparsemod.records import Candidate, TrialState
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.training.votes import voted

SIZES = {"max_layers": 1, "min_units": 4, "max_units": 6, "max_dense": 0, "bidirectional": False}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sequences whose class is whether they rise: 160 of 3 to 12 steps, with two features."""
    rng = np.random.default_rng(0)
    lengths, labels = rng.integers(3, 13, 160), np.arange(160) % 2
    x = np.zeros((160, 12, 2), np.float32)
    for row, length, label in zip(x, lengths, labels, strict=True):
        row[:length, 0] = (2 * label - 1) * np.linspace(0, 1, length) + rng.normal(0, 0.1, length)
        row[:length, 1] = rng.normal(0, 1, length)
    path = tmp_path_factory.mktemp("sequences") / "rising.npz"
    np.savez(path, x=x, y=labels, lengths=lengths)
    return path


def spec(archive: Path, splitter: Any = None, **keys: Any) -> ExperimentSpec:
    dataset = {
        "name": "npz",
        "options": {"path": str(archive), "layout": "time-features"},
        "splitter": splitter,
    }
    plain = {
        "dataset": dataset, "network": {"family": "rnn", "options": SIZES}, "objectives": ["error", "flash"],
        "measure": {"device": "model"}, "training": {"batch_size": 16, "learning_rate": 0.01},
    }  # fmt: skip
    return ExperimentSpec.parse({**plain, **keys})


def trial(made: ExperimentSpec, folder: Path, epochs: int = 8, **values: Any) -> tuple[Any, IntegerNetwork]:
    data = load(made.dataset)
    parameters = Problem.of(made, data.info).space.complete({"units": 6, "dropout": 0.0, **values})
    candidate = Candidate(parameters=parameters, origin="manual", round="manual")
    result = evaluate(made, candidate, epochs=epochs, seed=1, data=data, workdir=folder)
    assert result.state is TrialState.COMPLETED, result.failure
    return result, IntegerNetwork.from_bytes((folder / "network.npz").read_bytes())


@pytest.mark.parametrize("readout", ["last", "mean"])
def test_a_network_that_reads_lengths_is_measured_with_them(
    archive: Path, tmp_path: Path, readout: str
) -> None:
    made = spec(archive)
    result, network = trial(made, tmp_path, readout=readout)
    assert network.uses_lengths
    validation = load(made.dataset).validation
    error = network.error(validation.x, validation.y, validation.lengths)
    assert result.values()["error"] == error < 0.3
    assert result.measurements[0].method.endswith(f"on {len(validation)} samples")
    assert list(result.measurements[0].detail["sequences"]) == ["lengths"]
    # Noise behind the last step changes nothing: the network does not read it.
    noisy = validation.x.copy()
    lengths = validation.lengths
    assert lengths is not None
    noisy[np.arange(12) >= lengths[:, None]] = 3.0
    assert (network.logits(noisy, lengths) == network.logits(validation.x, lengths)).all()


def test_windows_of_a_sequence_vote(archive: Path, tmp_path: Path) -> None:
    made = spec(archive, {"max_len": 5, "stride": 2})
    result, network = trial(made, tmp_path)
    assert network.input_shape == (5, 2)
    windows = load(made.dataset).windowed(Problem.of(made, load(made.dataset).info).splitter({})).validation  # type: ignore[arg-type]
    answers, labels = voted(network.logits(windows.x, windows.lengths), windows.y, windows.sequence)
    assert result.values()["error"] == np.mean(answers.argmax(axis=1) != labels)
    assert (
        f"{windows.sequences} sequences by votes of {len(windows)} windows" in result.measurements[0].method
    )
    counts = np.bincount(windows.sequence)  # type: ignore[arg-type]
    facts = result.measurements[0].detail["sequences"]
    single = network.logits(windows.x, windows.lengths).argmax(axis=1) != windows.y
    assert facts == {
        "sequences": windows.sequences, "windows": len(windows), "voting": int((counts > 1).sum()),
        "windows_each": [1, round(float(counts.mean()), 3), int(counts.max())],
        "value": result.values()["error"], "window_value": float(np.mean(single)),
        "lengths": [int(windows.lengths.min()), round(float(windows.lengths.mean()), 3), 5],  # type: ignore[union-attr]
    }  # fmt: skip
    assert facts["windows"] > facts["sequences"] > facts["voting"] > 0


def test_the_command_line_shows_the_facts_about_sequences(archive: Path, tmp_path: Path) -> None:
    result, _ = trial(spec(archive, {"max_len": 5, "stride": 2}), tmp_path, epochs=1)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    view = TrialView(
        experiment=1, index=0, candidate=Candidate(parameters={}, origin="manual", round="manual"), state=result.state,
        epochs=1, seed=1, trained_epochs=1, costs={}, measurements=result.measurements, created_at=now,
    )  # fmt: skip
    console = Console(width=240, record=True, file=io.StringIO())
    console.print(render_trial(view, ()))
    facts = result.measurements[0].detail["sequences"]
    line = next(
        each for each in console.export_text().splitlines() if each.startswith("sequences (validation)")
    )
    assert f"{facts['sequences']} sequences, {facts['voting']} by votes of several windows" in line
    assert f"{facts['windows']} windows, 1 to 5 (mean " in line and "of single windows" in line
    assert "to 5 (mean" in line and "valid steps of a window" in line


def test_the_length_of_windows_is_searched(archive: Path, tmp_path: Path) -> None:
    rounds = {
        "r1": {"trials": 3, "epochs": 1},
        "r2": {"trials": 2, "epochs": 1},
        "r3": {"trials": 3, "epochs": 1},
    }
    made = spec(
        archive, {"remainder": "overlap"}, space={"max_len": {"low": 3, "high": 9}}, source={"name": "search", "rounds": rounds}
    )  # fmt: skip
    run = LocalRun(made, tmp_path / "run")
    outcome = run.run()
    lengths = {row.candidate.parameters["max_len"] for row in outcome.rows}
    assert len(lengths) > 2 and all(3 <= int(length) <= 9 for length in lengths)
    memory = {row.candidate.parameters["max_len"]: row.values() for row in outcome.rows}
    assert all(row.state is TrialState.COMPLETED for row in outcome.rows), outcome.rows
    assert len({values["working_memory"] for values in memory.values()}) > 1


@pytest.mark.parametrize("head", ["average", "flatten"])
def test_a_child_with_other_windows_inherits_the_weights(archive: Path, tmp_path: Path, head: str) -> None:
    """The same parameters of the network do not mean the same network: its input has another length."""
    options = {"max_blocks": 1, "max_layers": 1, "max_filters": 4, "max_dense": 0}
    made = spec(
        archive, {}, space={"max_len": {"low": 4, "high": 12}, "head": head}, network={"family": "cnn1d", "options": options}
    )  # fmt: skip
    data = load(made.dataset)
    space = Problem.of(made, data.info).space
    own = {"b1_l1_type": "conv", "b1_l1_filters": 4, "b1_pool": False}
    values = {steps: space.complete({**own, "max_len": steps}) for steps in (6, 12)}

    def run(steps: int, parent: ParentWeights | None = None) -> Any:
        folder = tmp_path / str(steps)
        folder.mkdir()
        candidate = Candidate(parameters=values[steps], origin="manual", round="manual")
        return evaluate(made, candidate, epochs=1, seed=1, data=data, workdir=folder, parent=parent)

    first = run(6)
    state = (tmp_path / "6" / "weights.safetensors").read_bytes()
    second = run(12, ParentWeights(values[6], state, first.epochs))
    assert second.state is TrialState.COMPLETED, second.failure
    assert "windows of 12 steps, of the parent 6" in second.notes
    assert f"inherited weights, function {'kept' if head == 'average' else 'not kept'}" in second.notes


def test_equal_windows_give_equal_trials(archive: Path, tmp_path: Path) -> None:
    """A searched length of windows and the same fixed length are the same trial."""
    results = []
    for number, (splitter, space, values) in enumerate(
        [({"max_len": 6}, {}, {}), ({}, {"max_len": {"low": 3, "high": 9}}, {"max_len": 6})]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        results.append(trial(spec(archive, splitter, space=space), folder, 2, **values)[0])
    assert results[0].measurements == results[1].measurements


@pytest.mark.parametrize(
    ("splitter", "space", "message"),
    [
        ({}, {}, r"dataset\.splitter\.max_len = None: a number of steps, or the parameter max_len"),
        (None, {"max_len": [3, 4]}, r"space\.max_len = 'searched': needs dataset\.splitter"),
        ({}, {"max_len": [0, 4]}, r"space\.max_len = 0: as in dataset\.splitter\.max_len"),
        ({"max_len": 0}, {}, r"dataset\.splitter\.max_len = 0"),
        ({"max_len": 4, "remainder": "loop"}, {}, r"dataset\.splitter\.remainder = 'loop'"),
    ],
)
def test_mistakes_are_named(archive: Path, splitter: Any, space: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        spec(archive, splitter, space=space)


def test_images_have_no_windows() -> None:
    made = ExperimentSpec.parse(
        {"dataset": {"name": "digits", "splitter": {"max_len": 4}}, "network": {"family": "cnn"}}
    )
    with pytest.raises(InvalidSpec, match=r"dataset\.splitter = \(1, 8, 8\): only for sequences"):
        Problem.of(made, load(made.dataset).info)
