"""The torch module of the family `cnn`: nested Sequentials, named like the parameters."""

from collections import OrderedDict

from torch import nn

from sparsemod.networks.cnn_plan import CnnLayer, CnnPlan
from sparsemod.networks.initialization import he_normal
from sparsemod.records import DataInfo


def build(plan: CnnPlan, data: DataInfo, batch_norm: bool) -> nn.Sequential:
    """Build `features` (b1_l1, b1_l2, ..., b1_pool, ...) and `head` (pool, flatten, d1, ..., classifier).

    Maps (N, C, H, W) to (N, classes).
    """
    features: OrderedDict[str, nn.Module] = OrderedDict()
    for number, (layers, pool) in enumerate(plan.blocks, 1):
        for layer in layers:
            features[layer.name] = _layer(layer, batch_norm)
        if pool:
            features[f"b{number}_pool"] = nn.MaxPool2d(2)
    head: OrderedDict[str, nn.Module] = OrderedDict()
    if plan.head == "average":
        head["pool"] = nn.AdaptiveAvgPool2d(1)
    head["flatten"] = nn.Flatten()
    width = plan.features
    for number, units in enumerate(plan.dense, 1):
        head[f"drop{number}"] = nn.Dropout(plan.dropout)
        head[f"d{number}"] = nn.Linear(width, units)
        head[f"relu{number}"] = nn.ReLU()
        width = units
    head["drop"] = nn.Dropout(plan.dropout)
    head["classifier"] = nn.Linear(width, data.classes)
    module = nn.Sequential(OrderedDict(features=nn.Sequential(features), head=nn.Sequential(head)))
    he_normal(module, linear=("classifier", "depthwise"))
    return module


def _layer(layer: CnnLayer, batch_norm: bool) -> nn.Sequential:
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if layer.type == "down":
        parts["down"] = nn.MaxPool2d(2)
    before = (layer.kernel - 1) // 2
    after = layer.kernel - 1 - before
    # padding="same" would give the same result for even kernels, but with a warning at run time.
    if before != after:
        parts["pad"] = nn.ZeroPad2d((before, after, before, after))
    padding = before if before == after else 0
    bias = not batch_norm
    if layer.type == "separable":
        parts["depthwise"] = nn.Conv2d(
            layer.channels, layer.channels, layer.kernel, padding=padding, groups=layer.channels, bias=False
        )
        parts["pointwise"] = nn.Conv2d(layer.channels, layer.filters, 1, bias=bias)
    else:
        parts["conv"] = nn.Conv2d(layer.channels, layer.filters, layer.kernel, padding=padding, bias=bias)
    if batch_norm:
        parts["norm"] = nn.BatchNorm2d(layer.filters)
    parts["relu"] = nn.ReLU()
    return nn.Sequential(parts)
