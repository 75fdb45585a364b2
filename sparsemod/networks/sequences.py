"""Networks as sequences of layers, by name. Imports no torch.

Sources: Liao, Leibo, Poggio, "How important is weight symmetry in backpropagation?", 2016 (liao_*); Simonyan and
Zisserman, 2014 (vgg16); He et al., 2016 (resnet); the layers are those of ZPP-MEM, arXiv 2012.11745.
"""

_LIAO_MNIST = "conv 20 5 valid, max 2, relu{bn}, conv 50 5 valid, max 2, relu{bn}, fc 500, relu{bn}"
_LIAO_CIFAR = "conv 32 5, max 3 2, relu{bn}, conv 64 5, average 3 2, relu{bn}, conv 64 5, average 3 2, relu{bn}, fc 128, relu{bn}"


def _vgg(norm: str) -> str:
    groups = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
    convolutions = [f"{f'conv {filters}{norm}, relu, ' * count}max 2" for filters, count in groups]
    return ", ".join([*convolutions, *[f"fc 4096{norm}, relu"] * 2])


def _resnet(counts: tuple[int, ...] = (2, 2, 2, 2)) -> str:
    parts = ["conv 64 7 stride 2, batch_norm, relu, max 3 2"]
    for group, count in enumerate(counts):
        for number in range(count):
            filters, stride = 64 * 2**group, 2 if group and not number else 1
            parts.append(
                f"residual, batch_norm, relu, conv {filters} 3 stride {stride}, batch_norm, relu, conv {filters}, end"
            )
    return ", ".join([*parts, "batch_norm, relu, average"])


SEQUENCES = {
    "fc": "fc 100, relu, fc 30, relu",
    "fc_sigmoid": "fc 50, sigmoid, fc 30, sigmoid, output, sigmoid",
    "conv": "conv 20 5, max 2, relu, conv 50 5, max 2, relu, fc 500, relu",
    "liao_mnist": _LIAO_MNIST.format(bn=""),
    "liao_mnist_bn": _LIAO_MNIST.format(bn=", batch_norm"),
    "liao_cifar": _LIAO_CIFAR.format(bn=""),
    "liao_cifar_bn": _LIAO_CIFAR.format(bn=", batch_norm"),
    "vgg16": _vgg(""),
    "vgg16_bn": _vgg(", batch_norm"),
    "resnet18": _resnet(),
    "resnet34": _resnet((3, 4, 6, 3)),
}
"""The definitions by name, in the language of `sparsemod.networks.sequence_text`."""
