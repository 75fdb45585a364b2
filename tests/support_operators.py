"""An example of each kind of operator: a module that contains it, on images and, if the kind supports them,
on sequences."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sparsemod.arena.memory import MEMORY
from sparsemod.export.c.dynamic.layers import DYNAMIC_EMITTERS
from sparsemod.export.c.layers import EMITTERS
from sparsemod.export.c.special import HELIUM, NARROW, SPECIAL
from sparsemod.export.onnx.layers import RULES as ONNX
from sparsemod.export.tflite.layers import RULES as TFLITE
from sparsemod.graph.aten import TRANSLATIONS
from sparsemod.graph.execute import FLOAT
from sparsemod.graph.macs import MACS
from sparsemod.kinds import KINDS
from sparsemod.measure.work import CONSTANTS, FEATURES
from sparsemod.pruning.channels import CHANNELS
from sparsemod.quantization.dynamic_rules import DYNAMIC
from sparsemod.quantization.kernels.base import KERNELS
from sparsemod.quantization.layers import LAYERS
from sparsemod.quantization.static import RULES
from sparsemod.registry import Registry
from sparsemod.sequences import last_step, mean_steps
from sparsemod.signals.modules import BandEnergies, WindowStatistics

IMAGE, SEQUENCE, STEPS, SIGNAL = (3, 6, 8), (3, 12), (12, 3), (2, 120)

SCALES = torch.tensor([0.5, 3.0, -2.0])
"""One number for each feature of the steps."""


class Applied(nn.Module):
    """A function of the input and of some layers."""

    def __init__(self, function: Callable[..., Tensor], *layers: nn.Module) -> None:
        super().__init__()
        self.layers, self.function = nn.ModuleList(layers), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.layers)


class OneOutput(nn.Module):
    """The output of a recurrent layer without its states: of all steps, or of the last one."""

    def __init__(self, layer: nn.RNNBase, last: bool = False) -> None:
        super().__init__()
        self.layer, self.last = layer, last

    def forward(self, x: Tensor) -> Tensor:
        output = self.layer(x)[0]
        return output[:, -1] if self.last else output


class Valid(nn.Module):
    """A reduction over valid steps."""

    uses_lengths = True

    def __init__(self, reduction: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.reduction = reduction

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        return self.reduction(x, torch.full((len(x),), x.shape[1]) if lengths is None else lengths)


@dataclass(frozen=True)
class Example:
    """`module` holds an operator of `kind` when it reads samples of `shape`; `stays`: the deployed graph holds one, too."""

    kind: str
    module: Callable[[], nn.Module]
    shape: tuple[int, ...]
    stays: bool = True

    @property
    def layout(self) -> str | None:
        """The layout of the samples."""
        return "time-features" if self.shape == STEPS else None


def _flat(x: Tensor) -> Tensor:
    return x.flatten(1)


def leaky(channels: int) -> nn.PReLU:
    """Return a leaky activation whose slopes differ between channels, some of them negative."""
    made = nn.PReLU(channels)
    with torch.no_grad():
        made.weight.uniform_(-0.5, 1.5)
    return made


def normed(layer: Any) -> nn.Module:
    """Return a normalization whose weights and biases differ between channels."""
    with torch.no_grad():
        layer.weight.uniform_(-1, 2)
        layer.bias.uniform_(-1, 1)
    made: nn.Module = layer
    return made


def normed_features(features: Any) -> nn.Module:
    """Return features of two channels with a batch norm behind them."""
    made: nn.Module = nn.Sequential(features, nn.BatchNorm1d(2 * features.features))
    return made


EXAMPLES = (
    Example("conv", lambda: nn.Conv2d(3, 5, 3, padding=1), IMAGE),
    Example("conv", lambda: nn.Conv1d(3, 5, 3, stride=2, padding=1, dilation=2), SEQUENCE),
    Example("linear", lambda: nn.Sequential(nn.Flatten(), nn.Linear(144, 4), nn.ReLU6()), IMAGE),
    Example("linear", lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 4)), SEQUENCE),
    Example("batch_norm", lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), IMAGE, stays=False),
    Example("batch_norm", lambda: nn.Sequential(nn.ReLU(), nn.BatchNorm1d(3)), SEQUENCE, stays=False),
    Example("relu", lambda: Applied(lambda x: x + x.relu()), IMAGE),
    Example("relu6", lambda: Applied(lambda x: functional.relu6(x)), IMAGE),
    Example("clamp", lambda: nn.ReLU(), SEQUENCE, stays=False),
    Example("max_pool", lambda: nn.MaxPool2d(3, 2, 1), IMAGE),
    Example("max_pool", lambda: nn.MaxPool1d(3, 2, 1), SEQUENCE),
    Example("avg_pool", lambda: nn.AvgPool2d(2), IMAGE),
    Example("avg_pool", lambda: nn.AvgPool1d(3, 2, 1), SEQUENCE),
    Example("global_avg_pool", lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), IMAGE),
    Example("global_avg_pool", lambda: Applied(lambda x: x.mean(2)), SEQUENCE),
    Example("add", lambda: Applied(lambda x, c: x + c(x), nn.Conv1d(3, 3, 3, padding=1)), SEQUENCE),
    Example("concat", lambda: Applied(lambda x, c: torch.cat([x, c(x)], 1), nn.Conv2d(3, 2, 1)), IMAGE),
    Example("concat", lambda: Applied(lambda x, c: torch.cat([x, c(x)], 2), nn.Conv1d(3, 3, 2)), SEQUENCE),
    Example("flatten", lambda: Applied(lambda x: torch.cat([_flat(x), _flat(x).relu()], 1)), IMAGE),
    Example("reshape", lambda: Applied(lambda x: x.reshape(-1, 3, 48)), IMAGE),
    Example("reshape", lambda: Applied(lambda x: x.flatten(1).reshape(-1, 4, 9)), SEQUENCE),
    Example("transpose", lambda: Applied(lambda x: x.transpose(1, 2).relu()), SEQUENCE),
    Example("table", lambda: nn.Hardswish(), IMAGE),
    Example("table", lambda: Applied(lambda x: 2 * x.sigmoid() - 1), SEQUENCE),
    Example("prelu", lambda: leaky(3), IMAGE),
    Example("prelu", lambda: leaky(3), SEQUENCE),
    Example("affine", lambda: Applied(lambda x, c: 3 * c(x) - 1, nn.Conv2d(3, 4, 1)), IMAGE, stays=False),
    Example("sum", lambda: Applied(lambda x, c: x + c(x), nn.Conv2d(3, 1, 1)), IMAGE),
    Example("sum", lambda: Applied(lambda x: (x + x.mean(2, keepdim=True)).relu()), SEQUENCE),
    Example("subtract", lambda: Applied(lambda x, c: x - c(x), nn.Conv2d(3, 3, 1)), IMAGE),
    Example("multiply", lambda: Applied(lambda x, p: x * p(x).sigmoid(), nn.AdaptiveAvgPool2d(1)), IMAGE),
    Example("multiply", lambda: Applied(lambda x, c: x * c(x), nn.Conv1d(3, 3, 1)), SEQUENCE),
    Example("multiply", lambda: Applied(lambda x: x / (x.abs().mean((2, 3), keepdim=True) + 1)), IMAGE),
    Example("multiply", lambda: Applied(lambda x: x / (1 + x.abs().sum(2, keepdim=True))), SEQUENCE),
    Example("maximum", lambda: Applied(lambda x, c: torch.maximum(x, c(x)), nn.Conv2d(3, 3, 1)), IMAGE),
    Example("minimum", lambda: Applied(lambda x, c: torch.minimum(x, c(x)), nn.Conv2d(3, 1, 1)), IMAGE),
    Example("move", lambda: nn.Sequential(nn.Conv2d(3, 8, 1), nn.PixelShuffle(2)), IMAGE),
    Example("move", lambda: Applied(lambda x: x.flip(2)[:, :2, 1:]), SEQUENCE),
    Example("take", lambda: nn.ReflectionPad2d((1, 2, 0, 1)), IMAGE),
    Example("take", lambda: Applied(lambda x: functional.pad(x, (2, 1, 0, 2))), SEQUENCE),
    Example("interpolate", lambda: nn.Upsample(scale_factor=2, mode="bilinear"), IMAGE),
    Example("interpolate", lambda: nn.Upsample(19, mode="linear", align_corners=True), SEQUENCE),
    Example("softmax", lambda: nn.Softmax(1), IMAGE),
    Example("softmax", lambda: nn.Softmax(2), SEQUENCE),
    Example("log_softmax", lambda: Applied(lambda x: (x / 4).log_softmax(1)), IMAGE),
    Example("group_norm", lambda: nn.Sequential(normed(nn.GroupNorm(3, 3)), nn.ReLU()), IMAGE),
    Example(
        "group_norm",
        lambda: Applied(
            lambda x, c, n: n(c(x).transpose(1, 2)), nn.Conv1d(3, 16, 3), normed(nn.LayerNorm(16))
        ),
        SEQUENCE,
    ),
    Example("matmul", lambda: Applied(lambda x: x.transpose(1, 2) @ x), SEQUENCE),
    Example("offset", lambda: Applied(lambda x: x + torch.linspace(-1, 1, 12)), SEQUENCE),
    Example("l2_normalize", lambda: Applied(lambda x: functional.normalize(x.flatten(1))), SEQUENCE),
    Example("gru", lambda: OneOutput(nn.GRU(3, 5, 2, batch_first=True, bidirectional=True)), STEPS),
    Example("gru", lambda: OneOutput(nn.GRU(3, 4, batch_first=True), last=True), STEPS),
    Example("lstm", lambda: OneOutput(nn.LSTM(3, 4, 2, batch_first=True), last=True), STEPS),
    Example("lstm", lambda: OneOutput(nn.LSTM(3, 5, batch_first=True, bidirectional=True)), STEPS),
    Example("last_step", lambda: Valid(last_step), STEPS),
    Example("mean_steps", lambda: Valid(mean_steps), STEPS),
    Example("band_energies", lambda: BandEnergies(32, 12, 1000, 5, mel=False), SIGNAL),
    Example("band_energies", lambda: normed_features(BandEnergies(48, 20, 8000, 9, coefficients=4)), SIGNAL),
    Example("window_statistics", lambda: normed_features(WindowStatistics(20, 24)), SIGNAL),
    Example(
        "pad",
        lambda: Applied(lambda x, c: c(functional.pad(x, (1, 2))), nn.Conv1d(3, 2, 3)),
        SEQUENCE,
        stays=False,
    ),
    Example("affine", lambda: Applied(lambda x: x.sigmoid() * SCALES - 0.5), STEPS, stays=False),
)


STAGES: tuple[Registry[Any], ...] = (
    KINDS, TRANSLATIONS, FLOAT, MACS, CHANNELS, RULES, LAYERS, KERNELS, MEMORY, FEATURES, CONSTANTS, EMITTERS, SPECIAL, HELIUM, NARROW, ONNX, TFLITE,
    DYNAMIC, DYNAMIC_EMITTERS,
)  # fmt: skip


@contextmanager
def unregistered_afterwards(*others: Registry[Any]) -> Iterator[None]:
    """Whatever is registered inside, with any stage or in `others`, is gone afterwards."""
    registries = (*STAGES, *others)
    for registry in registries:
        registry.names()
    before = [dict(registry._members) for registry in registries]
    try:
        yield
    finally:
        for registry, members in zip(registries, before, strict=True):
            registry._members.clear()
            registry._members.update(members)
