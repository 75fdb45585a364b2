"""SpArSeMod projects run here: config.cfg, Ax space, builder, morphisms, data sets of torch, results, test mode."""

import json
import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_cli_local import cli
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence
from torch.utils.data import Dataset, TensorDataset

from service.cli import main
from sparsemod.data import load
from sparsemod.data.torch_sets import from_datasets
from sparsemod.errors import InvalidInput
from sparsemod.morphisms import morphs
from sparsemod.networks.family import create_family
from sparsemod.pipeline.dry_run import check
from sparsemod.pipeline.local_run import LocalFolder
from sparsemod.pipeline.problem import Problem
from sparsemod.pipeline.trial import evaluate
from sparsemod.records import Candidate, DataInfo, TrialState
from sparsemod.spec.files import loads, read_local
from sparsemod.spec.parts import DatasetSpec
from sparsemod.training.schedules import LearningRate

ROOT = Path(__file__).parents[1] / "examples" / "from_sparsemod"
IMAGES = DataInfo(name="digits", shape=(1, 8, 8), classes=10)


def smaller(text: str) -> str:
    """Return a configuration with few trials and epochs."""
    small = {"r1": 2, "r2": 4, "r3": 2, "epochs1": 1, "epochs2": 1, "epochs3": 1, "arm": "0_0", "epochs": 1}
    lines = [line.split("=")[0].strip() for line in text.splitlines()]
    return "\n".join(
        f"{key} = {small[key]}" if key in small else line
        for key, line in zip(lines, text.splitlines(), strict=True)
    )


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The image project with few trials, after its run."""
    place = tmp_path_factory.mktemp("sparsemod") / "image"
    shutil.copytree(ROOT / "image", place)
    file = place / "config.cfg"
    file.write_text(smaller(file.read_text()))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.syspath_prepend(str(place))
        with pytest.raises(SystemExit) as end:
            main(["run", "config.cfg"])
        assert end.value.code == 0
        yield place
    for name in ("cnn", "load_data"):
        sys.modules.pop(name, None)


def test_results_are_in_the_root(image: Path) -> None:
    folder = image / "results" / "experiment_stages"
    run = LocalFolder(folder)
    states = [trial.result.state for trial in run.trials]
    assert states == [TrialState.COMPLETED] * 8
    assert len((folder / "trials.csv").read_text().splitlines()) == 9
    small = json.loads((folder / "experiment.json").read_text())
    assert [trial["index"] for trial in small["trials"]] == list(range(8))
    assert small["metrics"] == ["error", "model_size", "working_memory", "latency"]
    first = run.trials[0]
    assert dict(zip(small["parameters"], small["trials"][0]["parameters"], strict=True)) == pytest.approx(
        first.candidate.parameters, rel=1e-6
    )
    assert small["trials"][0]["metrics"][0] == pytest.approx(first.record.values()["error"], rel=1e-6)
    lines = (folder / "experiment.json").read_text().splitlines()[1:-1]
    assert all(len(line) < 1000 for line in lines)
    models = {path.name for path in (folder / "models").iterdir()}
    assert small["front"] == run.front()
    assert models == {
        f"trial-{index}{suffix}" for index in run.front() for suffix in (".safetensors", ".npz")
    }
    seconds = float((folder / "time.txt").read_text().split()[0])
    assert seconds >= sum(trial.record.total_seconds for trial in run.trials)


def test_the_batch_size_of_the_model_works(image: Path) -> None:
    trials = LocalFolder(image / "results" / "experiment_stages").trials
    second = [trial.candidate for trial in trials if trial.candidate.round == "r2"]
    assert len(second) == 4
    keys = {json.dumps(candidate.parameters, sort_keys=True) for candidate in second}
    assert len(keys) == 4, "the two candidates of a batch differ"


def test_morphs_name_the_users_operations(image: Path) -> None:
    third = [
        trial.candidate
        for trial in LocalFolder(image / "results" / "experiment_stages").trials
        if trial.candidate.round == "r3"
    ]
    known = {"num_conv_layers", "num_conv_filters", "kernel_size", "num_fc_layers"}
    assert third and all(set(one.operators) <= known and one.operators for one in third)


def test_an_arm_is_tested_by_name(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = cli(capsys, "test", "config.cfg", "--seeds", "1", "--json")
    document = json.loads(text[text.index("{") :])
    assert (document["trial"], document["epochs"]) == (0, 1)
    assert 0 <= document["summary"]["mean"] <= 1


def test_a_continued_run_loads_its_trials_and_adds_the_time(
    image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = image / "results" / "experiment_stages"
    before = float((folder / "time.txt").read_text().split()[0])
    cli(capsys, "run", "config.cfg")
    assert float((folder / "time.txt").read_text().split()[0]) >= before
    assert len(LocalFolder(folder).trials) == 8


@pytest.mark.long
def test_a_run_continues_from_an_earlier_trial(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(image / "results" / "experiment_stages", tmp_path / "run"))
    lines = (folder / "trials.jsonl").read_text().splitlines()
    text = cli(capsys, "run", str(folder), "--keep", "6")
    assert "trial    6" in text and "trial    5" not in text
    after = (folder / "trials.jsonl").read_text().splitlines()
    assert after[:6] == lines[:6] and len(after) == 8
    assert (folder / "trials.1.jsonl").read_text().splitlines() == lines
    cli(capsys, "run", str(folder), "--keep", "7")
    assert (folder / "trials.2.jsonl").read_text().splitlines() == after
    with pytest.raises(InvalidInput, match="0 to 8"):
        LocalFolder(folder).keep(9)


def test_parameters_drive_what_they_drove_there(image: Path) -> None:
    spec = read_local("config.cfg").spec
    problem = Problem.of(spec, IMAGES, imports=True)
    values: Any = problem.space.decode(np.full(len(problem.space.parameters), 0.5))
    values |= {
        "prune_threshold": 0.3,
        "learning_gamma": 0.9,
        "learning_step": 2,
        "batch_size": 20,
        "learning_rate": 0.01,
    }
    training = problem.training(values)
    assert problem.pruning(values).sparsity == problem.sparsity(values) == 0.3  # type: ignore[attr-defined]
    assert (training.batch_size, training.learning_rate) == (20, 0.01)
    rate = LearningRate(training.learning_rate, training.schedule, 1, 10_000)
    assert [rate.at(step) for step in (0, 1999, 2000, 4000)] == pytest.approx([0.01, 0.01, 0.009, 0.0081])
    assert "prune_threshold" not in problem.architecture(values)
    assert "sparsity" not in problem.space


def test_check_names_parameters_that_nothing_reads(image: Path) -> None:
    text = Path("config.cfg").read_text().replace("pruning = True", "pruning = False")
    Path("unpruned.cfg").write_text(text)
    report = check(read_local("unpruned.cfg").spec, candidates=1, draws=5)
    warned = [finding.message for finding in report.findings if finding.level == "warning"]
    assert any("no setting reads prune_threshold" in message for message in warned), report.findings


def test_operations_stay_in_the_space_and_are_seeded(image: Path) -> None:
    family = create_family("cnn:Net", imports=True)
    space = family.space(IMAGES)
    rng = np.random.default_rng(0)
    state = random.getstate()
    for _ in range(10):
        parent = space.decode(rng.random(len(space.parameters)))
        children = morphs(family, space, parent, np.random.default_rng(3), 8)
        assert len(children) == 8
        assert [child.parameters for child in children] == [
            child.parameters for child in morphs(family, space, parent, np.random.default_rng(3), 8)
        ]
        for child in children:
            assert space.validate(child.parameters) == child.parameters
            assert child.parameters != parent
    assert random.getstate() == state


def test_the_users_validation_and_test_sets_are_kept(image: Path) -> None:
    data = load(DatasetSpec(name="load_data:prepare_digits", options={"samples": 500}))
    assert data.sizes == {"train": 300, "validation": 100, "test": 100}
    assert data.own_validation and data.official_test
    assert data.validation.y.tolist() == __import__("load_data").prepare_digits(500)[0][1].tensors[1].tolist()


@pytest.mark.long
def test_a_sequence_project_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = Path(shutil.copytree(ROOT / "sequence", tmp_path / "sequence"))
    file = place / "config.cfg"
    file.write_text(smaller(file.read_text()).replace("r2 = 4", "r2 = 2"))
    monkeypatch.chdir(place)
    monkeypatch.syspath_prepend(str(place))
    for name in ("rnn", "load_data"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    cli(capsys, "run", "config.cfg")
    run = LocalFolder(place / "results" / "motions")
    assert [trial.result.state for trial in run.trials] == [TrialState.COMPLETED] * 6
    assert all(8 <= int(trial.candidate.parameters["max_len"]) <= 24 for trial in run.trials)
    (method,) = {
        m.method.split(" on ")[0] for t in run.trials for m in t.result.measurements if m.metric == "error"
    }
    assert method == "dynamically quantized network"
    text = cli(capsys, "test", "config.cfg", "--seeds", "1", "--json")
    assert json.loads(text[text.index("{") :])["trial"] == 0


class Pairs(Dataset[Any]):
    def __init__(self, count: int, shape: tuple[int, ...] = (1, 4, 4)) -> None:
        self.items = [(torch.full(shape, float(i)), i % 2) for i in range(count)]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, place: int) -> Any:
        return self.items[place]


def test_datasets_of_torch() -> None:
    arrays = from_datasets([Pairs(6), Pairs(4), Pairs(2)])
    assert (arrays.x.shape, arrays.y.tolist()) == ((6, 1, 4, 4), [0, 1] * 3)
    assert arrays.val_x is not None and arrays.val_x.shape == (4, 1, 4, 4)
    assert arrays.test_y is not None and arrays.test_y.tolist() == [0, 1]
    column = TensorDataset(torch.rand(4, 3), torch.tensor([[0.0], [1.0], [2.0], [0.0]]))
    arrays = from_datasets(([column, column], 3))
    assert (arrays.y.tolist(), arrays.classes, arrays.val_x) == ([0, 1, 2, 0], 3, None)


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ([], "train, validation, test"),
        ([Pairs(2), 3, Pairs(2)], "validation set"),
        ([Pairs(2), Pairs(0), Pairs(2)], "at least one sample"),
        ([[1, 2], Pairs(2)], r"train set\[0\]"),
    ],
)
def test_what_is_no_list_of_datasets(sets: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        from_datasets(sets)


class OfPacked(nn.Module):
    """A user's recurrent network, whose collate_fn packs sequences."""

    def __init__(self, parametrization: Any, classes: int, input_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.rnn = nn.GRU(input_shape[1], parametrization.get("units"), batch_first=True)
        self.classifier = nn.Linear(parametrization.get("units"), classes)

    def forward(self, x: PackedSequence) -> torch.Tensor:
        outputs: torch.Tensor = self.classifier(self.rnn(x)[1][-1])
        return outputs


search_space = {"units": [4, 6]}


def packed_waves() -> Any:
    rng = np.random.default_rng(0)
    items = [(torch.randn(int(rng.integers(3, 9)), 2) + place % 2, place % 2) for place in range(60)]

    def pack(batch: list[Any]) -> Any:
        return pack_sequence([x for x, _ in batch], enforce_sorted=False), torch.tensor([y for _, y in batch])

    return from_datasets([items[:40], items[40:50], items[50:]], collate_fn=pack)


def test_a_network_gets_packed_sequences_when_the_collate_fn_packs_them() -> None:
    spec = loads(
        f"dataset: {{name: '{__name__}:packed_waves'}}\nnetwork: {{family: '{__name__}:OfPacked'}}\n"
        "objectives: [error, model_size, working_memory]\n"
    )
    data = load(spec.dataset)
    assert data.info.packed and data.info.sequences
    problem = Problem.of(spec, data.info, imports=True)
    module = problem.family.build({"units": 4}, data.info)
    whole = data.train.first(5)
    sequences = [
        torch.as_tensor(x[:length]).float()
        for x, length in zip(whole.x, np.asarray(whole.lengths), strict=True)
    ]
    direct = module.network(pack_sequence(sequences, enforce_sorted=False))  # type: ignore[operator]
    torch.testing.assert_close(
        module(torch.as_tensor(whole.x).float(), torch.as_tensor(whole.lengths)), direct
    )
    values: Any = problem.space.decode(np.full(len(problem.space.parameters), 0.5))
    result = evaluate(
        spec,
        Candidate(parameters=values, origin="sobol", round="r1"),
        epochs=1,
        seed=0,
        data=data,
        imports=True,
    )
    assert result.state == "completed", result.failure
