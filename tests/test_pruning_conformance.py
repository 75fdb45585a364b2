"""What every pruning method must hold on a network that is pruned, retrained, quantized and exported, by every name.

A member gets these tests by being registered.
"""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from support_pruning import context, seeded
from torch import Tensor, nn
from torch.nn import functional

from sparsemod.export.c.host import host_run_all
from sparsemod.graph import capture, deployed
from sparsemod.measure import costs
from sparsemod.measure.encodings import EncodingGoal
from sparsemod.pruning import METHODS
from sparsemod.pruning.low_rank.layers import Decomposed
from sparsemod.pruning.weights import prunable_weights
from sparsemod.quantization import SCHEMES, IntegerNetwork, quantize
from sparsemod.targets import device

pytestmark = pytest.mark.slow

pytestmark = pytest.mark.slow(every=4)

SPARSITY, DEVICE = 0.6, "stm32f446"


class Small(nn.Module):
    """A residual network with 12,752 weights, a depthwise convolution and a linear layer."""

    shape = (3, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.first = nn.Conv2d(16, 24, 3, padding=1)
        self.inner = nn.BatchNorm2d(24)
        self.second = nn.Conv2d(24, 16, 3, padding=1)
        self.wide = nn.Conv2d(16, 16, 3, stride=2, padding=1, groups=16)
        self.point = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm(self.stem(x)))
        x = functional.relu(x + self.second(functional.relu(self.inner(self.first(x)))))
        x = functional.relu(self.point(self.wide(x)))
        return self.head(functional.adaptive_avg_pool2d(x, 1).flatten(1))


def weights_of(module: nn.Module) -> int:
    return sum(w.numel() for w in prunable_weights(module).values())


TOTAL = weights_of(Small())
NAMES = [*METHODS.names(), *METHODS.aliases]


@dataclass(frozen=True, eq=False)
class Outcome:
    """A method after the retraining of a network. `zeros`: those of `small`'s weights that count as pruned."""

    method: Any
    module: nn.Module
    small: nn.Module
    plan: Any

    @property
    def kept(self) -> int:
        """The weights left: those of the smaller network without those that are zero."""
        return sum(int(w.count_nonzero()) for w in prunable_weights(self.small).values())


def configured(name: str) -> Any:
    config = METHODS.read(name)
    keys: dict[str, Any] = {"sparsity": SPARSITY} if "sparsity" in type(config).model_fields else {}
    if "of" in type(config).model_fields:
        keys["of"] = "weights"
    return METHODS.create(METHODS.read({"method": name, **keys}))


def retrained(name: str, seed: int = 0) -> Outcome:
    """The network pruned at once and trained for some steps in which momentum and decay work against the masks."""
    module, method = seeded(Small), configured(name)
    plan = method.plan(
        capture(module, Small.shape), getattr(method.config, "sparsity", 0.0), module.state_dict()
    )
    held = context(module, Small.shape, samples=16)
    method.start(type(held)(module, held.samples, held.loss, seed))
    method.before_epoch(1, 1)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-3)
    x, y = held.samples.slice(0, 16)
    for _ in range(3):
        module.train()
        optimizer.zero_grad()
        held.loss(module(x), y).backward()
        optimizer.step()
        method.after_step()
    assert method.at_target
    method.finish()
    small = method.transform(module.eval(), Small.shape)
    return Outcome(method, module, small, plan)


@functools.cache
def outcome(name: str) -> Outcome:
    return retrained(name)


@functools.cache
def integer(name: str) -> IntegerNetwork:
    samples = torch.randn(16, *Small.shape, generator=torch.Generator().manual_seed(1))
    network = quantize(outcome(name).small, samples, SCHEMES.config("static"))
    assert isinstance(network, IntegerNetwork)
    return network


@pytest.mark.parametrize("name", NAMES)
def test_the_wanted_share_of_the_weights_stays_through_retraining(name: str) -> None:
    found = outcome(name)
    wanted = getattr(found.method.config, "sparsity", 0.0)
    if name == "lottery_ticket":  # rates of layers and rounds decide
        wanted = found.plan.zeros / TOTAL
    assert found.method.sparsity == pytest.approx(1 - found.kept / TOTAL, abs=2e-3)
    if abs(found.kept / TOTAL - (1 - wanted)) > 0.005:
        assert f"nearest reachable share to {wanted:g}" in " ".join(found.method.notes)
    else:
        assert not found.method.notes


@pytest.mark.parametrize("name", NAMES)
def test_the_smaller_network_computes_the_same_and_is_the_planned_one(name: str) -> None:
    found = outcome(name)
    x = torch.randn(5, *Small.shape, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        torch.testing.assert_close(found.small(x), found.module(x), rtol=1e-4, atol=1e-4)
    graph = capture(found.small, Small.shape)
    if found.plan.exact:
        assert dict(found.plan.graph.shapes) == dict(graph.shapes)
    physical = weights_of(found.small)
    chains = [part for part in found.module.modules() if isinstance(part, Decomposed)]
    if chains:
        assert physical - sum(int(zeros.sum()) for chain in chains for zeros in chain.zeros.values()) < TOTAL
    else:
        assert physical <= TOTAL
    if found.small is not found.module:  # filters are gone
        assert physical == found.kept < TOTAL


@pytest.mark.parametrize("name", NAMES)
def test_the_integer_network_keeps_the_zeros_and_its_costs_are_stated(name: str) -> None:
    network, found = integer(name), outcome(name)
    assert network.nonzeros() <= found.kept
    graph = deployed(capture(found.small, Small.shape))
    # Where instructions count too, a layer may keep its own kernel, which reads dense weights.
    goal = EncodingGoal(core=device(DEVICE).model, instructions=False)
    stated = costs(graph, device(DEVICE), nonzeros=network.layer_nonzeros(), goal=goal)
    reference = costs(deployed(capture(seeded(Small), Small.shape)), device(DEVICE), goal=goal)
    for metric in ("flash", "ram", "instructions", "parameters", "nonzeros"):
        assert stated[metric].value > 0
    if found.kept < TOTAL:
        assert stated["nonzeros"].value < reference["nonzeros"].value
        assert stated["flash"].value <= reference["flash"].value
    if found.kept < TOTAL / 2:  # with few zeros, no sparse encoding pays
        assert stated["flash"].value < reference["flash"].value


def test_the_exported_c_of_every_method_computes_the_integer_network() -> None:
    names = METHODS.names()
    x = torch.randn(2, *Small.shape, generator=torch.Generator().manual_seed(3))
    cases = [(network, network.quantize_input(x)) for network in map(integer, names)]
    for name, (network, images), output in zip(names, cases, host_run_all(cases), strict=True):
        assert np.array_equal(output, network.run(images)), name


@pytest.mark.parametrize("name", METHODS.names())
def test_equal_seeds_give_equal_networks(name: str) -> None:
    again = retrained(name).module.state_dict()
    assert all(torch.equal(tensor, again[key]) for key, tensor in outcome(name).module.state_dict().items())


@pytest.mark.parametrize(
    "name", ["random_weights", "random_filters", "EllOneNet", "EllTwoNet", "SiPPNetRand", "PFPNetRand"]
)
def test_another_seed_draws_other_weights(name: str) -> None:
    other = prunable_weights(retrained(name, seed=1).module)
    mine = prunable_weights(outcome(name).module)
    assert any(not torch.equal(mine[key] == 0, other[key] == 0) for key in mine)
