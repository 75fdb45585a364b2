"""Trainings that start from stored weights: of a trial under another rule, of a file; what does not fit is named."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from sparsemod.errors import EnvironmentFailure, InvalidInput
from sparsemod.pipeline.local_run import LocalRun
from sparsemod.pipeline.problem import Problem
from sparsemod.pipeline.screening import build
from sparsemod.pipeline.stored_weights import load_into, stored_weights
from sparsemod.records import TrialState
from sparsemod.spec.experiment import ExperimentSpec

LAYERS = "conv 6 3, relu, max 2"


def spec(name, rule, layers=LAYERS, epochs=3, **training):
    return ExperimentSpec.parse(
        {
            "name": name, "dataset": {"name": "digits", "limit": 300}, "measure": {"device": "model"},
            "network": {"family": "sequence", "options": {"layers": layers}},
            "source": {"name": "grid", "values": {"rule": [rule]}, "epochs": epochs},
            "training": {"rule": rule, "batch_size": 50, "learning_rate": 0.01, **training},
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dfa")
    LocalRun(spec("dfa", "dfa", epochs=8), folder).run()
    return folder


def test_a_training_by_dfa_goes_on_by_backpropagation(first, tmp_path):
    run = LocalRun(spec("bp", "bp", epochs=1, learning_rate=1e-9, initial=f"{first}#0"), tmp_path)
    run.run()
    (trial,) = run.trials
    assert trial.result.state is TrialState.COMPLETED
    assert f"the training starts from {first}#0" in trial.result.notes
    (before,) = LocalRun(spec("dfa", "dfa", epochs=8), first).trials
    best = min(point.validation_error for point in before.result.curve)
    assert trial.result.curve[0].validation_error == pytest.approx(best, abs=0.05) and best < 0.6


def test_weights_come_from_a_file_too(first, tmp_path):
    weights = stored_weights(f"{first}#0", "training.initial")
    save_file(weights, tmp_path / "start.safetensors")
    same = stored_weights(str(tmp_path / "start.safetensors"), "training.initial")
    assert same.keys() == weights.keys() == load_file(tmp_path / "start.safetensors").keys()
    assert all(torch.equal(same[name], weights[name]) for name in weights)


@pytest.mark.parametrize(
    ("reference", "error", "words"),
    [
        ("{first}#7", InvalidInput, "one of the 1 trials"),
        ("{first}#last", InvalidInput, "the number of a trial"),
        ("{first}/nothing#0", EnvironmentFailure, "no folder of a local run"),
        ("{first}/nothing.safetensors", EnvironmentFailure, "no such file"),
        ("{first}/spec.json", InvalidInput, "a .safetensors file"),
    ],
)
def test_what_is_not_there_is_named(first, reference, error, words):
    with pytest.raises(error, match=words) as raised:
        stored_weights(reference.format(first=first), "training.initial")
    assert "training.initial" in str(raised.value)


def test_weights_of_another_network_are_refused(first):
    other = spec("other", "bp", layers="conv 7 3, relu, max 2")
    run_problem = Problem.of(other, LocalRun(spec("dfa", "dfa", epochs=8), first).data.info)
    module = build(run_problem, run_problem.space.complete({}), 0)
    with pytest.raises(InvalidInput, match="weights of this network") as raised:
        load_into(module, stored_weights(f"{first}#0", "training.initial"), "training.initial", "x")
    assert raised.value.field == "training.initial"
