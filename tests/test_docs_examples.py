"""The examples go through a dry run: every step of the pipeline on one candidate each."""

import importlib
import os
from pathlib import Path

import numpy as np
import pytest
from support_data import real_vowels
from support_docs import EXAMPLES, ROOT

from sparsemod.data import load as load_data
from sparsemod.pipeline.dry_run import check
from sparsemod.pipeline.local_run import LocalRun
from sparsemod.records import TrialState
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.spec.files import load

DATA = Path(os.environ.get("SPARSEMOD_TEST_DATA", ROOT.parent / "shared" / "datasets"))


def dry_run(spec: ExperimentSpec) -> None:
    report = check(spec, candidates=1, draws=8)
    assert report.ok, "\n".join(f"{f.level} {f.subject}: {f.message}" for f in report.findings)
    assert not any(tried.problem for tried in report.tried)


@pytest.mark.parametrize("name", ["digits-cnn", "digits-mlp", "own_network/own_network"])
def test_examples_without_a_download(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = EXAMPLES / f"{name}.yaml"
    monkeypatch.syspath_prepend(str(path.parent))
    dry_run(load(path))


@pytest.mark.parametrize("name", ["keyword_spotting", "motion_gestures"])
def test_the_examples_on_made_signals(name: str) -> None:
    spec = load(EXAMPLES / name / f"{name}.yaml")
    options = {**spec.dataset.options, "per_class": 8}
    dry_run(spec.model_copy(update={"dataset": spec.dataset.model_copy(update={"options": options})}))


@pytest.mark.long
def test_the_example_of_mobile_blocks_on_digits(tmp_path: Path) -> None:
    spec = load(EXAMPLES / "mobile_digits" / "mobile_digits.yaml")
    plain = spec.to_dict()
    plain["dataset"]["limit"] = 200
    plain["source"]["rounds"] = {
        "r1": {"trials": 2, "epochs": 1},
        "r2": {"trials": 1, "epochs": 1},
        "r3": {"trials": 2, "epochs": 1},
    }
    # One epoch keeps no limit of the error.
    plain |= {"budgets": ["model_size <= 2 KB"], "reference_point": {"error": "100 %"}}
    outcome = LocalRun(ExperimentSpec.parse(plain), tmp_path / "run").run()
    done = [row for row in outcome.rows if row.state is TrialState.COMPLETED]
    assert [row.candidate.round for row in done] == ["r1", "r1", "r2", "r3", "r3"]
    assert all(row.values()["model_size"] <= 2048 for row in done)
    assert any(row.candidate.operators for row in done if row.candidate.round == "r3")


def test_the_example_on_mnist() -> None:
    if not (DATA / "mnist").is_dir():
        pytest.skip(
            f"SKIPPED LOUDLY: no {DATA / 'mnist'}: set SPARSEMOD_TEST_DATA to a folder with mnist/ in it"
        )
    spec = load(EXAMPLES / "cnn_mnist" / "cnn_mnist.yaml")
    dataset = spec.dataset.model_copy(update={"root": str(DATA), "limit": 2000})
    dry_run(spec.model_copy(update={"dataset": dataset}))


def test_the_example_on_motion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES / "cnn1d_motion"))
    importlib.import_module("motion")
    spec = load(EXAMPLES / "cnn1d_motion" / "cnn1d_motion.yaml")
    dataset = spec.dataset.model_copy(update={"options": {"people": 12}})
    spec = spec.model_copy(update={"dataset": dataset})
    dry_run(spec)
    data = load_data(spec.dataset)
    assert data.groups == {"train": 8, "validation": 2, "test": 2}
    assert data.info.sequences and data.names[1] == "walk"


def test_the_example_of_convolutions_on_vowels() -> None:
    spec = load(EXAMPLES / "cnn1d_vowels" / "cnn1d_vowels.yaml")
    dry_run(spec.model_copy(update={"dataset": spec.dataset.model_copy(update={"root": str(real_vowels())})}))


@pytest.mark.parametrize("name", ["cnn_cifar10", "cnn_cifar10_binary"])
def test_the_examples_on_files_like_those_of_cifar10(name: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for file in (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"):
        records = rng.integers(0, 256, (300, 1 + 3 * 32 * 32), dtype=np.uint8)
        records[:, 0] = np.arange(300) % 10
        (tmp_path / file).write_bytes(records.tobytes())
    spec = load(EXAMPLES / name / f"{name}.yaml")
    dry_run(spec.model_copy(update={"dataset": spec.dataset.model_copy(update={"root": str(tmp_path)})}))


@pytest.mark.parametrize("name", ["rnn_vowels", "cnn_rnn_vowels"])
def test_the_examples_on_japanese_vowels(name: str) -> None:
    if not (DATA / "japanese-vowels").is_dir():
        pytest.skip(
            f"SKIPPED LOUDLY: no {DATA / 'japanese-vowels'}: set SPARSEMOD_TEST_DATA to a folder with japanese-vowels/ in it"
        )
    spec = load(EXAMPLES / name / f"{name}.yaml")
    dry_run(spec.model_copy(update={"dataset": spec.dataset.model_copy(update={"root": str(DATA)})}))
