"""One trial through the whole pipeline, for real, on digits."""

import errno
import hashlib
import re

import numpy as np
import pytest
from support_trials import manual, tiny_data, tiny_spec

from sparsemod.errors import (
    BuildError,
    DataMissing,
    EnvironmentFailure,
    InvalidCandidate,
    InvalidInput,
    ToolsMissing,
)
from sparsemod.pipeline.problem import Problem, trial_seed
from sparsemod.pipeline.screening import Screen
from sparsemod.pipeline.trial import ParentWeights, Silent, evaluate
from sparsemod.quantization import IntegerNetwork
from sparsemod.records import FailureKind, TrialState

OBJECTIVES = ("error", "model_size", "working_memory", "latency")
from sparsemod.spec.experiment import ExperimentSpec


def default(spec, **changes):
    space = Problem.of(spec, tiny_data(spec).info).space
    return manual(space.validate(space.complete(changes)))


def run(spec, candidate=None, **options):
    given = {"epochs": 2, "seed": 7, "data": tiny_data(spec), **options}
    return evaluate(spec, candidate or default(spec), **given)


class Recorder(Silent):
    """Records a trial's reports, and stops it after some epochs."""

    def __init__(self, stop_after=10**9):
        self.stages, self.points, self.checkpoints, self.stop_after = [], [], [], stop_after

    def stage(self, name):
        self.stages.append(name)

    def point(self, point):
        self.points.append(point)

    def checkpoint(self, data):
        self.checkpoints.append(data)

    def should_stop(self):
        return len(self.points) >= self.stop_after


@pytest.mark.parametrize("family", ["mlp", "cnn"])
def test_a_completed_trial_measures_everything_with_provenance(family, tmp_path):
    spec, recorder = tiny_spec(family), Recorder()
    result = run(spec, workdir=tmp_path, reporter=recorder)
    assert result.state is TrialState.COMPLETED
    assert recorder.stages == ["build", "screen", "train", "prune", "quantize", "measure"]
    assert tuple(recorder.points) == result.curve
    assert [point.epoch for point in result.curve] == [1, 2]
    assert {m.metric for m in result.measurements} >= {
        *OBJECTIVES,
        "macs",
        "parameters",
        "nonzeros",
        "float_error",
    }
    assert all(m.unit and m.method for m in result.measurements)
    assert len({m.metric for m in result.measurements}) == len(result.measurements)
    error = next(m for m in result.measurements if m.metric == "error")
    validation = tiny_data(spec).validation
    assert error.split == "validation"
    assert str(len(validation)) in error.method
    # The stored integer network is the one whose error is stated.
    stored = {artifact.kind: artifact for artifact in result.artifacts}
    network = IntegerNetwork.load(tmp_path / stored["network"].name)
    assert float(np.mean(network.predict(validation.x) != validation.y)) == error.value
    for artifact in result.artifacts:
        content = (tmp_path / artifact.name).read_bytes()
        assert (artifact.digest, artifact.size) == (
            "sha256:" + hashlib.sha256(content).hexdigest(),
            len(content),
        )


@pytest.mark.parametrize("family", ["mlp", "cnn"])
def test_equal_seeds_give_equal_trials(family, tmp_path):
    spec = tiny_spec(family)
    folders = [tmp_path / "a", tmp_path / "b", tmp_path / "c"]
    for folder in folders:
        folder.mkdir()
    first, second = (run(spec, workdir=folder) for folder in folders[:2])
    other = run(spec, workdir=folders[2], seed=8)

    def timeless(result):
        return result.model_copy(
            update={
                "seconds": {},
                "curve": tuple(p.model_copy(update={"seconds": 0.0}) for p in result.curve),
            }
        )

    assert timeless(first) == timeless(second)
    assert first.artifacts != other.artifacts


def test_over_budget_is_infeasible_and_never_trained():
    recorder = Recorder()
    result = run(tiny_spec(budgets=["flash <= 100 B"]), reporter=recorder)
    assert result.state is TrialState.INFEASIBLE
    assert recorder.stages == ["build", "screen"]
    assert result.curve == ()
    assert result.value("model_size") > 100
    assert result.value("error") is None
    assert "over its budget" in result.notes[0]


def test_a_network_that_cannot_be_built_is_a_recorded_result():
    # Four poolings of an image of 8 x 8.
    spec = tiny_spec("cnn", network={"family": "cnn", "options": {"max_blocks": 4}})
    space = Problem.of(spec, tiny_data(spec).info).space
    values = space.complete({name: True for name in space.names if name.endswith("pool")} | {"blocks": 4})
    result = run(spec, manual(values))
    assert result.state is TrialState.FAILED
    assert result.failure.kind is FailureKind.INVALID
    assert "block" in result.failure.message or "b4" in result.failure.message


def test_invalid_parameters_are_refused():
    with pytest.raises(InvalidCandidate, match=r"parameters\.colour"):
        run(tiny_spec(), manual({"colour": 1}))


def test_only_test_mode_touches_the_test_split(monkeypatch):
    spec = tiny_spec()
    data, asked = tiny_data(spec), []
    original = type(data).test_split
    monkeypatch.setattr(type(data), "test_split", lambda self: asked.append(1) or original(self))
    searched = run(spec)
    assert not asked
    assert all(m.split != "test" for m in searched.measurements)
    tested = run(spec, mode="test")
    assert asked == [1]
    assert [m.metric for m in tested.measurements if m.split == "test"] == ["error"]
    assert tested.value("error") == searched.value("error")


def test_magnitude_pruning_reaches_its_sparsity():
    spec = tiny_spec(pruning={"method": "magnitude", "sparsity": 0.8}, measure={"model_size": "sparse"})
    result = run(spec, epochs=3)
    dense = run(tiny_spec(), epochs=3)
    assert result.value("nonzeros") <= 0.205 * dense.value("parameters")
    assert result.value("model_size") < dense.value("model_size")
    planned = Screen(Problem.of(spec, tiny_data(spec).info)).costs(default(spec).parameters)
    assert result.value("model_size") <= planned["model_size"]
    size = next(m for m in result.measurements if m.metric == "model_size")
    assert size.value == size.detail["linked"] <= size.detail["sparse"]
    assert "exported C" in size.method
    assert result.curve[-1].sparsity == pytest.approx(0.8, abs=0.005)


@pytest.mark.parametrize("family", ["mlp", "cnn"])
def test_filter_pruning_shrinks_the_network_as_planned(family):
    spec = tiny_spec(family, pruning={"method": "filters", "sparsity": 0.5})
    result, dense = run(spec, epochs=3), run(tiny_spec(family), epochs=3)
    planned = Screen(Problem.of(spec, tiny_data(spec).info)).costs(default(spec).parameters)
    for metric in ("model_size", "working_memory", "latency", "macs"):
        assert result.value(metric) == planned[metric]
        assert result.value(metric) <= dense.value(metric)
    assert result.value("model_size") < dense.value("model_size")
    assert result.value("macs") < dense.value("macs")


def test_a_child_inherits_weights_and_epochs(tmp_path):
    spec = tiny_spec()
    parent = run(spec, workdir=tmp_path, epochs=3)
    inherited = run(
        spec,
        manual(default(spec).parameters, parent=0),
        epochs=1,
        parent=ParentWeights(
            default(spec).parameters, (tmp_path / "weights.safetensors").read_bytes(), parent.epochs
        ),
    )
    scratch = run(spec, epochs=1)
    assert inherited.epochs == 4
    assert inherited.curve[0].train_loss < scratch.curve[0].train_loss
    assert inherited.notes[0] == "inherited all weights of the same network"


def test_stop_and_resume_between_epochs_change_nothing(tmp_path):
    spec = tiny_spec("cnn", pruning={"method": "magnitude", "sparsity": 0.5})
    whole = run(spec, epochs=4)
    recorder = Recorder(stop_after=2)
    stopped = run(spec, epochs=4, reporter=recorder)
    assert stopped.state is TrialState.STOPPED
    rest = Recorder()
    resumed = run(spec, epochs=4, resume=recorder.checkpoints[-1], reporter=rest)
    assert [p.epoch for p in rest.points] == [3, 4], "the first two epochs are not trained again"
    assert resumed.notes == whole.notes
    assert resumed.values() == whole.values()
    assert [p.train_loss for p in resumed.curve] == [p.train_loss for p in whole.curve]


def test_without_quantization_the_network_stays_float():
    result = run(tiny_spec(quantization={"scheme": "none"}))
    quantized = run(tiny_spec())
    assert result.value("error") == result.value("float_error")
    assert result.value("model_size") > 3 * quantized.value("model_size")


def test_trial_seeds_differ_and_do_not_change():
    seeds = {trial_seed(seed, index) for seed in range(20) for index in range(200)}
    assert len(seeds) == 4000
    assert trial_seed(0, 0) == 713683445


def test_a_training_that_diverges_is_a_recorded_failure_with_its_costs():
    spec = tiny_spec(space={}, training={"learning_rate": 1e30, "optimizer": {"name": "sgd"}})
    result = run(spec)
    assert result.state is TrialState.FAILED
    assert result.failure.kind is FailureKind.INVALID
    assert "diverged in epoch 1" in result.failure.message
    assert result.value("model_size") > 0
    assert result.value("error") is None


@pytest.mark.parametrize(
    "damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"x" * 100]
)
def test_a_checkpoint_that_cannot_be_continued_is_left_aside(damage):
    recorder = Recorder(stop_after=1)
    run(tiny_spec(), reporter=recorder)
    resumed = run(tiny_spec(), resume=damage(recorder.checkpoints[-1]))
    assert resumed.state is TrialState.COMPLETED
    assert resumed.values() == run(tiny_spec()).values()
    assert "training restarted" in resumed.notes[0]


def test_a_checkpoint_of_another_training_is_left_aside():
    recorder, again = Recorder(stop_after=1), Recorder()
    run(tiny_spec(), reporter=recorder, seed=8)
    resumed = run(tiny_spec(), resume=recorder.checkpoints[-1], reporter=again)
    assert "training restarted" in resumed.notes[0] and "seed" in resumed.notes[0]
    assert [p.epoch for p in again.points] == [1, 2]
    assert resumed.values() == run(tiny_spec()).values()


def test_a_setting_that_does_not_go_with_the_network_fails_that_trial_alone():
    spec = tiny_spec("cnn", space={"batch_size": [1, 64]})
    result = run(spec, default(spec, batch_size=1))
    assert result.state is TrialState.FAILED and result.failure.kind is FailureKind.INVALID
    assert "training.batch_size = 1: at least 2 samples" in result.failure.message
    constant = run(tiny_spec("cnn", training={"batch_size": 1}))
    assert constant.state is result.state and constant.failure.kind is result.failure.kind
    assert constant.failure.message == result.failure.message


@pytest.mark.parametrize(
    ("step", "error", "kind", "words"),
    [
        (
            "pipeline.screening.planned_costs",
            KeyError("pad"),
            FailureKind.INVALID,
            "screen: KeyError: 'pad' (",
        ),
        ("pipeline.screening.build", SystemExit(3), FailureKind.INVALID, "build: SystemExit: 3 ("),
        (
            "pipeline.training_step.train",
            RuntimeError("boom"),
            FailureKind.FAULT,
            "train: RuntimeError: boom (",
        ),
        ("quantization.quantize", IndexError("7"), FailureKind.INVALID, "quantize: IndexError: 7 ("),
        ("quantization.quantize", MemoryError(), FailureKind.FAULT, "quantize: MemoryError"),
        (
            "pipeline.measuring.measured_costs",
            ZeroDivisionError("x"),
            FailureKind.INVALID,
            "measure: ZeroDivisionError: x (",
        ),
    ],
)
def test_whatever_a_step_raises_is_the_trials_failure_with_its_place(monkeypatch, step, error, kind, words):
    def broken(*args, **options):
        raise error

    monkeypatch.setattr(f"sparsemod.{step}", broken)
    result = run(tiny_spec(), epochs=1)
    assert result.state is TrialState.FAILED and result.failure.kind is kind
    assert result.failure.message.startswith(words)
    assert "test_trial_pipeline.py" in result.failure.message or "MemoryError" in words
    assert "in broken" in result.failure.detail
    # A trained candidate counts as a trial, with its costs; an untrained one does not.
    assert bool(result.measurements) == (words.split(":")[0] in ("quantize", "measure"))


@pytest.mark.parametrize(
    ("error", "words", "whole"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/tmp/x"), "No space left on device: /tmp/x", True),
        (DataMissing("faces", ["train.bin"], "/data"), "dataset 'faces': missing train.bin in /data", False),
        (ModuleNotFoundError("No module named 'timm'"), "No module named 'timm'", False),
        (RuntimeError("No CUDA GPUs are available"), "No CUDA GPUs are available", True),
        (ToolsMissing("arm-none-eabi-gcc is not installed"), "arm-none-eabi-gcc is not installed", False),
    ],
)
def test_a_missing_resource_gives_no_result(monkeypatch, error, words, whole):
    def broken(*args, **options):
        raise BuildError("cannot be built") from error

    monkeypatch.setattr("sparsemod.pipeline.training_step.train", broken)
    with pytest.raises(EnvironmentFailure, match=re.escape(words)) as raised:
        run(tiny_spec(), epochs=1)
    assert raised.value.whole is whole


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"network": {"family": "own"}}, "network.family = 'own': known: "),
        ({"source": {"name": "own", "points": 3}}, "source.name = 'own': known: grid, search"),
        (
            {"pipeline": ["build", "screen", "own", "train", "prune", "quantize", "measure"]},
            "pipeline.2 = 'own': known: build, ",
        ),
        ({"pruning": {"method": "own"}}, "pruning.method = 'own': known: "),
        ({"dataset": {"name": "faces"}}, "dataset.name = 'faces': known: "),
        (
            {"dataset": {"name": "npz", "options": {"path": "/nowhere/x.npz"}}},
            "missing x.npz in /nowhere",
        ),
    ],
)
def test_a_worker_without_the_specs_plugins_reports_an_environment_failure(tmp_path, change, words):
    from service.worker.trial_process import evaluate_job

    spec = ExperimentSpec.stored({**tiny_spec().to_dict(), **change})
    job = {
        "spec": spec.model_dump(mode="json"), "candidate": manual({}).model_dump(mode="json"), "epochs": 1, "seed": 0, "device": "cpu",
        "workdir": str(tmp_path),
    }  # fmt: skip
    with pytest.raises(EnvironmentFailure, match=re.escape(words)) as raised:
        evaluate_job(job, None)
    assert not raised.value.whole


def test_screening_attributes_a_candidates_error_to_the_candidate(monkeypatch):
    spec = tiny_spec()
    screen = Screen(Problem.of(spec, tiny_data(spec).info))

    def broken(*args, **options):
        raise KeyError("pad")

    monkeypatch.setattr("sparsemod.pipeline.screening.planned_costs", broken)
    with pytest.raises(
        BuildError, match=r"cannot be screened: KeyError: 'pad' \(test_trial_pipeline.py, line"
    ):
        screen.costs(default(spec).parameters)


def test_a_network_whose_sums_overflow_32_bits_is_a_recorded_failure(tmp_path, monkeypatch):
    (tmp_path / "overflowing.py").write_text(
        "import torch\nfrom torch import nn\n\n\nclass Wide:\n"
        "    def space(self, data):\n        return []\n\n"
        "    def build(self, parameters, data):\n"
        "        network = nn.Linear(80_000, 2)\n        torch.nn.init.ones_(network.weight)\n        return network\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    generator = np.random.default_rng(0)
    np.savez(tmp_path / "wide.npz", x=generator.random((30, 80_000), np.float32), y=np.arange(30) % 2)
    spec = tiny_spec(
        dataset={"name": "npz", "options": {"path": str(tmp_path / "wide.npz")}},
        network={"family": "overflowing:Wide"},
        space={},
        training={"learning_rate": 1e-9},
    )
    result = evaluate(spec, manual({}), epochs=1, seed=0, data=tiny_data(spec), imports=True)
    assert result.state is TrialState.FAILED and result.failure.kind is FailureKind.INVALID
    assert result.failure.message.startswith("the trained network cannot be quantized: ")


def test_the_spec_chooses_the_rule_of_activation_ranges(tmp_path):
    scales = {}
    for rule in ("min_max", "percentile", "mse"):
        spec = tiny_spec(quantization={"activation_ranges": rule})
        (tmp_path / rule).mkdir()
        result = run(spec, workdir=tmp_path / rule)
        network = IntegerNetwork.from_bytes((tmp_path / rule / "network.npz").read_bytes())
        assert result.state is TrialState.COMPLETED
        scales[rule] = network.tensors[network.output].scale
    assert scales["percentile"] < scales["min_max"] and scales["mse"] <= scales["min_max"]
    with pytest.raises(InvalidInput, match=r"quantization\.activation_ranges"):
        tiny_spec(quantization={"activation_ranges": "entropy"})
