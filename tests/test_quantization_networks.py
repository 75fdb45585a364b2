"""Schemes on real data: accuracy, the float network, files."""

import numpy as np
import pytest
import torch
from support_pruning import Plain, seeded

from sparsemod.errors import InvalidInput, UnknownName
from sparsemod.quantization import FloatNetwork, IntegerNetwork, quantize


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
    with pytest.raises(UnknownName, match=r"quantization\.scheme = 'dynamic'.*none, static"):
        quantize(module, x[:8], "dynamic")
