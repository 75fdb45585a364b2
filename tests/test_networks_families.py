"""The built-in families: their spaces, their networks, rejected parameters."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sparsemod.errors import BuildError, InvalidInput, UnknownName
from sparsemod.networks import FAMILIES, create_family
from sparsemod.networks.cnn_plan import plan
from sparsemod.records import DataInfo, Value

DIGITS = DataInfo(name="digits", shape=(1, 8, 8), classes=10)
MNIST = DataInfo(name="mnist", shape=(1, 28, 28), classes=10)
CIFAR = DataInfo(name="cifar10", shape=(3, 32, 32), classes=10)
TABLE = DataInfo(name="table", shape=(13,), classes=3)

SMALL: dict[str, Value] = {
    "blocks": 1, "b1_layers": 2, "b1_l1_type": "conv", "b1_l1_filters": 4, "b1_l1_kernel": 3,
    "b1_l2_type": "separable", "b1_l2_filters": 6, "b1_l2_kernel": 2, "b1_pool": True,
    "head": "flatten", "dense": 1, "d1_width": 12, "dropout": 0.1,
}  # fmt: skip


def test_listing_and_spaces_need_no_torch() -> None:
    code = (
        "import sys; from sparsemod.networks import FAMILIES, create_family; from sparsemod.records import DataInfo\n"
        "d = DataInfo(name='d', shape=(1, 8, 8), classes=10)\n"
        "assert set(FAMILIES.names()) >= {'cnn', 'mlp'}\n"
        "[create_family(name).space(d) for name in ('cnn', 'mlp')]; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), data=st.sampled_from([DIGITS, MNIST, CIFAR]))
def test_every_cnn_runs_or_names_the_layer_that_is_too_deep(seed: int, data: DataInfo) -> None:
    family = create_family("cnn", {"max_filters": 12, "max_dense_width": 40})
    parameters = family.space(data).sample(np.random.default_rng(seed))
    try:
        module = family.build(parameters, data)
    except BuildError as error:
        assert (
            "block" in str(error)
            and " x " in str(error)
            and (error.layer in parameters or f"{error.layer}_type" in parameters)
        )
        return
    assert module(torch.zeros(2, *data.shape)).shape == (2, 10)
    features = nn.Sequential(*module.eval().children())[0]
    planned = plan(parameters, data)
    assert features(torch.zeros(1, *data.shape)).shape == (1, planned.channels, *planned.size)


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("data", [DIGITS, TABLE])
def test_mlp(data: DataInfo, batch_norm: bool) -> None:
    family = create_family("mlp", {"batch_norm": batch_norm})
    parameters = family.space(data).validate({"layers": 2, "l1_width": 9, "l2_width": 5, "dropout": 0.2})
    module = family.build(parameters, data)
    assert module(torch.zeros(3, *data.shape)).shape == (3, data.classes)
    kinds = [type(m) for m in module.modules()]
    assert kinds.count(nn.Linear) == 3 and kinds.count(nn.BatchNorm1d) == (2 if batch_norm else 0)


def test_cnn_structure_by_hand() -> None:
    family = create_family("cnn")
    parameters = family.space(DIGITS).validate(SMALL)
    module = family.build(parameters, DIGITS)
    count = sum(p.numel() for p in module.parameters())
    # conv 9x4, bn 2x4, depthwise 4x4, pointwise 4x6, bn 2x6, dense 4x4x6x12 + 12, classifier 120 + 10
    assert count == 36 + 8 + 16 + 24 + 12 + (96 * 12 + 12) + 130
    kernel_two = module.get_submodule("features.b1_l2")
    image = torch.zeros(1, 4, 8, 8)
    reference = nn.Conv2d(4, 4, 2, padding="same", groups=4, bias=False)
    reference.weight = kernel_two.depthwise.weight  # type: ignore[union-attr,assignment]
    image[0, :, 7, 7], image[0, :, 0, 0] = 1.0, 2.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns about the speed once per process
        expected = reference(image)
    torch.testing.assert_close(kernel_two.depthwise(kernel_two.pad(image)), expected)  # type: ignore[operator,union-attr]


def test_down_is_pooling_before_the_convolution() -> None:
    parameters = SMALL | {"b1_l1_type": "down", "b1_l2_type": "conv", "b1_pool": False}
    module = create_family("cnn").build(parameters, CIFAR)
    names = [name for name, _ in module.get_submodule("features.b1_l1").named_children()]
    assert names == ["down", "conv", "norm", "relu"]
    assert plan(parameters, CIFAR).size == (16, 16)


def test_without_batch_norm_convolutions_have_biases() -> None:
    module = create_family("cnn", {"batch_norm": False}).build(SMALL, DIGITS)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in module.modules())
    assert all(m.bias is not None for m in module.modules() if isinstance(m, nn.Conv2d) and m.groups == 1)


def test_equal_seeds_give_equal_weights() -> None:
    def weights() -> dict[str, torch.Tensor]:
        with torch.random.fork_rng():
            torch.manual_seed(7)
            return create_family("cnn").build(SMALL, DIGITS).state_dict()

    first, second = weights(), weights()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_too_deep_names_block_layer_and_sizes() -> None:
    deep: dict[str, Value] = {"blocks": 2, "head": "average", "dense": 0, "dropout": 0.0}
    for b in (1, 2):
        deep |= {f"b{b}_layers": 2, f"b{b}_pool": False}
        for n in (1, 2):
            deep |= {f"b{b}_l{n}_type": "down", f"b{b}_l{n}_filters": 4, f"b{b}_l{n}_kernel": 3}
    family = create_family("cnn")
    with pytest.raises(
        BuildError, match=r"b2_l2: block 2, layer 2 \(down\): a feature map of 1 x 1 .* 8 x 8"
    ):
        family.build(family.space(DIGITS).validate(deep), DIGITS)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "cnn",
            {"max_blocs": 3},
            r"network\.options\.max_blocs = 3: an option of 'cnn': max_blocks, .*batch_norm",
        ),
        ("cnn", {"max_blocks": 0}, r"network\.options\.max_blocks = 0: a whole number from 1 to 20"),
        ("cnn", {"max_blocks": True}, r"network\.options\.max_blocks = True"),
        ("cnn", {"batch_norm": 1}, r"network\.options\.batch_norm = 1: true or false"),
        ("mlp", {"max_dropout": 1.0}, r"network\.options\.max_dropout = 1\.0: a number from 0 to below 1"),
        ("mlp", {"min_width": 300}, r"network\.options\.min_width = 300: a whole number from 1 to 256"),
    ],
)
def test_bad_options_are_named(name: str, options: dict[str, Value], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        create_family(name, options)


def test_cnn_needs_images() -> None:
    with pytest.raises(
        InvalidInput,
        match=r"cnn.*needs samples of layout channels-height-width \(channels, height, width\); .*'table'.*\(13,\)",
    ):
        create_family("cnn").space(TABLE)


def test_unknown_family() -> None:
    with pytest.raises(UnknownName, match=r"network\.family = 'cmm': known: autoencoder, cnn"):
        create_family("cmm")
    assert "cnn" in FAMILIES.names()
