"""MobileNetV2. Source: Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks", 2018."""

from torch import Tensor, nn

from sparsemod.errors import InvalidInput
from sparsemod.networks.initialization import he_normal

_GROUPS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, channels, blocks, stride of the first block."""


class Inverted(nn.Module):
    """Expansion, depthwise convolution and linear projection, with a shortcut where the shape stays."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        layers: list[nn.Module] = []
        if expansion > 1:
            layers += [nn.Conv2d(inputs, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU6()]
        layers += [
            nn.Conv2d(inner, inner, 3, stride, 1, groups=inner, bias=False), nn.BatchNorm2d(inner), nn.ReLU6(),
            nn.Conv2d(inner, outputs, 1, bias=False), nn.BatchNorm2d(outputs),
        ]  # fmt: skip
        self.body = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        y: Tensor = self.body(x)
        return x + y if self.residual else y


class MobileNetV2(nn.Sequential):
    """Stem, groups of inverted residuals, a last 1 x 1 convolution, average, and a 1 x 1 convolution as classifier."""

    taps = ("group2", "group3", "group4", "group6")
    substitutes_skip = ("stem", "classifier")


def mobilenet_v2(shape: tuple[int, int, int], classes: int, width: float = 1.0) -> nn.Module:
    """Return MobileNetV2 of this width. Raises InvalidInput for a width without channels."""
    if int(16 * width) < 1:
        raise InvalidInput("network", f"mobilenetv2-{width:g}", "a width of at least 1/16")
    channels = int(32 * width)
    module = MobileNetV2()
    module.add_module(
        "stem",
        nn.Sequential(
            nn.Conv2d(shape[0], channels, 3, 2, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU6()
        ),
    )
    for number, (expansion, base, blocks, stride) in enumerate(_GROUPS, 1):
        parts = []
        for block in range(blocks):
            parts.append(Inverted(channels, int(base * width), stride if block == 0 else 1, expansion))
            channels = int(base * width)
        module.add_module(f"group{number}", nn.Sequential(*parts))
    last = int(1280 * max(1.0, width))
    module.add_module(
        "last", nn.Sequential(nn.Conv2d(channels, last, 1, bias=False), nn.BatchNorm2d(last), nn.ReLU6())
    )
    module.add_module("pool", nn.AdaptiveAvgPool2d(1))
    module.add_module("classifier", nn.Conv2d(last, classes, 1))
    module.add_module("flatten", nn.Flatten())
    he_normal(module, linear=("classifier",))
    return module
