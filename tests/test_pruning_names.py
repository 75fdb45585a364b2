"""The names of torchprune's methods, and what each stands for."""

import pytest

from sparsemod.errors import InvalidInput
from sparsemod.pruning import METHODS
from sparsemod.spec.experiment import ExperimentSpec

NAMES = {
    "ALDSNet": {"method": "alds", "allocation": "error", "splits": (1, 2, 3, 4, 5), "schemes": (0,)},
    "ALDSNetErrorOnly": {"method": "alds", "allocation": "error", "splits": (3,)},
    "ALDSNetOne": {"method": "alds", "allocation": "error", "schemes": (0,)},
    "ALDSNetOptK": {"method": "alds", "allocation": "share"},
    "ALDSNetPlus": {"method": "alds", "schemes": (0, 1, 2, 3)},
    "ALDSNetSimple": {"method": "alds", "allocation": "rank", "splits": (3,)},
    "ALDSNetSimple5": {"method": "alds", "allocation": "rank", "splits": (5,)},
    "EllOneAndTwoNet": {"method": "norm_sampling", "norm": "both"},
    "EllOneNet": {"method": "norm_sampling", "norm": "l1"},
    "EllTwoNet": {"method": "norm_sampling", "norm": "l2"},
    "FakeNet": {"method": "none"},
    "FilterThresNet": {"method": "filters", "of": "weights"},
    "FilterUniNet": {"method": "random_filters", "of": "weights"},
    "LearnedRankNet": {"method": "learned_rank", "scheme": 1},
    "LearnedRankNetScheme0": {"method": "learned_rank", "scheme": 0},
    "MessiNet": {"method": "messi", "clusters": 3},
    "MessiNet5": {"method": "messi", "clusters": 5},
    "PCANet": {"method": "pca"},
    "PFPNet": {"method": "pfp", "form": "deterministic", "of": "weights"},
    "PFPNetRand": {"method": "pfp", "form": "random", "of": "weights"},
    "PFPNetTop": {"method": "pfp", "form": "top", "of": "weights"},
    "ReferenceNet": {"method": "none"},
    "SVDErrorNet": {"method": "svd_error"},
    "SVDFrobeniusNet": {"method": "svd_energy", "norm": "frobenius"},
    "SVDNet": {"method": "svd", "scheme": 0},
    "SVDNuclearNet": {"method": "svd_energy", "norm": "nuclear"},
    "SiPPNet": {"method": "sipp", "form": "deterministic"},
    "SiPPNetHybrid": {"method": "sipp", "form": "hybrid"},
    "SiPPNetRand": {"method": "sipp", "form": "random"},
    "SnipNet": {"method": "snip"},
    "SoftNet": {"method": "soft_filters", "of": "weights"},
    "ThiNet": {"method": "thinet", "of": "weights"},
    "ThresNet": {"method": "magnitude", "scope": "global"},
    "UniNet": {"method": "random_weights"},
}


def test_the_34_names_of_torchprune_resolve_with_their_settings() -> None:
    assert len(NAMES) == 34
    assert set(METHODS.aliases) == set(NAMES)
    for name, expected in NAMES.items():
        config = METHODS.read(name)
        assert {key: getattr(config, key) for key in expected} == expected, name
        if config.has("sparsity"):
            assert METHODS.read({"method": name, "sparsity": 0.9}).sparsity == 0.9


def test_a_spec_may_name_them_and_keeps_the_method() -> None:
    given = {"dataset": {"name": "digits"}, "network": {"family": "cnn"}}
    spec = ExperimentSpec.parse({**given, "pruning": {"method": "PFPNetTop", "sparsity": 0.7}})
    stored = spec.to_dict()["pruning"]
    assert stored["method"] == "pfp" and stored["form"] == "top" and stored["sparsity"] == 0.7
    assert ExperimentSpec.parse({**given, "pruning": "ALDSNet"}).pruning.method == "alds"


def test_given_keys_replace_those_of_the_name() -> None:
    assert METHODS.config("MessiNet", clusters=4).clusters == 4


def test_a_near_name_is_suggested() -> None:
    with pytest.raises(InvalidInput, match=r"near other names: .*SiPPNet"):
        METHODS.config("SiPNet")
    with pytest.raises(InvalidInput, match="did you mean magnitude"):
        METHODS.config("magnitud")
    with pytest.raises(InvalidInput, match="colour"):
        METHODS.config("SiPPNet", colour=1)
