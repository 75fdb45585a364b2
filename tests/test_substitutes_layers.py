"""Substitute convolutions: names, counts, shapes, variance, and equality with their dense kernels."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional

from sparsemod.errors import BuildError, InvalidInput, UnknownName
from sparsemod.pipeline.training_memory import predicted
from sparsemod.records import DataInfo
from sparsemod.spec.training import TrainingSpec
from sparsemod.substitutes import SUBSTITUTES, ConvShape, Making, create, substitute
from sparsemod.substitutes.layers import ComputedConv
from sparsemod.substitutes.substitution import dense, kernel_of
from sparsemod.training.memory_trace import trace_iteration
from sparsemod.training.optimizers import OPTIMIZERS
from sparsemod.training.rules import RULES

NAMES = (
    "Conv", "Sep", "Hashed_0.2", "HashedDecimate", "SepHashed_0.3", "SepHashedDecimate", "Generic_0.4", "Shuffle_4",
    "ACDC_4", "TensorTrain_0.7", "TensorTrain_0.8_d4", "Tucker_0.6", "Tucker_0.6_d2", "CP_1.5", "Monarch_4",
)  # fmt: skip
FLOAT = Making(0.01, torch.device("cpu"), torch.float32)
DOUBLE = Making(0.01, torch.device("cpu"), torch.float64)


def shape(inputs=16, outputs=24, kernel=(3, 3), stride=(1, 1), padding=(1, 1), dilation=(1, 1), bias=False):
    return ConvShape(inputs, outputs, kernel, stride, padding, dilation, bias, "layer")


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_every_registered_substitute_is_tested():
    assert {name.split("_")[0] for name in NAMES} == set(SUBSTITUTES.names())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "given",
    [
        shape(),
        shape(stride=(2, 1), padding=(2, 0), dilation=(2, 1), bias=True),
        shape(inputs=24, outputs=16, kernel=(1, 1), stride=(2, 2), padding=(1, 0)),
        shape(kernel=(3,), stride=(2,), padding=(2,), dilation=(2,)),
        shape(kernel=(1, 3), padding="same"),
    ],
    ids=["plain", "moved", "pointwise", "sequence", "same"],
)
def test_forward_gradient_and_count_equal_the_dense_convolution(name, given):
    torch.manual_seed(1)
    chosen = create(name)
    layer = chosen.build(given, DOUBLE)
    assert parameters(layer) == chosen.parameters(given)
    size = (9, 8) if len(given.kernel) == 2 else (9,)
    x = torch.randn(2, given.inputs, *size, dtype=torch.float64, requires_grad=True)
    convolve = functional.conv2d if len(size) == 2 else functional.conv1d
    weights = list(layer.parameters())
    bias = dict(layer.named_parameters()).get(
        next((n for n, _ in layer.named_parameters() if "bias" in n), "")
    )

    def dense_run():
        kernel = kernel_of(layer, given.inputs).reshape(given.outputs, given.inputs, *given.kernel)
        return convolve(x, kernel, bias, given.stride, given.padding, given.dilation)

    ours, other = layer(x), dense_run()
    assert ours.shape == other.shape
    torch.testing.assert_close(ours, other)
    direction = torch.randn_like(ours)
    got = torch.autograd.grad((ours * direction).sum(), [x, *weights])
    wanted = torch.autograd.grad((other * direction).sum(), [x, *weights])
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b)
    spatial = [
        part for part in layer.modules()
        if isinstance(part, nn.Conv1d | nn.Conv2d) and part.groups == part.in_channels > 4
    ]  # fmt: skip
    assert given.spatial or not spatial, "no depthwise convolution for a kernel of one position"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sizes", [(48, 48, 3), (24, 60, 3), (64, 32, 1)])
def test_initialization_keeps_the_variance(name, sizes):
    inputs, outputs, kernel = sizes
    given = shape(inputs, outputs, (kernel, kernel))
    wanted = 2 / (inputs * kernel**2)
    making = Making(wanted, torch.device("cpu"), torch.float32)
    torch.manual_seed(3)
    with torch.no_grad():
        found = [
            float(kernel_of(create(name).build(given, making), inputs).square().mean()) for _ in range(10)
        ]
    # Products of few weights have heavy tails: their mean converges slowly.
    spread = 0.4 if name.startswith(("CP", "Tucker", "TensorTrain", "Generic")) else 0.12
    assert sum(found) / len(found) == pytest.approx(wanted, rel=spread)


class Net(nn.Module):
    """A stem, a block with a shortcut, a separable pair, a grouped convolution."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.body = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.shortcut = nn.Conv2d(8, 16, 1, 2)
        self.pair = nn.Sequential(
            nn.Conv2d(16, 16, 3, padding=2, dilation=2, groups=16, bias=False),
            nn.Conv2d(16, 16, 1),
            nn.ReLU(),
        )
        self.grouped = nn.Conv2d(16, 16, 3, groups=4)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5))

    def forward(self, x):
        x = self.stem(x)
        return self.head(self.grouped(self.pair(self.body(x) + self.shortcut(x))))


@pytest.mark.parametrize("name", NAMES)
def test_substitutes_in_a_network_and_back_to_dense(name):
    torch.manual_seed(0)
    net = Net().eval()
    x = torch.randn(2, 3, 16, 16)
    before = net(x).shape
    done = substitute(net, name, skip=["stem", "shortcut"])
    assert [place.path for place in done] == ["body.0", "pair.0"]
    assert done[-1].shape.dilation == (2, 2) and done[-1].shape.bias and done[-1].pair == "pair.1"
    assert net(x).shape == before
    assert substitute(net, "Sep", skip=["stem", "shortcut"]) == []
    full = dense(net)
    torch.testing.assert_close(full(x), net(x), rtol=1e-4, atol=1e-5)
    assert all(type(layer).__module__.startswith("torch") or layer is full for layer in full.modules())


def test_default_skip_is_the_networks_own_list_or_the_first_convolution():
    net = Net()
    assert [p.path for p in substitute(net, "Sep")] == ["body.0", "shortcut", "pair.0"]
    net = Net()
    net.substitutes_skip = ("stem", "*cut", "missing")
    assert [p.path for p in substitute(net, "Sep")] == ["body.0", "pair.0"]
    assert substitute(Net(), "none") == []


def test_the_new_weights_have_the_variance_of_the_replaced_ones():
    torch.manual_seed(2)
    net = nn.Sequential(nn.Conv2d(3, 32, 3), nn.Conv2d(32, 64, 3))
    nn.init.normal_(net[1].weight, 0, 0.37)
    substitute(net, "SepHashed_0.5")
    assert float(kernel_of(net[1], 32).detach().square().mean().sqrt()) == pytest.approx(0.37, rel=0.1)


def test_meta_networks_need_no_values():
    with torch.device("meta"):
        net = Net()
    for name in NAMES:
        if name != "SepHashedDecimate":
            with torch.device("meta"):
                net = Net()
            substitute(net, name)
            assert net(torch.empty(1, 3, 16, 16, device="meta")).shape == (1, 5)


def test_equal_seeds_give_equal_substitutes():
    states = []
    for _ in range(2):
        torch.manual_seed(7)
        net = Net()
        substitute(net, "Hashed_0.3")
        states.append((net.state_dict(), net.body[0].hashed.buckets.clone()))
    for a, b in itertools.pairwise(states):
        torch.testing.assert_close(a[0], b[0])
        assert torch.equal(a[1], b[1])
        assert not any("buckets" in key for key in a[0])


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("SepHash_0.2", UnknownName, "SepHashed"),
        ("SepHashed", InvalidInput, "SepHashed_SETTING"),
        ("SepHashed_1.2", InvalidInput, "up to 1"),
        ("SepHashed_0", InvalidInput, "above 0"),
        ("SepHashed_nan", InvalidInput, "above 0"),
        ("Shuffle_2.5", InvalidInput, "a whole number from 1"),
        ("Sep_3", InvalidInput, "Sep alone"),
        ("Sep_d3", InvalidInput, "without dimensions"),
        ("TensorTrain_0.2_d9", InvalidInput, "d2 to d8"),
        ("Generic_0.1_0.2", InvalidInput, "alone"),
    ],
)
def test_bad_names_say_what_is_allowed(name, error, words):
    with pytest.raises(error, match=words) as raised:
        create(name)
    assert raised.value.field == "substitute" and name in str(raised.value)


def test_names_are_canonical():
    assert [str(create(name)) for name in ("ACDC", "Shuffle_4.0", "Tucker_0.250_d3", "Tucker_0.4_d4")] == [
        "ACDC_12", "Shuffle_4", "Tucker_0.25", "Tucker_0.4_d4",
    ]  # fmt: skip


def test_layers_that_cannot_be_replaced_are_named():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, padding=1))
    with pytest.raises(BuildError, match=r"a tenth of its weights is 14, the depthwise convolution has 36"):
        substitute(net, "SepHashedDecimate")
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, padding=1, padding_mode="circular"))
    with pytest.raises(BuildError, match="pads with zeros") as raised:
        substitute(net, "Sep")
    assert raised.value.layer == "1"
    with pytest.raises(InvalidInput, match="skip"):
        substitute(Net(), "Sep", skip=["nowhere"])
    with pytest.raises(InvalidInput, match="module"):
        substitute(nn.Conv2d(3, 3, 3), "Sep")


COMPUTED = ["Hashed_0.2", "SepHashed_0.2", "ACDC_12", "TensorTrain_0.8", "Tucker_0.4", "CP_2"]
"""Substitutes whose kernel is computed from fewer weights."""


@pytest.mark.parametrize("name", COMPUTED)
def test_computed_kernels_are_not_held_for_the_backward_pass(name):
    peaks, gradients = [], []
    for checkpointed in (True, False):
        torch.manual_seed(0)
        layers = [nn.Conv2d(64, 64, 3, padding=1) for _ in range(5)]
        net = nn.Sequential(nn.Conv2d(3, 64, 3), *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        substitute(net, name)
        computed = [part for part in net.modules() if isinstance(part, ComputedConv)]
        assert len(computed) == 5 and all(part.checkpointed for part in computed)
        for part in computed:
            part.checkpointed = checkpointed
        rule = RULES.create(RULES.config("bp"))
        rule.start(net.train(), 0)
        x, y = torch.randn(2, 3, 8, 8), torch.tensor([1, 2])
        rule.gradients(x, y, functional.cross_entropy)
        gradients.append([parameter.grad.clone() for parameter in net.parameters()])
        optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
        peaks.append(trace_iteration(net, rule, (x, y), functional.cross_entropy, optimizer).beyond)
        settings = TrainingSpec(batch_size=2, optimizer=OPTIMIZERS.config("sgd", momentum=0.0))
        assert predicted(net, DataInfo(name="x", shape=(3, 8, 8), classes=64), settings).beyond == peaks[-1]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    kernels = sum(part.kernel().numel() * 4 for part in computed)
    assert peaks[1] - peaks[0] > 0.5 * kernels, (peaks, kernels)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("padding", ["same", "valid", 1])
@pytest.mark.parametrize("size", [2, 3, (2, 3)])
def test_the_gradients_of_computed_kernels_are_those_of_autograd(padding, size):
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 6, size, padding=padding, dilation=1)).double()
    substitute(net, "Hashed_0.4", skip=["0"])
    layer = net[1].hashed.train()
    x = torch.randn(2, 4, 7, 8, dtype=torch.float64, requires_grad=True)
    found = []
    truth = functional.conv2d(x, layer.kernel(), layer.bias, padding=padding)
    for layer.checkpointed in (True, False):
        torch.testing.assert_close(layer(x), truth)
        value = layer(x).square().sum()
        first = torch.autograd.grad(value, [x, *layer.parameters()], create_graph=True)
        second = torch.autograd.grad(sum(one.square().sum() for one in first), [x, *layer.parameters()])
        again = torch.autograd.grad(layer(x).square().sum(), [x, *layer.parameters()])
        found.append([*first, *second, *again])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)
    layer.checkpointed = True
    frozen = layer.weight.requires_grad_(False)
    layer(x.detach()).sum().backward()
    assert frozen.grad is None and layer.bias.grad is not None


def test_computed_kernels_train_in_bfloat16():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, padding=1))
    substitute(net, "TensorTrain_1", skip=["0"])
    x, found = torch.randn(4, 3, 6, 6), []
    for net[1].pointwise.checkpointed in (True, False):
        net.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            value = net(x).float().square().mean()
        value.backward()
        found.append([parameter.grad.clone() for parameter in net.parameters()])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=0.05, atol=0.02)
