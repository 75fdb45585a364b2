"""VGG for images of CIFAR's size. Source: Simonyan and Zisserman, 2014; one linear layer as in common CIFAR code."""

from torch import nn

from sparsemod.errors import BuildError
from sparsemod.networks.initialization import he_normal

_PLANS = {
    11: ((64,), (128,), (256,) * 2, (512,) * 2, (512,) * 2),
    13: ((64,) * 2, (128,) * 2, (256,) * 2, (512,) * 2, (512,) * 2),
    16: ((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3),
    19: ((64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4),
}


class Vgg(nn.Sequential):
    """Five groups of 3 x 3 convolutions with max-pooling, average, linear."""

    taps = ("group3", "group4", "group5")
    substitutes_skip = ("group1.0",)


def vgg(
    shape: tuple[int, int, int], classes: int, depth: int, bn: bool = False, fc: bool = False
) -> nn.Module:
    """Return VGG of this depth, with `bn` with batch norm after each convolution, with `fc` with two hidden layers of 4096.

    Raises BuildError below 32 x 32.
    """
    if min(shape[1:]) < 32:
        raise BuildError(f"vgg halves the image five times; {shape[1]} x {shape[2]} is smaller than 32 x 32")
    module, channels = Vgg(), shape[0]
    for number, sizes in enumerate(_PLANS[depth], 1):
        layers: list[nn.Module] = []
        for size in sizes:
            layers.append(nn.Conv2d(channels, size, 3, 1, 1))
            layers += [nn.BatchNorm2d(size), nn.ReLU()] if bn else [nn.ReLU()]
            channels = size
        module.add_module(f"group{number}", nn.Sequential(*layers, nn.MaxPool2d(2)))
    module.add_module("pool", nn.AdaptiveAvgPool2d(1))
    module.add_module("flatten", nn.Flatten())
    for number in (1, 2) if fc else ():
        module.add_module(f"hidden{number}", nn.Sequential(nn.Linear(channels, 4096), nn.ReLU()))
        channels = 4096
    module.add_module("classifier", nn.Linear(channels, classes))
    he_normal(module, linear=("classifier",))
    return module
