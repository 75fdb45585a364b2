"""Schemes on real data: accuracy, the float network, files."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from support_pruning import Plain, seeded
from torch import nn

from sparsemod.errors import InvalidInput, UnknownName
from sparsemod.quantization import FloatNetwork, IntegerNetwork, quantize


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def digits():
    """A small network trained on digits: (module, images, labels), the last 500 samples unseen."""
    data = load_digits()
    x = torch.tensor(data.images[:, None] / 16 - 0.3, dtype=torch.float32)
    y = torch.tensor(data.target)
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(12, 12, 3, padding=1, groups=12), nn.Conv2d(12, 24, 1), nn.BatchNorm2d(24), nn.ReLU6(),
        nn.Flatten(), nn.Linear(24 * 16, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(module.parameters(), 5e-3)
    for _ in range(8):
        for batch in torch.randperm(len(x) - 500).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(x[batch]), y[batch]).backward()
            optimizer.step()
    return module.eval(), x, y


def test_digits_lose_next_to_nothing(digits):
    module, x, y = digits
    with torch.no_grad():
        floating = float((module(x[-500:]).argmax(1) != y[-500:]).float().mean())
    network = quantize(module, x[:256])
    assert floating < 0.15
    assert abs(network.error(x[-500:], y[-500:]) - floating) <= 0.012
    assert network.error(x[-500:].numpy(), y[-500:].numpy()) == network.error(x[-500:], y[-500:])
    with torch.no_grad():
        agreement = np.mean(network.predict(x[-500:]) == module(x[-500:]).argmax(1).numpy())
    assert agreement > 0.98


def test_macs_by_hand():
    infos = quantize(seeded(Plain), torch.randn(4, *Plain.shape)).layers_info()
    assert [i.macs for i in infos if i.macs] == [10 * 64 * 18, 7 * 1 * 90, 63, 36]


def test_the_float_network_is_the_module(digits):
    module, x, y = digits
    network = quantize(module, x[:1], "none")
    assert isinstance(network, FloatNetwork) and network.title == "float network"
    with torch.no_grad():
        np.testing.assert_allclose(network.logits(x[-300:]), module(x[-300:]).numpy(), rtol=1e-3, atol=1e-3)
        expected = float((module(x[-300:]).argmax(1) != y[-300:]).float().mean())
    assert network.error(x[-300:], y[-300:]) == pytest.approx(expected, abs=0.005)


def test_one_kind_of_file_is_not_read_as_another(digits):
    module, x, _ = digits
    integer, floating = quantize(module, x[:8]), quantize(module, x[:8], "none")
    for kind, other in ((IntegerNetwork, floating), (FloatNetwork, integer)):
        with pytest.raises(InvalidInput, match="network file"):
            kind.from_bytes(other.to_bytes())


def test_unknown_schemes_are_refused(digits):
    module, x, _ = digits
    with pytest.raises(UnknownName, match=r"quantization\.scheme = 'dynamite'.*none, static"):
        quantize(module, x[:8], "dynamite")
