"""Batch norm, relu and max-pooling in one step equal the three layers, and are used only where that holds."""

import copy

import pytest
import torch
from support_training import digits, small_cnn
from torch import nn
from torch.nn import functional

from sparsemod.spec.training import TrainingSpec
from sparsemod.training import train
from sparsemod.training.fusion import fused
from sparsemod.training.process import tune_process

POOLS = [
    nn.MaxPool2d(2),
    nn.MaxPool2d(3, stride=2, padding=1),
    nn.MaxPool2d((2, 3), stride=(1, 2), ceil_mode=True),
    nn.MaxPool2d(2, dilation=2),
]


def chain(pool: nn.Module, channels: int = 5) -> nn.Sequential:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(channels)
    with torch.no_grad():
        norm.weight.uniform_(0.2, 2)
        norm.bias.uniform_(-1, 1)
    return nn.Sequential(
        nn.Conv2d(2, channels, 3, bias=False), nn.Sequential(norm, nn.ReLU()), pool, nn.Flatten()
    )


def compare(plain: nn.Module, x: torch.Tensor) -> None:
    """Forward, backward and running statistics of `plain` with and without fusion."""
    copied = copy.deepcopy(plain)
    results = []
    for module in (plain, copied):
        given = x.clone().requires_grad_()
        if module is copied:
            with fused(module):
                assert any("forward" in vars(layer) for layer in module.modules())
                y = module(given)
        else:
            y = module(given)
        weights = torch.linspace(-1, 1, y.numel()).reshape(y.shape)
        (y * weights).sum().backward()
        gradients = [parameter.grad for parameter in module.parameters()]
        results.append([y, given.grad, *gradients, *module.buffers()])
    for a, b in zip(*results, strict=True):
        assert a is not None and b is not None
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * float(a.detach().abs().max()))
    assert not any("forward" in vars(layer) for layer in copied.modules())


@pytest.mark.parametrize("pool", POOLS, ids=repr)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_values_gradients_and_statistics_are_equal(
    pool: nn.MaxPool2d, memory_format: torch.memory_format
) -> None:
    x = torch.randn(7, 2, 11, 12, generator=torch.Generator().manual_seed(1)).contiguous(
        memory_format=memory_format
    )
    compare(chain(pool), x)


def test_a_negative_scale_is_computed_layer_by_layer() -> None:
    module = chain(nn.MaxPool2d(2))
    norm = module[1][0]  # type: ignore[index]
    assert isinstance(norm, nn.BatchNorm2d)
    with torch.no_grad():
        norm.weight[2] = -0.7
    compare(module, torch.randn(7, 2, 11, 12, generator=torch.Generator().manual_seed(1)))


def test_evaluation_is_untouched() -> None:
    module = chain(nn.MaxPool2d(2)).eval()
    x = torch.randn(3, 2, 8, 8)
    expected = module(x)
    with fused(module):
        assert torch.equal(module(x), expected)


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm2d(5, affine=False),
        nn.BatchNorm2d(5, track_running_stats=False),
        nn.BatchNorm2d(5, momentum=None),
        nn.Sequential(nn.BatchNorm2d(5), nn.Dropout()),
        nn.Identity(),
    ],
    ids=repr,
)
def test_other_chains_are_left_alone(norm: nn.Module) -> None:
    module = nn.Sequential(nn.Conv2d(2, 5, 3), norm, nn.ReLU(), nn.MaxPool2d(2))
    with fused(module):
        assert not any("forward" in vars(layer) for layer in module.modules())


def test_hooks_and_iteration_see_every_layer() -> None:
    module = chain(nn.MaxPool2d(2))
    seen: list[tuple[int, ...]] = []
    relu = module[1][1]  # type: ignore[index]
    assert isinstance(relu, nn.ReLU)
    x = torch.randn(3, 2, 8, 8)
    with fused(module):
        step = x
        for layer in module:
            step = layer(step)
        assert step.shape == module(x).shape
    relu.register_forward_hook(lambda _module, _inputs, output: seen.append(tuple(output.shape)))
    with fused(module):
        module(x)
    assert seen == [(3, 5, 6, 6)]


def test_a_training_leaves_no_trace_of_it_and_learns_the_same() -> None:
    settings = TrainingSpec(batch_size=64, learning_rate=0.01, schedule={"name": "constant"})  # type: ignore[arg-type]
    fast, plain, data = small_cnn(), small_cnn(), digits()
    plain[1].register_forward_hook(lambda *_: None)  # type: ignore[index]
    outcomes = [train(module, data, settings, epochs=1, seed=0) for module in (fast, plain)]
    assert outcomes[0].curve[0].train_loss == pytest.approx(outcomes[1].curve[0].train_loss, rel=1e-3)
    x = data.train.slice(0, 50)[0]
    assert functional.cosine_similarity(fast(x), plain(x)).min() > 0.999
    assert not any("forward" in vars(layer) for layer in fast.modules())


def test_tuning_a_process_sets_its_threads() -> None:
    before = torch.get_num_threads()
    try:
        assert isinstance(tune_process(1), bool) and torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
