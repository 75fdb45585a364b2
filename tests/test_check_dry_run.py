"""The dry run finds what is wrong before hours are spent."""

import pytest
from support_trials import tiny_spec

from sparsemod.check import check


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
        ({"training": {"augmentation": [{"name": "mirror"}]}}, "training", "augmentation.0.name = 'mirror'"),
    ],
)
def test_what_is_wrong_is_said(changes, subject, message):
    report = check(tiny_spec(**changes), candidates=1, draws=10)
    assert not report.ok
    finding = next(f for f in report.findings if f.level == "error")
    assert finding.subject == subject
    assert message in finding.message
