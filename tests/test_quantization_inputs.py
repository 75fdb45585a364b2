"""Rules of activation ranges against exact values, and inputs that `quantize` rejects."""

import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from sparsemod.errors import BuildError, InvalidInput
from sparsemod.graph import capture, deployed
from sparsemod.measure import costs
from sparsemod.pruning import shrink
from sparsemod.quantization import quantize
from sparsemod.quantization.ranges import RANGES
from sparsemod.quantization.static import RULES
from sparsemod.targets import device


def span(rule, values):
    """Return the range that a rule with its defaults gives for some values."""
    return RANGES.create(RANGES.config(rule)).span(values)


def test_range_rules_on_an_outlier():
    values = np.append(np.random.default_rng(0).normal(size=100_000), 50.0).astype(np.float32)
    assert span("min_max", values)[1] == 50
    assert 3 < span("percentile", values)[1] < 6
    assert span("mse", values)[1] <= 50


def exact_mse(values):
    """The rule of the smallest squared error, over every value by itself."""
    low, high = min(values.min(), 0.0), max(values.max(), 0.0)

    def loss(factor):
        step = (high - low) * factor / 255
        return np.square(np.clip(np.rint(values / step) * step, low * factor, high * factor) - values).mean()

    best = min((round(1 - 0.05 * i, 2) for i in range(15)), key=loss)
    return low * best, high * best


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_range_rules_see_every_channel(channels):
    """65,536 rows of small values, with one channel of values up to 37: no sampling may miss it."""
    rng = np.random.default_rng(channels)
    values = rng.uniform(-0.38, 0.38, (65_536, channels))
    values[:, -1] = rng.uniform(0, 37, 65_536)
    values = values.astype(np.float32).ravel()
    for rule, exact in (
        ("min_max", (values.min(), values.max())),
        ("percentile", np.quantile(values.astype(np.float64), (0.0001, 0.9999))),
        ("mse", exact_mse(values.astype(np.float64))),
    ):
        low, high = span(rule, values)
        assert (low, high) == (pytest.approx(exact[0], rel=1e-5), pytest.approx(exact[1], rel=1e-5)), rule
        assert high > 35


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_mse_equals_the_exact_rule(scale):
    rng = np.random.default_rng(3)
    relu = np.maximum(rng.normal(size=50_000), 0)
    for values in (relu, rng.standard_t(3, 50_000), rng.uniform(10, 11, 5_000), np.append(relu, 90.0)):
        values = (values * scale).astype(np.float32)
        low, high = span("mse", values)
        expected = exact_mse(values.astype(np.float64))
        assert (low, high) == (pytest.approx(expected[0]), pytest.approx(expected[1]))
    assert span("mse", np.zeros(5, np.float32)) == (0, 0)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (lambda: np.zeros((3, 4)), r"network = 'numpy.ndarray': a torch.nn.Module or a captured graph"),
        (lambda: {"weight": torch.zeros(2, 4)}, r"network = 'dict': a torch.nn.Module"),
        (lambda: nn.Linear, r"network = 'the class Linear': an instance"),
        (lambda: DataLoader(TensorDataset(torch.zeros(3, 4))), r"network = 'torch.DataLoader'"),
        (lambda: None, r"network = 'NoneType'"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_objects_that_are_not_networks_get_an_error(network, message):
    with pytest.raises(InvalidInput, match=message):
        quantize(network(), torch.zeros(3, 4))
    if network() is not None:
        with pytest.raises(InvalidInput, match=message):
            capture(network(), (4,))


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (lambda: np.zeros((3, 4)), r"samples = 'a numpy array': .*torch\.from_numpy"),
        (lambda: DataLoader(TensorDataset(torch.zeros(3, 4))), r"'torch.DataLoader': .*of one batch"),
        (lambda: [torch.zeros(4)], r"samples = \(4,\): shape \(N, "),
        (list, r"samples = 'list': a float torch tensor"),
        (lambda: {"input": np.zeros((3, 4))}, r"samples = 'a numpy array'"),
        (lambda: torch.zeros(4), r"samples = \(4,\): shape \(N, "),
        (lambda: torch.zeros(3, 4, dtype=torch.uint8), r"samples = 'torch\.uint8': dense floats"),
    ],
)
def test_objects_that_are_not_samples_get_an_error(samples, message):
    with pytest.raises(InvalidInput, match=message):
        quantize(nn.Linear(4, 2), samples())


@pytest.mark.parametrize("stage", ["the cost model", "deployment", "pruning"])
def test_a_fault_inside_a_judging_stage_is_the_network_s(stage, monkeypatch):
    def faulty(*arguments, **options):
        raise ZeroDivisionError("no such part")

    graph = capture(nn.Linear(4, 2), (4,))
    match stage:
        case "the cost model":
            monkeypatch.setattr(sys.modules["sparsemod.measure.costs"], "plan", faulty)
            call = lambda: costs(deployed(graph), device("nrf52840"))
        case "deployment":
            monkeypatch.setattr(sys.modules["sparsemod.graph.deployed"], "_fuse_activations", faulty)
            call = lambda: deployed(graph)
        case _:
            monkeypatch.setattr(sys.modules["sparsemod.pruning.shrinking"], "capture_one", faulty)
            call = lambda: shrink(nn.Linear(4, 2), (4,))
    with pytest.raises(
        BuildError, match=rf"{stage} raised ZeroDivisionError: no such part \(test_quant\w+\.py, line \d+\)"
    ):
        call()


def test_a_fault_inside_quantization_names_stage_type_and_place(monkeypatch):
    RULES.names()  # the built-in ones first
    monkeypatch.setitem(RULES._members, "linear", lambda build, operator: build.tensors["lost"])
    with pytest.raises(BuildError, match=r"quantization raised KeyError: 'lost' \(test_quant\w+\.py, line"):
        quantize(nn.Linear(4, 2), torch.zeros(3, 4))
