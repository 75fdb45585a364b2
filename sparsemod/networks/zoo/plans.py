"""Networks from plans, such as `64-64-M-128B-A` for convolutions and `256-256` for linear layers.

Plan of convolutions, items separated by `-`: a number n is a 3 x 3 convolution (padding 1) with n filters and an activation,
`nB` has a batch norm between them, `M` is max-pooling and `A` average-pooling by 2. Plan of linear layers: their widths. A
linear layer with one output for each class follows. Initialization: Glorot's normal one, biases zero (Glorot and Bengio,
2010). Source of the networks: Frankle and Carbin, "The lottery ticket hypothesis", 2019.
"""

from torch import nn

from sparsemod.errors import BuildError
from sparsemod.networks.plan_text import conv_plan, fc_plan

PLANS = {
    "lenet-300-100": ("", "300-100"),
    "conv-2": ("64-64-M", "256-256"),
    "conv-4": ("64-64-M-128-128-M", "256-256"),
    "conv-6": ("64-64-M-128-128-M-256-256-M", "256-256"),
    "tiny": ("8-8-M-8-M", "300-100"),
}
"""Plans of convolutions and of linear layers by the name in the zoo."""

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh}


class Planned(nn.Sequential):
    """A network from plans: the layers in their order."""

    substitutes_skip = ("conv1",)
    taps: tuple[str, ...] = ()


def planned(shape: tuple[int, ...], classes: int, conv: str, fc: str, activation: str = "relu") -> nn.Module:
    """Return the network of two plans for samples of `shape`, images (C, H, W) if it has convolutions.

    Raises InvalidInput that names a bad item of a plan, BuildError for images that are too small for the pooling.
    """
    module, size = Planned(), list(shape)
    act = ACTIVATIONS[activation]
    items = conv_plan(conv)
    if items and len(shape) != 3:
        raise BuildError(f"convolutions need images (C, H, W); samples have the shape {tuple(shape)}")
    number = 0
    for item in items:
        if item in ("M", "A"):
            size[1:] = [length // 2 for length in size[1:]]
            if min(size[1:]) < 1:
                raise BuildError(
                    f"the plan {conv} pools more often than images of {shape[1]} x {shape[2]} allow"
                )
            module.add_module(f"pool{len(module)}", nn.MaxPool2d(2) if item == "M" else nn.AvgPool2d(2))
            continue
        number += 1
        filters = int(item.removesuffix("B"))
        module.add_module(f"conv{number}", nn.Conv2d(size[0], filters, 3, padding=1))
        if item.endswith("B"):
            module.add_module(f"norm{number}", nn.BatchNorm2d(filters))
        module.add_module(f"act{number}", act())
        size[0] = filters
    module.add_module("flatten", nn.Flatten())
    features = 1
    for length in size:
        features *= length
    for place, width in enumerate(fc_plan(fc), 1):
        module.add_module(f"fc{place}", nn.Linear(features, width))
        module.add_module(f"fc_act{place}", act())
        features = width
    module.add_module("classifier", nn.Linear(features, classes))
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    names = [name for name, _ in module.named_children()]
    convolutional = tuple(name for name in names if name.startswith("act"))
    module.taps = convolutional or tuple(name for name in names if name.startswith("fc_act"))
    return module


def lenet_300_100(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return LeNet-300-100 with relu."""
    return planned(shape, classes, *PLANS["lenet-300-100"])


def conv_n(shape: tuple[int, ...], classes: int, depth: int) -> nn.Module:
    """Return Conv-2, Conv-4 or Conv-6."""
    return planned(shape, classes, *PLANS[f"conv-{depth}"])


def tiny(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return the tiny network."""
    return planned(shape, classes, *PLANS["tiny"])
