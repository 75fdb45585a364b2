"""Every published network of the zoo is captured, has stated costs, and becomes smaller by pruning its filters."""

from typing import Any

import pytest
import torch
from support_pruning import context
from torch import nn

from sparsemod.errors import BuildError
from sparsemod.graph import capture, deployed
from sparsemod.measure import costs
from sparsemod.networks.zoo import network
from sparsemod.networks.zoo.catalogue import NETWORKS
from sparsemod.pruning import METHODS
from sparsemod.targets import device

pytestmark = pytest.mark.slow(every=4)

NAMES = (
    "wrn-10-0.25", "resnet-8", "resnet-20", "resnet-14-bottleneck", "resnet-18", "resnet-50", "wrn-50-2", "vgg-11", "vgg-13-bn",
    "vgg-11-fc", "densenet-10-4", "densenet-22", "lenet-300-100", "lenet-5", "conv-2", "conv-4", "conv-6", "tiny", "darts-4-4",
    "mobilenetv2-0.25", "shufflenet-3",
)  # fmt: skip
MEASURED = tuple(name for name in NAMES if name != "wrn-50-2")
"""Without WRN-50-2, which has the blocks of ResNet-50 and 69 million parameters."""
SHAPE = (3, 32, 32)


def test_every_shape_of_a_name_is_among_them() -> None:
    covered = {next(entry.pattern for entry in NETWORKS if network(name).entry is entry) for name in NAMES}
    assert covered == {entry.pattern for entry in NETWORKS}


@pytest.mark.parametrize("name", MEASURED)
def test_a_network_is_captured_and_measured(name: str) -> None:
    module = network(name).build(SHAPE, 10).eval()
    stated = costs(deployed(capture(module, SHAPE)), device("stm32f446"))
    for metric in ("flash", "ram", "instructions", "macs", "parameters"):
        assert stated[metric].value > 0
    weights = sum(m.weight.numel() for m in module.modules() if isinstance(m, nn.Conv2d | nn.Linear))
    scales = sum(m.num_features for m in module.modules() if isinstance(m, nn.BatchNorm2d))
    # A batch norm before its convolution becomes a layer with one weight for each channel.
    assert weights <= stated["parameters"].value <= weights + scales


@pytest.mark.parametrize("name", MEASURED)
def test_a_network_becomes_smaller_and_computes_the_same(name: str) -> None:
    torch.manual_seed(0)
    module = network(name).build(SHAPE, 10).eval()
    before = sum(p.numel() for p in module.parameters())
    method: Any = METHODS.create(METHODS.config("filters", sparsity=0.5, of="filters"))
    method.start(context(module, SHAPE, samples=2))
    method.before_epoch(1, 1)
    method.finish()
    small = method.transform(module.eval(), SHAPE)
    x = torch.randn(2, *SHAPE)
    with torch.no_grad():
        torch.testing.assert_close(small(x), module(x), rtol=1e-3, atol=1e-3)
    after = sum(p.numel() for p in small.parameters())
    assert after < 0.9 * before


@pytest.mark.parametrize(("shape", "count"), [((1, 28, 28), 61_706), ((3, 32, 32), 62_006)])
def test_lenet_5_has_the_known_number_of_parameters(shape: tuple[int, int, int], count: int) -> None:
    with torch.device("meta"):
        built = network("lenet-5").build(shape, 10)
    assert sum(p.numel() for p in built.parameters()) == count
    with pytest.raises(BuildError, match="at least 12 x 12, not 11 x 28"):
        network("lenet-5").build((1, 11, 28), 10)


def test_the_parameters_of_densenet_22_are_those_of_its_layers() -> None:
    total, channels = 24 * 3 * 9, 24
    for block in range(3):
        for _ in range(3):
            total += 2 * channels + channels * 48 + 2 * 48 + 48 * 12 * 9
            channels += 12
        if block < 2:
            total += 2 * channels + channels * (channels // 2)
            channels //= 2
    total += 2 * channels + channels * 10 + 10
    with torch.device("meta"):
        built = network("densenet-22").build(SHAPE, 10)
    assert sum(p.numel() for p in built.parameters()) == total == 71_686
