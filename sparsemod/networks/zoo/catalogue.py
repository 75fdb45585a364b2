"""The names of the zoo. Imports no torch.

A module of the zoo has two attributes for other parts: `taps`, the names of layers whose outputs attention transfer
compares, and `substitutes_skip`, the layers that substitutes leave alone.
"""

import importlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparsemod.errors import InvalidInput, UnknownName

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Entry:
    """Names of one shape: the pattern, the module and the function that builds it, an example, the dataset's kind."""

    pattern: str
    place: str
    example: str
    description: str
    images: str = "cifar10"


NETWORKS: tuple[Entry, ...] = (
    Entry(r"wrn-50-2", "resnet:wrn_50_2", "wrn-50-2", "ResNet-50 of twice the width, expansion 2", "imagenet"),
    Entry(r"wrn-(\d+)-(\d+(?:\.\d+)?)", "wrn:wide_resnet", "wrn-28-10", "wide ResNet: depth 6 n + 4, width"),
    Entry(r"resnet-(18|34|50|101|152)", "resnet:imagenet_resnet", "resnet-50", "ResNet with ImageNet stem", "imagenet"),
    Entry(r"resnet-(\d+)(-bottleneck)?", "resnet:cifar_resnet", "resnet-20", "CIFAR ResNet: depth 6 n + 2"),
    Entry(r"vgg-(11|13|16|19)(-bn)?(-fc)?", "vgg:vgg", "vgg-16-bn", "VGG for CIFAR, one linear layer; -fc: three"),
    Entry(r"densenet-(\d+)(?:-(\d+))?", "densenet:densenet", "densenet-22", "DenseNet with bottlenecks: depth 6 n + 4, growth; 12"),
    Entry(r"lenet-300-100", "plans:lenet_300_100", "lenet-300-100", "LeNet-300-100: linear layers", "mnist"),
    Entry(r"lenet-5", "lenet:lenet_5", "lenet-5", "LeNet-5: two convolutions, three linear layers", "mnist"),
    Entry(r"conv-(2|4|6)", "plans:conv_n", "conv-2", "Conv-2, -4, -6 of the lottery ticket experiments"),
    Entry(r"tiny", "plans:tiny", "tiny", "three convolutions of 8 filters, linear 300 and 100"),
    Entry(r"darts(?:-(\d+)-(\d+))?", "darts:darts", "darts", "DARTS_V2 (published genotype): cells, channels; 20, 36"),
    Entry(r"mobilenetv2(?:-(\d+(?:\.\d+)?))?", "mobilenet:mobilenet_v2", "mobilenetv2", "MobileNetV2: width", "imagenet"),
    Entry(r"shufflenet-(1|2|3|4|8)", "shufflenet:shufflenet", "shufflenet-3", "ShuffleNet 1x: groups", "imagenet"),
)  # fmt: skip
"""The shapes of names, the first that fits decides."""

LIMIT = 2000
"""Largest number in a name: depth, width, cells or channels."""

DATASETS: dict[str, tuple[tuple[int, int, int], int]] = {
    "mnist": ((1, 28, 28), 10),
    "cifar10": ((3, 32, 32), 10),
    "cifar100": ((3, 32, 32), 100),
    "imagenet": ((3, 224, 224), 1000),
}
"""Shape of a sample and number of classes, by the name of a dataset."""


@dataclass(frozen=True)
class ZooNetwork:
    """A network of the zoo: its name, its entry and the numbers in its name."""

    name: str
    entry: Entry
    numbers: tuple[str | None, ...]

    def build(self, shape: tuple[int, ...], classes: int) -> "nn.Module":
        """Return the network for images (C, H, W), on torch's default device, initialized from its global generator.

        Raises BuildError for images that are too small, InvalidInput for samples that are no images and for a depth that
        the network cannot have.
        """
        if len(shape) != 3:
            raise InvalidInput("shape", shape, "images (C, H, W)")
        module, _, function = self.entry.place.partition(":")
        builder = getattr(importlib.import_module(f"sparsemod.networks.zoo.{module}"), function)
        numbers: list[int | float] = [
            float(n) if "." in n else int(n) for n in self.numbers if n is not None and n[0].isdigit()
        ]
        words = {n.strip("-"): True for n in self.numbers if n is not None and not n[0].isdigit()}
        built: nn.Module = builder(shape, classes, *numbers, **words)
        return built


def network(name: str, field: str = "network") -> ZooNetwork:
    """Return the network of this name.

    Raises UnknownName with the shapes of names, InvalidInput for a number of 0 or above `LIMIT`.
    """
    for entry in NETWORKS:
        found = re.fullmatch(entry.pattern, name)
        if found:
            numbers = [number for number in found.groups() if number is not None and number[0].isdigit()]
            if not all(0 < float(number) <= LIMIT for number in numbers):
                raise InvalidInput(field, name, f"numbers above 0 and up to {LIMIT} ({entry.description})")
            return ZooNetwork(name, entry, found.groups())
    raise UnknownName(field, name, [entry.example for entry in NETWORKS])
