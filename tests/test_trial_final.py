"""The last training of a chosen network: on training and validation data together, one report on the test split."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support_cli import cli
from support_trials import default_candidate, tiny_data, tiny_spec
from torch import nn

from service.cli import main
from sparsemod.data import Dataset, load
from sparsemod.data.dataset import Split
from sparsemod.errors import InvalidInput
from sparsemod.pipeline import training_step
from sparsemod.pipeline.trial import evaluate
from sparsemod.records import TrialState
from sparsemod.spec.parts import DatasetSpec
from sparsemod.training import Resident, train

EPOCHS = 3


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the test splits that were read."""
    found: list[int] = []
    read = Dataset.test_split

    def counted(data: Dataset) -> Split:
        split = read(data)
        found.append(len(split))
        return split

    monkeypatch.setattr(Dataset, "test_split", counted)
    return found


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The numbers of samples for training and for validation of each training."""
    found: list[tuple[int, int]] = []
    train = training_step.train

    def watched(module: object, data: object, *arguments: object, **keys: object) -> object:
        found.append((len(data.train), len(data.validation)))  # type: ignore[attr-defined]
        return train(module, data, *arguments, **keys)  # type: ignore[arg-type]

    monkeypatch.setattr(training_step, "train", watched)
    return found


def test_validation_data_are_trained_on_in_the_last_training_only(
    reads: list[int], trained: list[tuple[int, int]]
) -> None:
    spec = tiny_spec(training={"early_stop": 1, "minimum_accuracy": [[1, 100]]})
    data = tiny_data(spec)
    sizes = data.sizes
    candidate = default_candidate(spec)
    for mode in ("search", "test", "final"):
        result = evaluate(spec, candidate, epochs=EPOCHS, seed=1, data=data, mode=mode)
        if mode == "final":
            assert result.state is TrialState.COMPLETED
    assert [count for count, _ in trained] == [
        sizes["train"], sizes["train"], sizes["train"] + sizes["validation"],
    ]  # fmt: skip
    assert data.sizes == sizes, "the loaded data are unchanged"
    assert len(result.curve) == EPOCHS, "patience needs validation data"
    splits = {m.metric: m.split for m in result.measurements if m.metric == "float_error"}
    assert splits == {"float_error": "train"}
    errors = [m.split for m in result.measurements if m.metric == "error"]
    assert errors == ["train", "test"] and reads[-1] == sizes["test"]


def test_the_test_split_is_read_once_in_a_training(reads: list[int]) -> None:
    spec = tiny_spec()
    data = tiny_data(spec)
    evaluate(spec, default_candidate(spec), epochs=1, seed=1, data=data)
    data.with_validation("classes")
    assert reads == []
    evaluate(spec, default_candidate(spec), epochs=1, seed=1, data=data, mode="final")
    assert len(reads) == 1


def test_the_last_epoch_counts_without_validation_data(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = tiny_spec()
    asked = []

    def watched(*arguments: Any, **keys: Any) -> Any:
        asked.append(keys["keep_last"])
        return train(*arguments, **keys)

    monkeypatch.setattr(training_step, "train", watched)
    for mode in ("search", "test", "final"):
        evaluate(spec, default_candidate(spec), epochs=1, seed=3, data=tiny_data(spec), mode=mode)
    assert asked == [False, False, True]


@pytest.mark.parametrize(("keep_last", "epoch"), [(False, 1), (True, 3)])
def test_equal_epochs_are_the_first_one_or_the_last(keep_last: bool, epoch: int) -> None:
    spec = tiny_spec()
    data = tiny_data(spec)
    module = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(data.info.shape), data.info.classes))
    nn.init.constant_(module[1].weight, 0.5)
    nn.init.constant_(module[1].bias, 0.5)
    settings = spec.training.model_copy(update={"learning_rate": 1e-12})  # no weight changes in float32
    found = train(module, Resident.of(data), settings, epochs=3, seed=0, keep_last=keep_last)
    assert found.best_epoch == epoch


def test_the_samples_are_those_of_both_splits_in_the_same_order_in_memory() -> None:
    data = load(DatasetSpec(name="digits", limit=200))
    whole = data.with_validation("classes")
    assert whole.train.name == "train" and whole.validation.name == "train"
    assert np.array_equal(whole.train.x, np.concatenate([data.train.x, data.validation.x]))
    assert np.array_equal(whole.train.y, np.concatenate([data.train.y, data.validation.y]))
    images = np.zeros((4, 5, 6, 3), np.float32).transpose(0, 3, 1, 2)
    split = Split("train", images, np.zeros(4, np.int64))
    assert split.with_more(split).x.strides == images.strides, "channels last"


def test_anomalies_are_never_trained_on() -> None:
    data = load(DatasetSpec(name="digits", limit=200))
    normal = data.with_validation("normal")
    added = int((data.validation.y == 0).sum())
    assert len(normal.train) == len(data.train) + added and len(normal.validation) == len(data.validation)


def test_windows_of_sequences_are_cut_after_the_splits_are_joined() -> None:
    x = np.zeros((4, 3), np.float32)
    split = Split("train", x, np.zeros(4, np.int64), sequence=np.arange(4))
    with pytest.raises(InvalidInput, match="not windows"):
        split.with_more(split)
    lengths = np.arange(1, 5)
    sequences = Split("train", x, np.zeros(4, np.int64), lengths)
    joined = sequences.with_more(sequences).lengths
    assert joined is not None and joined.tolist() == [1, 2, 3, 4, 1, 2, 3, 4]


SPEC = """
name: final
dataset: {name: digits, limit: 400}
network: {family: mlp, options: {max_layers: 1, max_width: 16}}
source: {name: grid, values: {l1_width: [8]}, epochs: 1}
space: {layers: 1, dropout: 0.0}
objectives: [error, model_size]
measure: {device: model}
"""


def test_the_commands_train_on_both_splits_on_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], reads: list[int], trained: list[tuple[int, int]]
) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    folder = str(tmp_path / "run")
    cli(capsys, "run", str(tmp_path / "spec.yaml"), "--out", folder)
    assert reads == []
    told = ("finalize", folder, "--trials", "0", "--test", "--epochs", "2", "--seeds", "2", "--json")
    [member] = json.loads(cli(capsys, *told, "--retrain"))["front"]
    assert member["test"]["retrain"] and member["test"]["epochs"] == 2
    assert [set(seed) for seed in member["test"]["seeds"]] == [{"seed", "test", "train"}] * 2
    assert len(reads) == 2, "once for each training"
    [member] = json.loads(cli(capsys, *told))["front"]
    assert not member["test"]["retrain"] and "validation" in member["test"]["seeds"][0]
    counts = [count for count, _ in trained]
    assert counts[1] == counts[2] > counts[0] == counts[3] == counts[4]
    table = cli(capsys, "test", folder, "0", "--epochs", "1", "--seeds", "1", "--retrain")
    assert "training error" in table
    with pytest.raises(SystemExit) as ended:
        main(["finalize", folder, "--trials", "0", "--retrain"])
    assert ended.value.code == 2 and "--retrain = True: only with --test" in capsys.readouterr().err
