"""Families behind a front end: their space, their networks, and an experiment from the spec to C."""

from pathlib import Path

import numpy as np
import pytest
import torch
from support_programs import needs_compiler

import sparsemod as sm
from sparsemod.data.sources.gestures import gestures
from sparsemod.data.sources.sounds import sounds
from sparsemod.errors import BuildError, InvalidInput, InvalidSpec
from sparsemod.export.c import generate
from sparsemod.export.c.host import host_run
from sparsemod.networks.family import Family, create_family
from sparsemod.networks.front_end import with_front_end
from sparsemod.networks.front_ends.base import FRONT_ENDS
from sparsemod.pipeline.problem import Problem
from sparsemod.quantization import IntegerNetwork, quantize
from sparsemod.records import DataInfo
from sparsemod.spec.experiment import ExperimentSpec

SOUND = DataInfo(name="sounds", shape=(1, 4000), classes=6)
MOTION = DataInfo(name="gestures", shape=(256, 3), classes=5, layout="time-features")
SHORT = {"rate": 8000.0, "window": [128, 200], "hop": [160, 250], "bands": [12]}


def behind(family: str, front_end: str, options: dict, **keys: object) -> Family:
    return with_front_end(
        create_family(family, options), FRONT_ENDS.create(FRONT_ENDS.config(front_end, **keys))
    )


CASES = [
    ("cnn", "mel", {"max_blocks": 1, "max_filters": 6}, SHORT, SOUND),
    ("cnn1d", "mfcc", {"max_blocks": 1, "max_filters": 6}, {**SHORT, "coefficients": [6]}, SOUND),
    ("mlp", "mel", {"max_width": 16}, SHORT, SOUND),
    (
        "cnn1d",
        "motion",
        {"max_blocks": 1, "max_layers": 1, "max_filters": 6},
        {"window": [64], "bands": [4]},
        MOTION,
    ),
    ("rnn", "motion", {"max_units": 12, "max_layers": 1, "bidirectional": False}, {"bands": [0]}, MOTION),
]


@needs_compiler
@pytest.mark.parametrize(("family", "front_end", "options", "keys", "info"), CASES)
def test_a_family_behind_a_front_end(family: str, front_end: str, options, keys, info: DataInfo) -> None:
    chosen = behind(family, front_end, options, **keys)
    data = (sounds if info is SOUND else gestures)(None, per_class=3)
    info = info.model_copy(update={"sequences": family == "rnn"})
    x = torch.from_numpy(np.asarray(data.x, np.float32))
    parameters = chosen.space(info).sample(np.random.default_rng(1))
    torch.manual_seed(0)
    module = chosen.build(parameters, info)
    assert module.train()(x).shape == (len(x), info.classes)
    lengths = torch.full((len(x),), x.shape[1]) if module.uses_lengths else None
    network = quantize(module.eval(), x, layout=info.layout, lengths=lengths)
    assert isinstance(network, IntegerNetwork) and network.tensors[network.input].bits == 16
    given = network.quantize_input(x)
    assert np.array_equal(host_run(network, given), network.run(given))
    assert (family == "rnn") == (generate(network).parts.streaming is not None) == network.uses_lengths


def test_the_lists_are_parameters_of_the_space() -> None:
    space = behind("cnn1d", "mfcc", {}, **SHORT, coefficients=[4, 8]).space(SOUND)
    assert space.names[:5] == ("front_window", "front_hop", "front_bands", "front_coefficients", "blocks")
    assert space.parameter("front_hop").values == (160, 250) and space.parameter("front_bands").value == 12


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"network.front_end.coefficients = \[13\]: at most 10"):
        behind("cnn1d", "mfcc", {}, bands=[10, 20]).space(SOUND)
    with pytest.raises(InvalidInput, match=r"network.front_end.window = \[64, 64\]: different numbers"):
        behind("cnn1d", "mel", {}, window=[64, 64]).space(SOUND)
    with pytest.raises(InvalidInput, match=r"network.front_end.hop = 5000: at most the 4000 samples"):
        behind("cnn1d", "mel", {}, hop=[5000]).space(SOUND)
    with pytest.raises(InvalidInput, match="needs samples of layout channels-length"):
        behind("cnn", "mel", {}).space(DataInfo(name="digits", shape=(1, 8, 8), classes=10))
    narrow = behind("mlp", "mel", {}, window=[32], bands=[30], rate=8000.0)
    with pytest.raises(BuildError, match="front end mel: bands = 30"):
        narrow.build(narrow.space(SOUND).sample(np.random.default_rng(0)), SOUND)


SPEC = {
    "version": 2,
    "dataset": {"name": "sounds", "options": {"per_class": 8, "normalization": "none"}},
    "network": {
        "family": "cnn1d",
        "options": {"max_blocks": 1, "max_layers": 1, "max_filters": 6, "max_dense": 0},
        "front_end": {"name": "mfcc", "rate": 8000.0, "window": [128, 256], "hop": [160, 250], "bands": 16, "coefficients": [8]},
    },
    "space": {"front_hop": [250]},
    "source": {"name": "search", "rounds": {"r1": {"trials": 2, "epochs": 1}, "r2": {"trials": 0, "epochs": 1}, "r3": {"trials": 0, "epochs": 1}}},
    "objectives": ["error", "flash"],
}  # fmt: skip


def test_a_spec_names_keys_of_the_front_end() -> None:
    spec = ExperimentSpec.parse(SPEC)
    assert ExperimentSpec.parse(spec.to_dict()) == spec
    assert Problem.of(spec, SOUND).space.parameter("front_hop").values == (250,)
    for key, value in (("window", 1), ("hop", "x"), ("bands", [16, 200])):
        wrong = {**SPEC, "network": {**SPEC["network"], "front_end": {"name": "mfcc", key: value}}}
        with pytest.raises(InvalidSpec, match=rf"network.front_end.{key}.\d = "):
            ExperimentSpec.parse(wrong)
    wrong = {**SPEC, "network": {**SPEC["network"], "front_end": {"name": "mfcc", "hops": [1]}}}
    with pytest.raises(InvalidSpec, match=r"network.front_end.hops = .*unknown key"):
        ExperimentSpec.parse(wrong)


@needs_compiler
def test_an_experiment_from_the_spec_to_c(tmp_path: Path) -> None:
    results = sm.run(ExperimentSpec.parse(SPEC), tmp_path / "run")
    best = results.front[0]
    exported = best.export(tmp_path / "made", ["c"])
    assert exported.reports[0].verifications[0].largest_difference == 0
    assert any("const int16_t *input" in header.read_text() for header in (tmp_path / "made").rglob("*.h"))
    network, x = best.network(), np.asarray(sounds(None, per_class=8).x[:6])
    given = network.quantize_samples(x)
    assert given.dtype == np.int16 and np.abs(given * 2.0**-15 - x).max() <= 2.0**-16
    assert np.array_equal(host_run(network, given), network.run(given))
