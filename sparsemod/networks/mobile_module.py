"""The torch modules of the family `mobile`, named like the parameters."""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

from sparsemod.networks.cnn_module import dense_head
from sparsemod.networks.initialization import he_normal
from sparsemod.networks.mobile_plan import MobileBlock, MobilePlan
from sparsemod.records import DataInfo


class SqueezeExcite(nn.Module):
    """Multiply each channel by a gate from 0 to 2, which depends on the mean of every channel.

    The gate is 2 hard-sigmoid(z), which is 1 for z = 0, so that a new layer with z = 0 changes nothing.
    Source: Hu et al., "Squeeze-and-excitation networks", 2018; the hard-sigmoid is that of MobileNetV3, 2019.
    """

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.excite = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        z = self.excite(functional.relu(self.squeeze(x.mean((2, 3), keepdim=True))))
        return x * (2 * functional.hardsigmoid(z))


class Inverted(nn.Module):
    """1 x 1 expansion, depthwise convolution, linear 1 x 1 projection; with `residual`, the input is added.

    Source: Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks", 2018.
    """

    def __init__(self, block: MobileBlock, batch_norm: bool) -> None:
        super().__init__()
        self.residual = block.residual
        self.expand = _conv(block.channels, block.inner, 1, batch_norm)
        self.depthwise = _conv(
            block.inner, block.inner, block.kernels[0], batch_norm, block.stride, block.inner
        )
        self.gate = SqueezeExcite(block.inner, block.squeezed) if block.squeezed else nn.Identity()
        self.project = nn.Conv2d(block.inner, block.filters, 1, bias=not batch_norm)
        self.project_norm = nn.BatchNorm2d(block.filters) if batch_norm else nn.Identity()
        self.pool = nn.MaxPool2d(2) if block.down == "pool" else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, H, W) to (N, filters, height, width)."""
        y = self.gate(functional.relu(self.depthwise(functional.relu(self.expand(x)))))
        y = self.project_norm(self.project(y))
        return self.pool(x + y if self.residual else y)  # type: ignore[no-any-return]


class Separable(nn.Module):
    """A depthwise and a 1 x 1 convolution, each with batch norm and relu.

    Source: Howard et al., "MobileNets: efficient convolutional neural networks for mobile vision applications", 2017.
    """

    def __init__(self, block: MobileBlock, batch_norm: bool) -> None:
        super().__init__()
        channels = block.channels
        self.depthwise = _conv(channels, channels, block.kernels[0], batch_norm, block.stride, channels)
        self.pointwise = _conv(channels, block.filters, 1, batch_norm)
        self.gate = SqueezeExcite(block.filters, block.squeezed) if block.squeezed else nn.Identity()
        self.pool = nn.MaxPool2d(2) if block.down == "pool" else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, H, W) to (N, filters, height, width)."""
        y = functional.relu(self.pointwise(functional.relu(self.depthwise(x))))
        return self.pool(self.gate(y))  # type: ignore[no-any-return]


class Paths(nn.Module):
    """Parallel convolutions `p1`, `p2`, ..., joined by a sum before the relu or by concatenation."""

    def __init__(self, block: MobileBlock, batch_norm: bool) -> None:
        super().__init__()
        self.concat = block.join == "concat"
        self.count = len(block.kernels)
        for number, kernel in enumerate(block.kernels, 1):
            path = _conv(block.channels, block.filters, kernel, batch_norm, block.stride)
            self.add_module(f"p{number}", path)
        self.gate = SqueezeExcite(block.outputs, block.squeezed) if block.squeezed else nn.Identity()
        self.pool = nn.MaxPool2d(2) if block.down == "pool" else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, H, W) to (N, outputs, height, width)."""
        paths = [getattr(self, f"p{number}")(x) for number in range(1, self.count + 1)]
        if self.concat:
            y = torch.cat([functional.relu(path) for path in paths], 1)
        else:
            y = paths[0]
            for path in paths[1:]:
                y = y + path
            y = functional.relu(y)
        return self.pool(self.gate(y))  # type: ignore[no-any-return]


def build(plan: MobilePlan, data: DataInfo, batch_norm: bool) -> nn.Sequential:
    """Build `features` (stem, b1, b2, ...) and `head` (pool, flatten, d1, ..., classifier), He-initialized.

    Maps (N, C, H, W) to (N, classes).
    """
    kinds = {"inverted": Inverted, "separable": Separable}
    features = OrderedDict(
        (block.name, kinds.get(block.type, Paths)(block, batch_norm)) for block in plan.blocks
    )
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if plan.head == "average":
        parts["pool"] = nn.AdaptiveAvgPool2d(1)
    parts["flatten"] = nn.Flatten()
    module = nn.Sequential(
        OrderedDict(
            features=nn.Sequential(features),
            head=dense_head(plan.features, plan.dense, plan.dropout, data.classes, parts),
        )
    )
    he_normal(module, linear=("classifier", "project", "excite"))
    return module


def _conv(
    inputs: int, outputs: int, kernel: int, batch_norm: bool, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    parts: OrderedDict[str, nn.Module] = OrderedDict(
        conv=nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=not batch_norm)
    )
    if batch_norm:
        parts["norm"] = nn.BatchNorm2d(outputs)
    return nn.Sequential(parts)
