"""Substitutes as a choice in a search space, through the whole pipeline to an exported network."""

import numpy as np
import pytest
import torch
from support_programs import needs_compiler
from support_trials import tiny_spec
from torch import nn

from sparsemod.errors import InvalidInput, InvalidSpec
from sparsemod.export.c import host_run
from sparsemod.networks.family import create_family
from sparsemod.pipeline.local_run import LocalRun
from sparsemod.pipeline.problem import Problem
from sparsemod.pipeline.substituted import deployable
from sparsemod.records import DataInfo, TrialState
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.substitutes import substitute
from sparsemod.substitutes.family import with_substitutes
from sparsemod.substitutes.layers import ChannelShuffle, Substituted

DIGITS = DataInfo(name="digits", shape=(1, 8, 8), classes=10)
CNN = {"family": "cnn", "options": {"max_blocks": 1, "max_layers": 2, "max_filters": 8, "max_kernel": 3}}
FIXED = {
    "blocks": 1, "b1_layers": 2, "b1_l1_type": "conv", "b1_l1_filters": 8, "b1_l1_kernel": 3, "b1_l2_type": "down",
    "b1_l2_filters": 8, "b1_l2_kernel": 3, "b1_pool": False, "head": "average", "dense": 0, "dropout": 0.0,
}  # fmt: skip


def cnn_spec(*choices, **changes):
    return tiny_spec(network={**CNN, "substitutes": list(choices), **changes.pop("network", {})}, **changes)


def test_the_space_gets_a_choice_and_the_networks_follow_it():
    family = with_substitutes(create_family("cnn", CNN["options"]), ["none", "Sep", "SepHashed_0.20"])
    space = family.space(DIGITS)
    assert space.parameter("substitute").values == ("none", "Sep", "SepHashed_0.2")
    for choice, count in (("none", 0), ("Sep", 1), ("SepHashed_0.2", 1)):
        net = family.build({**FIXED, "substitute": choice}, DIGITS)
        assert [m.substitute for m in net.modules() if isinstance(m, Substituted)] == [choice] * count
    assert family.morphisms == "cnn with substitutes"


def test_a_search_over_substitutes_trains_measures_and_states_both_deployments(tmp_path):
    rounds = {
        "r1": {"trials": 4, "epochs": 1},
        "r2": {"trials": 0, "epochs": 1},
        "r3": {"trials": 0, "epochs": 1},
    }
    spec = cnn_spec("none", "Sep", "Hashed_0.2", "Shuffle_2", space=FIXED, rounds=rounds)
    run = LocalRun(spec, tmp_path)
    outcome = run.run()
    assert all(t.result.state is TrialState.COMPLETED for t in run.trials)
    chosen = {t.candidate.parameters["substitute"] for t in run.trials}
    assert len(chosen) >= 3
    for trial in run.trials:
        notes = [note for note in trial.result.notes if note.startswith("substitutes deployed")]
        if trial.candidate.parameters["substitute"] == "none":
            assert not notes
        else:
            (note,) = notes
            own, full = note.split("; reconstructed as full convolutions: ")
            for words in (own, full):
                assert all(f"{name} " in words for name in ("flash", "ram", "instructions"))
    assert outcome.files["pareto.json"].exists()


@pytest.mark.parametrize("name", ["Shuffle_4", "Monarch_4"])
def test_a_shuffle_is_folded_into_a_full_convolution_for_deployment(name):
    torch.manual_seed(4)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3),
        nn.Conv2d(8, 16, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    ).eval()
    substitute(net, name)
    x = torch.randn(3, 1, 8, 8)
    ready = deployable(net, (1, 8, 8), None)
    torch.testing.assert_close(ready(x), net(x))
    if ready is not net:
        assert not any(isinstance(part, ChannelShuffle) for part in ready.modules())
    assert deployable(ready, (1, 8, 8), None) is ready


@needs_compiler
@pytest.mark.parametrize("name", ["SepHashed_0.3", "Shuffle_4", "TensorTrain_0.8", "ACDC_4"])
def test_substituted_networks_go_to_integers_and_c(name):
    from sparsemod.quantization import quantize
    from sparsemod.spec.methods import SCHEMES

    torch.manual_seed(5)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4),
    ).eval()  # fmt: skip
    substitute(net, name)
    ready = deployable(net, (1, 8, 8), None)
    samples = torch.rand(32, 1, 8, 8)
    network = quantize(ready, samples, SCHEMES.config("static"), None)
    with torch.no_grad():
        wanted = net(samples).numpy()
    assert np.abs(network.logits(samples.numpy()) - wanted).max() < 0.15 * np.abs(wanted).max()
    inputs = network.quantize_input(samples.numpy()[:4])
    assert np.array_equal(host_run(network, inputs), network.run(inputs))


@pytest.mark.parametrize(
    ("choices", "skip", "field", "words"),
    [
        (["Sepp"], None, "network.substitutes.0", "Sep"),
        (["Sep", "Hashed_2"], None, "network.substitutes.1", "up to 1"),
        (["Sep", "Sep"], None, "network.substitutes.1", "each substitute once"),
        ([], ["stem"], "network.substitutes_skip", "only with network.substitutes"),
    ],
)
def test_mistakes_in_a_spec_name_the_key(choices, skip, field, words):
    data = tiny_spec().to_dict()
    data["network"] = {**CNN, "substitutes": choices, "substitutes_skip": skip}
    with pytest.raises(InvalidSpec, match=words) as raised:
        Problem.of(ExperimentSpec.parse(data), DIGITS)
    assert raised.value.field == field


def test_a_pattern_without_a_layer_is_an_invalid_candidate():
    family = with_substitutes(create_family("cnn", CNN["options"]), ["Sep"], ["nowhere"])
    with pytest.raises(InvalidInput, match="substitutes_skip"):
        family.build({**FIXED, "substitute": "Sep"}, DIGITS)
