"""Convolutional networks for sequences: sizes, causality, lengths, and their integer form."""

from typing import Any

import numpy as np
import pytest
import torch
from support_morphisms import SERIES, SIGNAL, built, seasoned

from sparsemod.errors import BuildError, InvalidInput
from sparsemod.graph import capture
from sparsemod.networks import create_family
from sparsemod.networks.cnn_plan import plan
from sparsemod.quantization import quantize
from sparsemod.records import DataInfo, Value
from sparsemod.sequences import Padded, call

UNEQUAL = SERIES.model_copy(update={"sequences": True})

SMALL: dict[str, Value] = {
    "blocks": 2, "b1_layers": 2, "b1_l1_type": "conv", "b1_l1_filters": 4, "b1_l1_kernel": 3, "b1_l1_dilation": 2,
    "b1_l2_type": "separable", "b1_l2_filters": 6, "b1_l2_kernel": 2, "b1_l2_dilation": 1, "b1_pool": True,
    "b2_layers": 1, "b2_l1_type": "down", "b2_l1_filters": 5, "b2_l1_kernel": 4, "b2_l1_dilation": 1, "b2_pool": False,
    "head": "average", "dense": 1, "d1_width": 12, "dropout": 0.1,
}  # fmt: skip


@pytest.mark.parametrize("info", [SERIES, SIGNAL, UNEQUAL], ids=["time first", "channels first", "lengths"])
@pytest.mark.parametrize("causal", [False, True])
def test_every_candidate_has_the_planned_size(info: DataInfo, causal: bool) -> None:
    family = create_family("cnn1d", {"max_filters": 6, "max_dense_width": 20, "causal": causal})
    rng, made = np.random.default_rng(0), 0
    for seed in range(12):
        parameters = family.space(info).sample(rng)
        try:
            module: Any = built(family, parameters, info, seed).eval()
        except BuildError:
            continue
        planned, made = plan(parameters, info), made + 1
        x = torch.randn(2, *info.shape)
        steps = x if info.axes.channel == 0 else x.transpose(1, 2)
        assert module.features(steps).shape == (2, planned.channels, planned.size[1])
        assert module(x).shape == (2, info.classes)
        assert module.uses_lengths == (info.sequences and planned.head == "average")
        capture(module, info.shape, info.layout)
    assert made > 6


def test_a_causal_network_reads_no_later_steps() -> None:
    for causal in (True, False):
        module: Any = built(create_family("cnn1d", {"causal": causal}), SMALL | {"b1_pool": False}, SIGNAL, 0)
        module.eval()
        x = torch.randn(1, 3, 13)
        y = torch.cat([x[..., :8], torch.randn(1, 3, 5)], -1)
        same = torch.equal(module.features(x)[..., :4], module.features(y)[..., :4])
        assert same == causal


@pytest.mark.parametrize("length", [1, 3, 4, 7, 9])
def test_steps_behind_the_length_do_not_count(length: int) -> None:
    module = seasoned(built(create_family("cnn1d", {"causal": True}), SMALL, UNEQUAL, 0), 0).eval()
    x = torch.randn(3, 9, 4)
    y = torch.cat([x[:, :length], torch.randn(3, 9 - length, 4)], 1)
    lengths = torch.full((3,), length)
    if length < 4:  # two poolings: the one step of the features reads steps 1 to 4
        y[:, length:4] = x[:, length:4]
    assert torch.allclose(call(module, Padded(x, lengths)), call(module, Padded(y, lengths)))
    if length < 8:  # all valid: other steps take part
        assert not torch.allclose(call(module, Padded(x, lengths)), module(x))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("info", [SIGNAL, UNEQUAL], ids=lambda info: info.name)
def test_the_integer_network_answers_like_the_float_one(info: DataInfo, causal: bool) -> None:
    module = seasoned(built(create_family("cnn1d", {"causal": causal}), SMALL, info, 3), 3).eval()
    x = torch.randn(64, *info.shape)
    lengths = torch.randint(1, 10, (64,)) if info.sequences else None
    network = quantize(module, x, "static", info.layout, lengths=lengths)
    with torch.no_grad():
        wanted = call(module, x if lengths is None else Padded(x, lengths)).numpy()
    found = network.logits(x.numpy(), None if lengths is None else lengths.numpy())
    assert np.abs(found - wanted).max() < 0.1 * np.abs(wanted).max()


def test_mistakes_are_named() -> None:
    short = DataInfo(name="short", shape=(3, 3), classes=2)
    with pytest.raises(BuildError, match=r"block 2, layer 1 \(down\): a sequence of 1 step cannot be halved"):
        create_family("cnn1d").build(SMALL, short)
    with pytest.raises(InvalidInput, match=r"network\.options\.causal = 1: true or false"):
        create_family("cnn1d", {"causal": 1})
    with pytest.raises(InvalidInput, match=r"'cnn1d'.*channels-length \(channels, length\)"):
        create_family("cnn1d").space(DataInfo(name="digits", shape=(1, 8, 8), classes=10))


def test_without_dilation_the_space_has_no_such_parameter() -> None:
    names = create_family("cnn1d", {"max_dilation": 1}).space(SIGNAL).names
    assert "b1_l1_kernel" in names and not any(name.endswith("_dilation") for name in names)
    assert create_family("cnn1d", {"max_dilation": 6}).space(SIGNAL).parameter("b1_l1_dilation").values == (
        1,
        2,
        4,
    )
