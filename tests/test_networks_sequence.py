"""Networks defined layer by layer: the known ones, the language and its errors, training by every rule, the way to the device."""

import pytest
import torch
from support_training import digits
from torch import nn

from sparsemod.errors import BuildError, InvalidInput
from sparsemod.networks import create_family
from sparsemod.networks.sequence_module import sequence
from sparsemod.networks.sequence_text import parse_sequence
from sparsemod.networks.sequences import SEQUENCES
from sparsemod.quantization import quantize
from sparsemod.records import DataInfo
from sparsemod.spec.methods import RULES
from sparsemod.spec.training import TrainingSpec
from sparsemod.training import train

LIAO = (25 * 20 + 20) + (25 * 20 * 50 + 50) + (800 * 500 + 500) + 5010
LIAO_CIFAR = (75 * 32 + 32) + (25 * 32 * 64 + 64) + (25 * 64 * 64 + 64) + (1024 * 128 + 128) + 1290


@pytest.mark.parametrize(
    ("name", "shape", "parameters"),
    [
        ("fc", (1, 28, 28), 785 * 100 + 101 * 30 + 310),
        ("fc_sigmoid", (1, 28, 28), 785 * 50 + 51 * 30 + 310),
        ("conv", (1, 28, 28), 520 + (25 * 20 * 50 + 50) + (2450 * 500 + 500) + 5010),
        ("liao_mnist", (1, 28, 28), LIAO),
        ("liao_mnist_bn", (1, 28, 28), LIAO + 2 * (20 + 50 + 500)),
        ("liao_cifar", (3, 32, 32), LIAO_CIFAR),
        ("liao_cifar_bn", (3, 32, 32), LIAO_CIFAR + 2 * (32 + 64 + 64 + 128)),
        ("vgg16", (3, 32, 32), 14_714_688 + (512 * 4096 + 4096) + (4096 * 4096 + 4096) + 40_970),
    ],
)
def test_the_known_networks_have_their_parameters(name, shape, parameters):
    with torch.device("meta"):
        module = sequence(parse_sequence(SEQUENCES[name]), shape, 10)
        assert module(torch.zeros(2, *shape)).shape == (2, 10)
    assert sum(parameter.numel() for parameter in module.parameters()) == parameters


def test_every_known_network_can_be_built_and_names_layers_for_teachers():
    for name, text in SEQUENCES.items():
        with torch.device("meta"):
            module = sequence(parse_sequence(text), (3, 32, 32), 10)
        assert all(module.get_submodule(tap) is not None for tap in module.taps), name
        assert bool(module.taps) is not name.startswith("fc")


def test_layers_are_named_by_kind_and_number_and_padded_as_stated():
    text = """
        conv 4 5
        max 3 2
        activation, batch_norm
        conv 6 3 stride 2 valid, leaky_relu
        average
        dropout 0.25
        fc 7, tanh
    """
    module = sequence(parse_sequence(text), (2, 12, 12), 3, "elu")
    kinds = {name: type(part) for name, part in module.named_children()}
    assert list(kinds) == [
        "conv1", "max1", "elu1", "batch_norm1", "conv2", "leaky_relu1", "average1", "dropout1", "flatten1", "fc1", "tanh1", "output1",
    ]  # fmt: skip
    shapes = []
    x = torch.zeros(2, 2, 12, 12)
    for part in module:
        x = part(x)
        shapes.append(tuple(x.shape[1:]))
    assert (
        shapes[0] == (4, 12, 12) and shapes[1] == (4, 6, 6) and shapes[4] == (6, 2, 2) and shapes[-1] == (3,)
    )
    assert module.leaky_relu1.negative_slope == 0.2 and module.dropout1.p == 0.25


def test_padding_is_no_part_of_a_mean():
    module = sequence(parse_sequence("average 3 2"), (1, 8, 8), 2)
    torch.testing.assert_close(module.average1(torch.ones(1, 1, 8, 8)), torch.ones(1, 1, 4, 4))


def test_a_residual_adds_its_input():
    module = sequence(
        parse_sequence("conv 4, residual, relu, conv 4, end, residual, conv 6 3 stride 2, end"), (1, 9, 9), 2
    )
    x = torch.randn(3, 4, 9, 9)
    torch.testing.assert_close(module.residual1(x), x + module.residual1.layers(x))
    assert isinstance(module.residual2.shortcut, nn.Conv2d) and module.residual2(x).shape == (3, 6, 5, 5)


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ("conv 8, wide 3", r"layer 2: wide 3.*conv, max"),
        ("conv", None),
        ("conv 0", "whole numbers from 1"),
        ("relu 3", "layer 1: relu 3"),
        ("fc 8 valid", "`valid` with max and average"),
        ("dropout 1.5", "a share"),
        ("residual, conv 8", "an `end` for each residual"),
        ("conv 8, end", "layer 2: end"),
        ("output, fc 8, output", "one output"),
        ("", "separated by commas"),
    ],
)
def test_mistakes_name_the_layer(layers, words):
    if words is None:  # the known network of this name
        assert create_family("sequence", {"layers": layers}).implementation.steps
        return
    with pytest.raises(InvalidInput, match=words) as raised:
        create_family("sequence", {"layers": layers})
    assert raised.value.field == "network.options.layers"


@pytest.mark.parametrize(
    ("layers", "shape", "words"),
    [
        ("fc 8, conv 8", (1, 8, 8), "conv needs images"),
        ("conv 8 9 valid", (1, 8, 8), "conv of size 9 does not fit images of 8 x 8"),
        ("residual, fc 8, end", (9,), "equal shapes"),
    ],
)
def test_layers_that_do_not_fit_the_samples_are_named(layers, shape, words):
    with pytest.raises(BuildError, match=words):
        sequence(parse_sequence(layers), shape, 2)


def test_the_activation_is_searched_where_the_definition_leaves_it_open():
    info = DataInfo(name="digits", shape=(1, 8, 8), classes=10)
    open_ = create_family("sequence", {"layers": "fc 8, activation", "activations": "relu, tanh, sigmoid"})
    (choice,) = open_.space(info).parameters
    assert choice.name == "activation" and choice.values == ("relu", "tanh", "sigmoid")
    assert type(open_.build({"activation": "tanh"}, info)[2]) is nn.Tanh
    assert create_family("sequence", {"layers": "fc 8, relu"}).space(info).names == ()
    with pytest.raises(InvalidInput, match="each once"):
        create_family("sequence", {"layers": "fc 8", "activations": "relu, relu"})


@pytest.mark.parametrize("rule", RULES.names())
def test_every_rule_trains_a_sequence_and_the_result_goes_to_integers(rule):
    data = digits()
    torch.manual_seed(0)
    module = sequence(
        parse_sequence(
            "conv 6 5, max 3 2, relu, batch_norm, residual, conv 6, relu, end, average 3 2, fc 12, tanh"
        ),
        (1, 8, 8),
        10,
    )
    settings = TrainingSpec(rule=RULES.config(rule), batch_size=50, learning_rate=0.01)
    outcome = train(module, data, settings, epochs=2, seed=0)
    assert outcome.best is not None
    network = quantize(module, data.train.slice(0, 64)[0].contiguous())
    assert network is not None
