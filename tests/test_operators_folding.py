"""Folding of functions and constants, layers that are not deployed, shared tables, and views that memory shares."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from support_graph import kinds
from support_operators import Applied
from torch import Tensor, nn
from torch.nn import functional

from sparsemod.errors import Unsupported
from sparsemod.export.c import generate
from sparsemod.graph import capture, deployed, run_float, without_ending
from sparsemod.pruning.channels import channels_of
from sparsemod.pruning.shrinking import shrink
from sparsemod.quantization import IntegerNetwork, quantize

IMAGE = (4, 6, 8)


def _kinds(module: nn.Module, shape: tuple[int, ...] = IMAGE) -> list[str]:
    """Return the kinds of the deployed graph, which computes the same as the module."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        x = torch.randn(5, *shape)
    graph = deployed(capture(module.eval(), shape))
    assert torch.allclose(run_float(graph, x), module(x), atol=1e-4, rtol=1e-4)
    return kinds(graph)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * x.sigmoid(),
        lambda x: x * functional.relu6(x + 3) / 6,
        lambda x: 0.5 * x * (1 + torch.tanh(0.8 * (x + 0.04 * x**3))),
        lambda x: (2 * x - 1).sigmoid() * 3 + 1,
        lambda x: functional.relu(x) * 2,
        lambda x: x * x,
        lambda x: 1 / (1 + torch.exp(-x)),
        lambda x: torch.maximum(x, 0.1 * x),
    ],
)
def test_a_function_of_one_tensor_is_one_table(function: Callable[[Tensor], Tensor]) -> None:
    assert _kinds(Applied(function)) == ["table"]
    if "relu(" not in str(function):
        assert _kinds(Applied(lambda x, c: function(c(x)), nn.Conv2d(4, 3, 1))) in (["conv", "table"],)


@pytest.mark.parametrize(
    ("function", "layers", "expected"),
    [
        (lambda x, c: c(x) * 2 + 1, [nn.Conv2d(4, 3, 1)], ["conv"]),
        (lambda x, c: c((x - 0.5) / 0.2), [nn.Conv2d(4, 3, 1)], ["conv"]),
        (lambda x, c: c(x * torch.arange(1.0, 5).view(4, 1, 1)), [nn.Conv2d(4, 3, 1)], ["conv"]),
        (lambda x, c: functional.relu(c(x) * torch.arange(1.0, 4).view(1, 3, 1, 1)), [nn.Conv2d(4, 3, 3)], ["conv"]),
        (lambda x, c: c(x * torch.arange(1.0, 5).view(4, 1, 1)), [nn.Conv2d(4, 3, 3, padding=1)], ["conv", "conv"]),
        (lambda x, c: functional.relu(c(x)).sigmoid(), [nn.Conv2d(4, 3, 1)], ["conv", "table"]),
        (lambda x: x + x.relu(), [], ["relu", "add"]),
        (lambda x: 0 + x * 1 / 1 - 0, [], []),
    ],
)  # fmt: skip
def test_constants_fold_into_neighbours(
    function: Callable[..., Tensor], layers: list[nn.Module], expected: list[str]
) -> None:
    assert _kinds(Applied(function, *layers)) == expected


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (
            lambda x: x.view(x.shape[0], 2, 2, 6, 8).transpose(1, 2).contiguous().view(x.shape[0], 4, 6, 8),
            ["move"],
        ),
        (lambda x: x.permute(0, 2, 3, 1).permute(0, 3, 1, 2), []),
        (lambda x: x.permute(0, 2, 3, 1).relu().permute(0, 3, 1, 2), ["relu"]),
        (lambda x: x.unsqueeze(1).squeeze(1), []),
        (lambda x: x.mean(3).mean(2), ["global_avg_pool"]),
        (lambda x: x.mean(3, keepdim=True).mean(2, keepdim=True), ["global_avg_pool"]),
        (lambda x: functional.avg_pool2d(x, (6, 8)), ["global_avg_pool"]),
        (lambda x: x.flatten(2).mean(-1), ["reshape", "global_avg_pool"]),
        (lambda x: x.amax((2, 3)), ["max_pool", "flatten"]),
        (lambda x: functional.pad(x, (0, 0, 0, 0)), []),
        (lambda x: functional.pad(x, (1, 0, 2, 1), value=2.0), ["table", "take", "table"]),
        (lambda x: torch.cat([x, torch.zeros(len(x), 2, 6, 8)], 1), ["take"]),
        (lambda x: torch.cat([torch.zeros(len(x), 1, 6, 8), x, x.relu()], 1), ["relu", "take", "concat"]),
        (
            lambda x: torch.stack([x.mean((2, 3)), x.amax((2, 3))], 1),
            ["global_avg_pool", "max_pool", "flatten", "reshape", "reshape", "concat"],
        ),
    ],
)
def test_spellings_of_views_and_means(function: Callable[[Tensor], Tensor], expected: list[str]) -> None:
    assert _kinds(Applied(function)) == expected


def test_computed_weights_leave_the_module_s_weights_alone() -> None:
    """The mean over channels is a convolution in the scope of a layer called conv."""

    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x.mean(1, keepdim=True))

    assert _kinds(nn.Sequential(Named())) == ["conv", "conv"]


def test_writing_through_a_slice_is_refused_or_seen() -> None:
    def written(x: Tensor) -> Tensor:
        y = x * 2
        y[:, :2].relu_()
        return y + 1

    with pytest.raises(Unsupported, match="in place"):
        capture(Applied(written), IMAGE)


def test_equal_tables_are_stored_once() -> None:
    module = Applied(lambda x: torch.cat([x.flip(2).exp(), x.flip(3).exp()], 1))
    network = quantize(module, torch.randn(4, *IMAGE))
    assert isinstance(network, IntegerNetwork)
    assert [layer.kind for layer in network.layers].count("table") == 2
    made = generate(network)
    assert made.files["network.weights.h"].count("[256]") == 1
    assert made.files["network.c"].count("nn_table(") == 2


@pytest.mark.parametrize(
    "last", [nn.Softmax(1), nn.LogSoftmax(1), nn.Sigmoid(), nn.Sequential(nn.Sigmoid(), nn.Softmax(1))]
)
def test_an_ending_that_keeps_the_order_is_dropped_for_classes(last: nn.Module) -> None:
    module, x = nn.Sequential(nn.Linear(6, 4), last).eval(), torch.randn(20, 6)
    graph, dropped = without_ending(capture(module, (6,)))
    assert kinds(graph) == ["linear"] and len(dropped) == (2 if isinstance(last, nn.Sequential) else 1)
    assert torch.equal(run_float(graph, x).argmax(1), module(x).argmax(1))
    network = quantize(module, x, largest_only=True)
    assert [layer.kind for layer in network.layers] == ["linear"]


def test_an_ending_that_counts_stays() -> None:
    for module, shape in (
        (nn.Sequential(nn.Linear(6, 1), nn.Sigmoid()), (6,)),
        (nn.Softmax(2), (4, 6, 8)),
        (nn.Softmax(2), (4, 6)),
    ):
        assert without_ending(capture(module, shape))[1] == ()
    for largest_only, expected in ((False, ["log_softmax"]), (True, [])):
        network = quantize(nn.LogSoftmax(1), torch.randn(4, 6), largest_only=largest_only)
        assert isinstance(network, IntegerNetwork) and [layer.kind for layer in network.layers] == expected


def test_filters_of_excited_and_leaky_blocks_are_removed() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.act = nn.Conv2d(3, 8, 3), nn.PReLU(8)
            self.one, self.two, self.last = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1), nn.Conv2d(8, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.act(self.conv(x))
            return self.last(
                x * torch.sigmoid(self.two(functional.relu(self.one(x.mean((2, 3), keepdim=True)))))
            )

    module = Block().eval()
    with torch.no_grad():
        for part in (module.conv, module.two):
            part.weight[3:6] = 0
            part.bias[3:6] = 0
    found = channels_of(capture(module, (3, 8, 8)))
    assert any("conv" in group.layers and "two" in group.layers for group in found.groups)
    small, x = shrink(module, (3, 8, 8)), torch.randn(2, 3, 8, 8)
    assert small.conv.out_channels == small.act.num_parameters == small.two.out_channels == 5
    assert torch.allclose(small(x), module(x), atol=1e-5)


def test_channels_whose_zeros_become_other_values_stay() -> None:
    module = nn.Sequential(nn.Conv2d(3, 6, 1), nn.Sigmoid(), nn.Conv2d(6, 2, 1)).eval()
    assert "not zero" in channels_of(capture(module, (3, 8, 8))).frozen["0"]


def test_long_sequences_are_interpolated_at_every_place() -> None:
    """Where a place rounds up to the next position, the weight of the next one is 0, not 1024 of 1024."""
    module, x = nn.Upsample(2500, mode="linear"), torch.linspace(-1, 1, 36).reshape(4, 1, 9).sin()
    network = quantize(module, x)
    assert isinstance(network, IntegerNetwork)
    error = np.abs(network.logits(x) - module(x).numpy()).max()
    # half a step of the input, half a step of the output, and the rounding of the place
    assert error <= 1.5 * network.tensors[network.output].scale


@pytest.mark.parametrize(
    "function", [torch.sigmoid, torch.tanh, functional.gelu, torch.exp, lambda x: 3 * x.abs().sqrt() - 1]
)
def test_every_entry_of_a_table_is_the_nearest_value(function: Callable[[Tensor], Tensor]) -> None:
    network = quantize(Applied(function), torch.linspace(-3, 4, 200).reshape(25, 8))
    assert isinstance(network, IntegerNetwork) and [layer.kind for layer in network.layers] == ["table"]
    source, made = network.tensors[network.input], network.tensors[network.output]
    every = np.arange(-128, 128).astype(np.int8).reshape(32, 8)
    truth = function(torch.from_numpy((every.astype(float) - source.zero_point) * source.scale)).numpy()
    steps = truth / made.scale - (network.run(every).astype(float) - made.zero_point)
    ends = np.array([-128, 127]) - made.zero_point
    held = (truth / made.scale > ends[0]) & (truth / made.scale < ends[1])
    assert np.abs(steps[held]).max() <= 0.5 + 1e-6 and held.mean() > 0.8
