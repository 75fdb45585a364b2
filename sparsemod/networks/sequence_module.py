"""Networks from the definition of a sequence of layers."""

import math
from collections import Counter
from collections.abc import Callable

from torch import Tensor, nn

from sparsemod.errors import BuildError
from sparsemod.networks.initialization import he_normal
from sparsemod.networks.sequence_text import Step

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU, "leaky_relu": lambda: nn.LeakyReLU(0.2), "relu6": nn.ReLU6, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh,
    "elu": nn.ELU, "softmax": lambda: nn.Softmax(1),
}  # fmt: skip


class Sequence(nn.Sequential):
    """The layers in their order, each with the name of its kind and its number."""

    substitutes_skip: tuple[str, ...] = ("conv1",)
    taps: tuple[str, ...] = ()
    """Pooling layers and residual blocks."""


class Residual(nn.Module):
    """The sum of layers and their input; a 1 x 1 convolution adapts an input of another shape."""

    def __init__(self, layers: nn.Module, shortcut: nn.Module | None) -> None:
        super().__init__()
        self.layers, self.shortcut = layers, shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, ...) to the shape of the layers' output."""
        y: Tensor = self.layers(x)
        return y + (x if self.shortcut is None else self.shortcut(x))


def sequence(
    steps: tuple[Step, ...], shape: tuple[int, ...], classes: int, activation: str = "relu"
) -> nn.Module:
    """Return the network, He-initialized, for samples of `shape`: images (C, H, W) if it has convolutions or pooling.

    `activation` stands for the layers `activation`. Raises BuildError that names a layer that does not fit the samples.
    """
    module, _ = _built(steps, shape, classes, activation)
    module.taps = tuple(
        name
        for name, part in module.named_children()
        if isinstance(part, nn.MaxPool2d | nn.AvgPool2d | Residual)
    )
    he_normal(module, linear=("output1", "shortcut"))
    return module


def _built(
    steps: tuple[Step, ...], shape: tuple[int, ...], classes: int, activation: str
) -> tuple[Sequence, tuple[int, ...]]:
    module, numbers = Sequence(), Counter[str]()

    def add(kind: str, layer: nn.Module) -> None:
        numbers[kind] += 1
        module.add_module(f"{kind}{numbers[kind]}", layer)

    for step in steps:
        kind, given = step.kind, tuple(int(number) for number in step.numbers)
        if kind in ("conv", "max", "average"):
            if len(shape) != 3:
                raise BuildError(f"{kind} needs images (C, H, W) before it; the shape here is {shape}")
            layer, shape = _spatial(step, shape)
            add(kind, layer)
        elif kind in ("fc", "output"):
            if len(shape) > 1:
                add("flatten", nn.Flatten())
            width = classes if kind == "output" else given[0]
            add(kind, nn.Linear(math.prod(shape), width))
            shape = (width,)
        elif kind == "residual":
            inside, after = _built(step.inside, shape, classes, activation)
            add(kind, Residual(inside, _shortcut(shape, after)))
            shape = after
        elif kind == "batch_norm":
            add(kind, nn.BatchNorm2d(shape[0]) if len(shape) == 3 else nn.BatchNorm1d(math.prod(shape)))
        elif kind == "dropout":
            add(kind, nn.Dropout(step.numbers[0]))
        else:
            name = activation if kind == "activation" else kind
            add(name, _ACTIVATIONS[name]())
    return module, shape


def _spatial(step: Step, shape: tuple[int, ...]) -> tuple[nn.Module, tuple[int, ...]]:
    channels, *positions = shape
    if not step.numbers:
        return nn.AdaptiveAvgPool2d(1), (channels, 1, 1)
    *_, kernel, stride = (int(number) for number in step.numbers)
    padding = 0 if step.valid else (kernel - 1) // 2 if step.kind == "conv" or kernel % 2 else 0
    after = tuple((size + 2 * padding - kernel) // stride + 1 for size in positions)
    if min(after) < 1 or kernel > min(positions) + 2 * padding:
        raise BuildError(
            f"{step.kind} of size {kernel} does not fit images of {positions[0]} x {positions[1]}"
        )
    if step.kind == "conv":
        filters = int(step.numbers[0])
        return nn.Conv2d(channels, filters, kernel, stride, padding), (filters, *after)
    if step.kind == "max":
        return nn.MaxPool2d(kernel, stride, padding), (channels, *after)
    return nn.AvgPool2d(kernel, stride, padding, count_include_pad=False), (channels, *after)


def _shortcut(before: tuple[int, ...], after: tuple[int, ...]) -> nn.Module | None:
    if before == after:
        return None
    if len(before) != 3 or len(after) != 3:
        raise BuildError(f"a residual of linear layers needs equal shapes; these are {before} and {after}")
    strides = [-(-old // new) for old, new in zip(before[1:], after[1:], strict=True)]
    if [-(-old // stride) for old, stride in zip(before[1:], strides, strict=True)] != list(after[1:]):
        raise BuildError(f"no 1 x 1 convolution leads from {before} to {after}, around a residual")
    return nn.Conv2d(before[0], after[0], 1, (strides[0], strides[1]), bias=False)
