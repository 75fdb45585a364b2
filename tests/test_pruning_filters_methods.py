"""What methods that remove filters promise, against values computed another way."""

from typing import Any

import pytest
import torch
from support_pruning import MODULES, Plain, Residual, begun, seeded
from torch import nn

from sparsemod.graph import capture
from sparsemod.pruning.channels import channels_of
from sparsemod.pruning.filters.allocation import Counter, equal_shares
from sparsemod.pruning.weights import prunable_weights


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("kind", MODULES)
@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.8])
def test_a_share_of_the_weights_is_the_nearest_that_equal_shares_reach(kind: Any, sparsity: float) -> None:
    module = seeded(kind)
    graph = capture(module, kind.shape)
    counter = Counter(graph, channels := channels_of(graph, module.state_dict()))
    assert counter.weights == sum(w.numel() for w in prunable_weights(module).values())
    kept = equal_shares(counter, sparsity, "weights")
    wanted = (1 - sparsity) * counter.weights
    reachable = [
        counter.weights_with(equal_shares(counter, gone / size, "filters"))
        for size in {len(group.units) for group in channels.groups}
        for gone in range(size)
    ]
    assert abs(counter.weights_with(kept) - wanted) == min(abs(count - wanted) for count in reachable)


@pytest.mark.parametrize("name", ["pfp", "thinet"])
def test_a_channel_that_nobody_reads_goes_first(name: str) -> None:
    module = seeded(Plain)
    with torch.no_grad():
        module[4].weight[:, [1, 4, 8]] = 0
        module[1].bias.fill_(9.0)  # every channel is alive
    method = begun(name, module, Plain.shape, sparsity=0.3)
    method.before_epoch(1, 1)
    gone = (~method.masks["0.weight"].flatten(1).any(1)).nonzero().flatten().tolist()
    assert {1, 4, 8} <= set(gone) if len(gone) >= 3 else set(gone) <= {1, 4, 8}


def test_thinet_removes_channels_as_an_exhaustive_search_does_one_by_one() -> None:
    from sparsemod.pruning.filters.thinet import _order

    x = torch.randn(40, 5, dtype=torch.float64)
    order = _order(x.T @ x, torch.zeros(5, dtype=torch.bool)).argsort().tolist()
    gone: list[int] = []
    for _ in range(5):
        left = [c for c in range(5) if c not in gone]
        gone.append(min(left, key=lambda c: float(x[:, [*gone, c]].sum(1).square().sum())))
    assert order == gone


def test_fpgm_removes_the_filter_between_the_others() -> None:
    module = nn.Sequential(
        nn.Conv2d(1, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    with torch.no_grad():
        module[0].weight[:, 0, 0, 0] = torch.tensor([-3.0, 1.0, 1.2, 4.0])
    method = begun("fpgm", module, (1, 4, 4), sparsity=0.5)
    method.before_epoch(1, 1)
    assert method.masks["0.weight"].flatten().tolist() == [True, False, False, True]


def test_the_scale_of_the_norm_decides_and_shrinks() -> None:
    module = seeded(Residual)
    with torch.no_grad():
        module.norm.weight.copy_(torch.tensor([3.0, 0.1, 2.0, 0.2, 1.0, 0.3, 4.0, 0.4]))
        module.behind.weight.copy_(module.norm.weight)
    method = begun("norm_scale", module, Residual.shape, sparsity=0.5, shrink=0.01)
    method.after_step()
    assert float(module.norm.weight[1].detach()) == pytest.approx(0.09)
    method.before_epoch(1, 1)
    assert method.masks["stem.weight"].flatten(1).any(1).tolist() == [True, False] * 4


def test_soft_filters_may_grow_again_until_the_schedule_ends() -> None:
    module = seeded(Plain)
    method = begun("soft_filters", module, Plain.shape, sparsity=0.5)
    method.before_epoch(4, 8)
    weight = module[0].weight
    gone = weight.flatten(1).eq(0).all(1)
    assert gone.any() and method.sparsity == 0
    with torch.no_grad():
        weight[gone] = 9.0
    method.after_step()
    assert not weight.flatten(1).eq(0).all(1).any()
    method.before_epoch(8, 8)
    assert method.masks["0.weight"].flatten(1).any(1)[gone].all() and method.at_target
