"""The dry run finds what is wrong before hours are spent."""

import sys

import pytest
from support_trials import manual, tiny_data, tiny_spec

from sparsemod.networks import FAMILIES
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
    assert all(tried.epoch_seconds > 0 and tried.costs["model_size"] > 0 for tried in report.tried)
    subjects = [finding.subject for finding in report.findings]
    assert [s for s in dict.fromkeys(subjects)] == ["data", "space", "budgets", "trial", "time"]


@pytest.mark.parametrize(
    ("changes", "subject", "message"),
    [
        ({"dataset": {"name": "colours"}}, "data", "dataset.name = 'colours': known: cifar10"),
        ({"network": {"family": "rnn"}}, "space", "network.family = 'rnn': known: cnn, mlp"),
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
def test_what_is_wrong_is_said(changes, subject, message):
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


@family("breaking_test", space=[Integer("width", 2, 8)])
def breaking(parameters, data):
    return Breaking(parameters["width"], data.classes)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "dry_run_networks.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "dry_run_networks", raising=False)
    FAMILIES.names()
    monkeypatch.setattr(FAMILIES, "_members", dict(FAMILIES._members))  # other tests shall not know these


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
