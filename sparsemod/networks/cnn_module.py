"""The torch modules of the families `cnn` and `cnn1d`: nested Sequentials, named like the parameters."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from sparsemod.networks.cnn_plan import CnnLayer, CnnPlan
from sparsemod.networks.initialization import he_normal
from sparsemod.records import DataInfo


@dataclass(frozen=True)
class Layers:
    """The classes of torch's layers for images or for sequences."""

    conv: type[nn.Conv1d | nn.Conv2d]
    norm: type[nn.BatchNorm1d | nn.BatchNorm2d]
    pool: type[nn.MaxPool1d | nn.MaxPool2d]
    axes: int

    def pad(self, before: int, after: int) -> nn.Module:
        """Return a layer that adds zeros at both ends of each axis."""
        if self.axes == 1:
            return nn.ConstantPad1d((before, after), 0.0)
        return nn.ZeroPad2d((before, after, before, after))


IMAGES = Layers(nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, 2)
SEQUENCES = Layers(nn.Conv1d, nn.BatchNorm1d, nn.MaxPool1d, 1)


def build(plan: CnnPlan, data: DataInfo, batch_norm: bool) -> nn.Sequential:
    """Build `features` (b1_l1, b1_l2, ..., b1_pool, ...) and `head` (pool, flatten, d1, ..., classifier).

    Maps (N, C, H, W) to (N, classes).
    """
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if plan.head == "average":
        parts["pool"] = nn.AdaptiveAvgPool2d(1)
    parts["flatten"] = nn.Flatten()
    module = nn.Sequential(
        OrderedDict(
            features=convolutions(plan, IMAGES, batch_norm),
            head=dense_head(plan.features, plan.dense, plan.dropout, data.classes, parts),
        )
    )
    initialize(module)
    return module


def initialize(module: nn.Module) -> None:
    """He-initialize a network of these parts."""
    he_normal(module, linear=("classifier", "depthwise"))


def convolutions(plan: CnnPlan, kinds: Layers, batch_norm: bool, causal: bool = False) -> nn.Sequential:
    """Build the layers of all blocks. `causal`: a step reads itself and earlier steps."""
    features: OrderedDict[str, nn.Module] = OrderedDict()
    for number, (layers, pool) in enumerate(plan.blocks, 1):
        for layer in layers:
            features[layer.name] = _layer(layer, kinds, batch_norm, causal)
        if pool:
            features[f"b{number}_pool"] = kinds.pool(2)
    return nn.Sequential(features)


def dense_head(
    width: int, dense: Sequence[int], dropout: float, classes: int, parts: OrderedDict[str, nn.Module]
) -> nn.Sequential:
    """Build `parts`, hidden layers d1, d2, ... of the widths `dense`, and the classifier. `width`: numbers that enter."""
    head = OrderedDict(parts)
    for number, units in enumerate(dense, 1):
        head[f"drop{number}"] = nn.Dropout(dropout)
        head[f"d{number}"] = nn.Linear(width, units)
        head[f"relu{number}"] = nn.ReLU()
        width = units
    head["drop"] = nn.Dropout(dropout)
    head["classifier"] = nn.Linear(width, classes)
    return nn.Sequential(head)


def _layer(layer: CnnLayer, kinds: Layers, batch_norm: bool, causal: bool) -> nn.Sequential:
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if layer.type == "down":
        parts["down"] = kinds.pool(2)
    around = (layer.kernel - 1) * layer.dilation
    before = around if causal else (layer.kernel - 1) // 2 * layer.dilation
    after = around - before
    # padding="same" would give the same result for even kernels, but with a warning at run time.
    if before != after:
        parts["pad"] = kinds.pad(before, after)
    padding = before if before == after else 0
    bias, dilation = not batch_norm, layer.dilation
    if layer.type == "separable":
        parts["depthwise"] = kinds.conv(
            layer.channels, layer.channels, layer.kernel, padding=padding, dilation=dilation, groups=layer.channels, bias=False
        )  # fmt: skip
        parts["pointwise"] = kinds.conv(layer.channels, layer.filters, 1, bias=bias)
    else:
        parts["conv"] = kinds.conv(
            layer.channels, layer.filters, layer.kernel, padding=padding, dilation=dilation, bias=bias
        )
    if batch_norm:
        parts["norm"] = kinds.norm(layer.filters)
    parts["relu"] = nn.ReLU()
    return nn.Sequential(parts)
