"""The dry run finds mistakes before hours are spent."""

import re
import sys

import numpy as np
import pytest
from support_trials import manual, tiny_data, tiny_spec
from torch import nn

from sparsemod.networks import FAMILIES
from sparsemod.networks.family import family
from sparsemod.pipeline.dry_run import check
from sparsemod.pipeline.trial import evaluate
from sparsemod.records import TrialState


@pytest.mark.parametrize("pruning", ["none", "magnitude", "filters"])
@pytest.mark.parametrize("family", ["mlp", "cnn"])
def test_a_good_spec_goes_through(family, pruning):
    report = check(
        tiny_spec(family, pruning={"method": pruning}, budgets=["flash <= 60 KB"]), candidates=2, draws=10
    )
    assert report.ok, report.findings
    assert [tried.problem for tried in report.tried] == [None, None]
    assert not any("in none of the networks" in finding.message for finding in report.findings)
    assert all(tried.epoch_seconds > 0 and tried.costs["model_size"] > 0 for tried in report.tried)
    subjects = [finding.subject for finding in report.findings]
    assert [s for s in dict.fromkeys(subjects)] == ["data", "space", "budgets", "trial", "time"]


@pytest.mark.parametrize(
    ("changes", "subject", "message"),
    [
        ({"dataset": {"name": "colours"}}, "data", "dataset.name = 'colours': known: cifar10"),
        ({"network": {"family": "rmn"}}, "space", "network.family = 'rmn': known: "),
        ({"network": {"family": "mlp", "options": {"colour": 1}}}, "space", "network.options.colour = 1"),
        ({"space": {"colour": 1}}, "space", "space.colour = 'colour': a parameter of family mlp"),
        (
            {"budgets": ["flash <= 10 B"], "search": {"max_draws": 25}},
            "budgets",
            "0 of 25 random candidates are feasible",
        ),
        ({"target": {"device": "abacus"}}, "budgets", "abacus"),
        (
            {"training": {"augmentation": [{"name": "cutout", "size": 9}]}},
            "training",
            "augmentation.0.size = 9",
        ),
    ],
)
def test_findings_name_each_mistake(changes, subject, message):
    report = check(tiny_spec(**changes), candidates=1, draws=10)
    assert not report.ok
    finding = next(f for f in report.findings if f.level == "error")
    assert finding.subject == subject
    assert message in finding.message


OWN = """
import torch
from torch import nn
from sparsemod.networks.family import family
from sparsemod.space.parameters import Integer


class Net(nn.Module):
    def __init__(self, width, classes):
        super().__init__()
        self.convolution = nn.Conv2d(1, width, 3)
        self.classifier = nn.Linear(width * 36, classes)

    def forward(self, x):
        x = torch.relu(self.convolution(x))
        return self.classifier(x.view(x.size(0), -1))


class Breaking(Net):
    def forward(self, x):
        if self.training:
            raise RuntimeError("not in training")
        return super().forward(x)


@family("viewing_test", space=[Integer("width", 2, 8)])
def viewing(parameters, data):
    return Net(parameters["width"], data.classes)


class Ordered(nn.Module):
    def forward(self, x):
        return x.sort(1).values


class Smooth(Net):
    def __init__(self, width, classes):
        super().__init__(width, classes)
        self.act = Ordered() if width > 4 else nn.ReLU()
        self.width = width

    def forward(self, x):
        x = self.act(self.convolution(x))
        if self.width > 4:
            x = x.cumsum(2)
        return self.classifier(x.flatten(1))


@family("smooth_test", space=[Integer("width", 2, 8)])
def smooth(parameters, data):
    return Smooth(parameters["width"], data.classes)


@family("breaking_test", space=[Integer("width", 2, 8)])
def breaking(parameters, data):
    return Breaking(parameters["width"], data.classes)
"""


UNREAD = """
import copy, json, math
from torch import nn
from sparsemod.networks.family import family
from sparsemod.space.parameters import Categorical, Condition, Fixed, Integer, Real

SPACE = [
    Integer("width", 2, 8),
    Real("leak", 0.1, 0.9),
    Real("slack", 0.1, 0.9),
    Fixed("bits", 8),
    Integer("dead", 1, 2, when=(Condition(parameter="width", values=(2, 3, 4, 5, 6, 7, 8)),)),
]


def net(width, data):
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(data.shape), width), nn.ReLU(), nn.Linear(width, data.classes))


@family("some_test", space=SPACE)
def some(parameters, data):
    assert "leak" in parameters and len(list(parameters)) == 5 and isinstance(parameters, dict)
    parameters.get("dead")
    return net(parameters["width"], data)


def keywords(width, leak, slack, bits, dead):
    return width


WAYS = {
    "copied": lambda p: dict(p)["width"],
    "keywords": lambda p: keywords(**p),
    "spread": lambda p: {**p}["width"],
    "items": lambda p: [value for name, value in p.items() if name == "width"][0],
    "values": lambda p: list(p.values())[0],
    "copy": lambda p: p.copy()["width"],
    "copy.copy": lambda p: copy.copy(p)["width"],
    "deepcopy": lambda p: copy.deepcopy(p)["width"],
    "json": lambda p: json.loads(json.dumps(p))["width"],
    "or": lambda p: (p | {"more": 1})["width"],
    "update": lambda p: (lambda held: held.update(p) or held)({})["width"],
}


@family("whole_test", space=SPACE)
def whole(parameters, data, way="copied"):
    return net(WAYS[way](parameters), data)
"""


@pytest.fixture
def unread(tmp_path, monkeypatch):
    (tmp_path / "dry_run_unread.py").write_text(UNREAD)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "dry_run_unread", raising=False)
    FAMILIES.names()
    monkeypatch.setattr(FAMILIES, "_members", dict(FAMILIES._members))


def unread_of(**network):
    report = check(tiny_spec(network=network, space={}, rounds=ONE_ROUND), candidates=1, draws=2)
    assert report.ok, report.findings
    return [f.message for f in report.findings if f.level == "warning" and "reads" in f.message]


ONE_ROUND = {
    "r1": {"trials": 1, "epochs": 1},
    "r2": {"trials": 0, "epochs": 1},
    "r3": {"trials": 0, "epochs": 1},
}


@pytest.mark.usefixtures("unread")
def test_a_searched_parameter_that_nothing_reads_is_named():
    (words,) = unread_of(family="dry_run_unread:some")
    assert words.startswith("family some_test reads leak, slack in none of the tried networks")


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize(
    "way",
    [
        "copied",
        "keywords",
        "spread",
        "items",
        "values",
        "copy",
        "copy.copy",
        "deepcopy",
        "json",
        "or",
        "update",
    ],
)
def test_a_family_that_takes_all_parameters_together_has_read_them(way):
    assert unread_of(family="dry_run_unread:whole", options={"way": way}) == []


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "dry_run_networks.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "dry_run_networks", raising=False)
    FAMILIES.names()
    monkeypatch.setattr(FAMILIES, "_members", dict(FAMILIES._members))  # keep them out of other tests


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize("pruning", ["none", "filters"])
def test_a_network_of_one_s_own_may_view_its_feature_maps(pruning):
    network = {"family": "dry_run_networks:viewing"}
    spec = tiny_spec(network=network, pruning={"method": pruning}, space={})
    assert check(spec, candidates=1, draws=4).ok
    result = evaluate(spec, manual({"width": 4}), epochs=2, seed=0, data=tiny_data(spec), imports=True)
    assert result.state is TrialState.COMPLETED, result.failure


@pytest.mark.usefixtures("own")
def test_a_network_that_breaks_in_training_is_reported_with_its_line():
    report = check(
        tiny_spec(network={"family": "dry_run_networks:breaking"}, space={}), candidates=1, draws=4
    )
    assert not report.ok
    found = [finding.message for finding in report.findings if finding.level == "error"]
    assert len(found) == 1
    assert found[0].startswith(
        "RuntimeError: not in training (dry_run_networks.py, line 22) with {'width': 5}"
    )


@pytest.mark.usefixtures("own")
def test_draws_that_cannot_be_deployed_are_listed_with_all_their_operators():
    spec = tiny_spec(network={"family": "dry_run_networks:smooth"}, space={})
    report = check(spec, candidates=1, draws=12)
    refused = [f for f in report.findings if f.subject == "space" and f.level == "warning"]
    assert len(refused) == 1, report.findings
    assert re.match(r"\d+ of 12 draws cannot be built or deployed: ", refused[0].message)
    operators = r"'sort' at layer 'act', dry_run_networks\.py, line \d+ \(.*\); nor 'cumsum' at layer 'forward', dry_run"
    assert re.search(operators, refused[0].message), refused[0].message
    assert {"budgets", "trial"} <= {f.subject for f in report.findings}, "the dry run goes on"


@pytest.mark.usefixtures("own")
def test_a_space_of_which_nothing_can_be_deployed_is_an_error():
    spec = tiny_spec(network={"family": "dry_run_networks:smooth"}, space={"width": {"low": 5, "high": 8}})
    report = check(spec, candidates=1, draws=3)
    found = [f.message for f in report.findings if f.level == "error"]
    assert found[0].startswith("3 of 3 draws cannot be built or deployed: capture does not support"), found


def test_groups_and_an_odd_layout_are_mentioned(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "a.npz",
        x=rng.normal(size=(240, 8, 6, 3)),
        y=np.arange(240) % 2,
        groups=np.repeat(np.arange(12), 20),
    )
    dataset = {"name": "npz", "options": {"path": str(tmp_path / "a.npz"), "layout": "channels_last"}}
    report = check(tiny_spec(dataset=dataset), candidates=1, draws=2)
    assert any(
        "whole groups in each split: 8 train, 2 validation, 2 test" in f.message for f in report.findings
    )
    (tmp_path / "odd_shapes.py").write_text(
        "import numpy as np\nfrom sparsemod.data import Arrays\n\n"
        "def images(root):\n    return Arrays(np.random.default_rng(0).normal(size=(60, 8, 6, 3)), np.arange(60) % 2)\n"
    )
    sys.path.insert(0, str(tmp_path))
    try:
        report = check(tiny_spec(dataset={"name": "odd_shapes:images"}), candidates=1, draws=2)
    finally:
        sys.path.remove(str(tmp_path))
    assert any(f.level == "warning" and f.message.startswith("8 channels of 6 x 3?") for f in report.findings)


def test_networks_that_are_too_deep_are_warnings_beside_others_that_run(monkeypatch):
    """A SpArSeMod space has networks too deep for small images; a search goes on after them."""
    FAMILIES.names()
    monkeypatch.setattr(FAMILIES, "_members", dict(FAMILIES._members))
    depths = []

    @family("often-too-deep", space={"depth": list(range(1, 6))})
    def build(parameters, data):
        depths.append(parameters["depth"])
        if parameters["depth"] > 1:
            raise RuntimeError("output size is too small")
        return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(data.shape)), data.classes))

    report = check(tiny_spec("often-too-deep", pruning={"method": "none"}), candidates=2, draws=40)
    assert report.ok, report.findings
    assert [tried.problem for tried in report.tried] == [None, None]
    assert max(depths) > 1 and all(tried.parameters["depth"] == 1 for tried in report.tried)
    warned = [finding.message for finding in report.findings if finding.level == "warning"]
    assert any("draws cannot be built" in message and "too small" in message for message in warned)
