"""What methods that remove filters promise, against values computed another way."""

from typing import Any

import pytest
import torch
from support_pruning import (
    MODULES,
    Concat,
    Grouped,
    Plain,
    Recurrent,
    Residual,
    Shared,
    Shuffled,
    begun,
    seeded,
)
from torch import nn

from sparsemod.export.c.host import host_run_all
from sparsemod.graph import capture
from sparsemod.pruning import METHODS
from sparsemod.pruning.channels import channels_of
from sparsemod.pruning.filters.allocation import Counter, equal_shares
from sparsemod.pruning.filters.consumers import Products
from sparsemod.pruning.filters.method import FilterConfig
from sparsemod.pruning.patches import _unfolded
from sparsemod.quantization import SCHEMES, IntegerNetwork, quantize


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("kind", MODULES)
@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.8])
def test_a_share_of_the_weights_is_the_nearest_that_equal_shares_reach(kind: Any, sparsity: float) -> None:
    module = seeded(kind)
    graph = capture(module, kind.shape)
    counter = Counter(graph, channels := channels_of(graph, module.state_dict()))
    assert counter.weights == sum(tensor.numel() for tensor in module.parameters() if tensor.dim() > 1), (
        "of convolutions, linear and recurrent layers"
    )
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


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_the_contributions_of_the_inputs_add_up_to_the_outputs(groups: int) -> None:
    layer, x = nn.Conv2d(8, 12, 3, stride=2, groups=groups, bias=False), torch.randn(3, 8, 7, 7)
    with torch.no_grad():
        parts = list(Products(_unfolded(layer, x), layer.weight, 8 // groups))
        expected = layer(x).permute(0, 2, 3, 1).reshape(-1, 12)
    torch.testing.assert_close(torch.cat(parts).sum(2), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["pfp", "thinet"])
def test_a_place_that_no_group_reads_goes_first(name: str) -> None:
    module = seeded(Grouped)
    with torch.no_grad():
        module[0].bias.fill_(9.0)
        module[2].weight[:, 1] = 0
    method = begun(name, module, Grouped.shape, sparsity=0.3)
    method.before_epoch(1, 1)
    gone = (~method.masks["0.weight"].flatten(1).any(1)).nonzero().flatten().tolist()
    assert gone == [1, 5]


@pytest.mark.parametrize("name", ["pfp", "thinet"])
def test_a_feature_that_no_recurrent_unit_reads_goes_first(name: str) -> None:
    module = seeded(Recurrent)
    with torch.no_grad():
        module.conv.bias.fill_(9.0)
        for weight in (module.gru.weight_ih_l0, module.gru.weight_ih_l0_reverse):
            weight[:, [2, 5]] = 0
    method = begun(name, module, Recurrent.shape, sparsity=0.3)
    method.before_epoch(1, 1)
    gone = (~method.masks["conv.weight"].flatten(1).any(1)).nonzero().flatten().tolist()
    assert {2, 5} <= set(gone) if len(gone) >= 2 else set(gone) <= {2, 5}


FILTERS = [name for name in METHODS.names() if issubclass(METHODS.config_of(name), FilterConfig)]


def test_coupled_channels_shrink_by_every_method_train_on_and_run_as_c() -> None:
    cases, names = [], []
    for kind in (Concat, Shared, Shuffled, Recurrent):
        for name in FILTERS:
            module = seeded(kind)
            method = begun(name, module, kind.shape, sparsity=0.5, of="weights")
            method.before_epoch(1, 1)
            optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9, weight_decay=0.1)
            x, y = method.context.samples.slice(0, 16)
            for _ in range(2):
                optimizer.zero_grad()
                method.context.loss(module(x), y).backward()
                optimizer.step()
                method.after_step()
            left = {n: int(m.sum()) for n, m in method.masks.items()}
            assert abs(method.sparsity - 0.5) < 0.15, (name, left)
            method.finish()
            small = method.transform(module.eval(), kind.shape)
            weights = sum(t.numel() for t in small.parameters() if t.dim() > 1)
            whole = sum(t.numel() for t in module.parameters() if t.dim() > 1)
            assert weights == round((1 - method.sparsity) * whole)
            network = quantize(small, torch.randn(16, *kind.shape), SCHEMES.config("static"))
            assert isinstance(network, IntegerNetwork)
            cases.append((network, network.quantize_input(torch.randn(2, *kind.shape))))
            names.append((kind.__name__, name))
    for case, (network, images), output in zip(names, cases, host_run_all(cases), strict=True):
        assert (output == network.run(images)).all(), case


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
