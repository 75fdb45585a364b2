"""The torch modules that substitutes are made of."""

import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sparsemod.substitutes import rebuilt
from sparsemod.substitutes.base import ConvShape, Making


class Substituted(nn.Sequential):
    """The layers of one substitute, in order. `shape` is the replaced convolution, `substitute` the substitute's name."""

    def __init__(self, shape: ConvShape, substitute: str, layers: Mapping[str, nn.Module]) -> None:
        super().__init__(OrderedDict(layers))
        self.shape, self.substitute = shape, substitute


class ChannelShuffle(nn.Module):
    """Permutes channels: (groups, channels / groups) becomes (channels / groups, groups)."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, ...) to the same shape."""
        if self.groups == 1:
            return x
        n, channels, *size = x.shape
        return (
            x.reshape(n, self.groups, channels // self.groups, *size)
            .transpose(1, 2)
            .reshape(n, channels, *size)
        )

    def permutation(self, channels: int) -> Tensor:
        """Return the input channel of every output channel."""
        return torch.arange(channels).reshape(self.groups, channels // self.groups).t().reshape(-1)


class ComputedConv(nn.Module):
    """A convolution whose kernel is computed from fewer weights at every call.

    A subclass registers its weights and returns the kernel, (outputs, inputs, *kernel), from `kernel`. With `groups` the
    kernel is that of a grouped convolution, and `inputs` of the shape are those of one group.
    """

    groups = 1
    checkpointed = True
    """Whether training computes the kernel again in the backward pass, instead of holding it and its intermediate results."""

    def __init__(self, shape: ConvShape, bias: bool, making: Making) -> None:
        super().__init__()
        self.shape = shape
        self.bias = _zeros(shape.outputs, making) if bias else None

    def kernel(self) -> Tensor:
        """Return the kernel."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (N, inputs, ...)."""
        x = self._uneven(x)
        if self.checkpointed and self.training and torch.is_grad_enabled():
            return rebuilt.convolve(self, x)
        return self.convolve(x, self.kernel())

    def convolve(self, x: Tensor, kernel: Tensor) -> Tensor:
        """Convolve (N, inputs, ...) with the kernel and `padding` at both ends."""
        shape = self.shape
        convolve = functional.conv2d if len(shape.kernel) == 2 else functional.conv1d
        result: Tensor = convolve(
            x, kernel, self.bias, shape.stride, self.padding(), shape.dilation, self.groups
        )
        return result

    def _uneven(self, x: Tensor) -> Tensor:
        """Return x with one more position at the end of each axis where the padding "same" is an odd number."""
        if self.shape.padding != "same":
            return x
        spans = [d * (k - 1) for d, k in zip(self.shape.dilation, self.shape.kernel, strict=True)]
        more = [span - 2 * pad for span, pad in zip(spans, self.padding(), strict=True)]
        return functional.pad(x, [side for one in reversed(more) for side in (0, one)]) if any(more) else x

    def padding(self) -> list[int]:
        """Return the zeros that are added at both ends of each axis."""
        shape = self.shape
        if shape.padding == "same":
            return [d * (k - 1) // 2 for d, k in zip(shape.dilation, shape.kernel, strict=True)]
        return [0] * len(shape.kernel) if isinstance(shape.padding, str) else list(shape.padding)

    def weights(self) -> list[nn.Parameter]:
        """Return the parameters from which the kernel is computed."""
        return [parameter for name, parameter in self.named_parameters() if name != "bias"]

    def extra_repr(self) -> str:
        """Return the shape."""
        return f"{self.shape.inputs}, {self.shape.outputs}, kernel_size={self.shape.kernel}, stride={self.shape.stride}"


class HashedConv(ComputedConv):
    """A convolution whose kernel's entries share the weights of `buckets` buckets.

    The bucket of an entry is a fixed random number that depends on the kernel's shape and the number of buckets only, so
    it need not be stored. Source: Chen et al., "Compressing neural networks with the hashing trick", 2015.
    """

    buckets: Tensor

    def __init__(self, shape: ConvShape, buckets: int, variance: float, making: Making) -> None:
        super().__init__(shape, True, making)
        size = (shape.outputs, shape.inputs, *shape.kernel)
        self.weight = normal((buckets,), variance, making)
        if making.device.type == "meta":
            index = torch.empty(size, dtype=torch.int32, device="meta")
        else:
            generator = torch.Generator().manual_seed(math.prod(size) * 1_000_003 + buckets)
            index = torch.randint(buckets, size, generator=generator, dtype=torch.int32).to(making.device)
        self.register_buffer("buckets", index, persistent=False)

    def kernel(self) -> Tensor:
        """Return the kernel."""
        return self.weight.index_select(0, self.buckets.reshape(-1)).reshape(self.buckets.shape)


def normal(size: tuple[int, ...], variance: float, making: Making) -> nn.Parameter:
    """Return a weight of normal values with mean 0 and this variance, from torch's global generator."""
    tensor = torch.empty(size, device=making.device, dtype=making.dtype)
    return nn.Parameter(tensor if tensor.is_meta else tensor.normal_(0.0, math.sqrt(variance)))


def conv(
    shape: ConvShape, making: Making, variance: float, *, inputs: int, outputs: int, groups: int = 1,
    kernel: bool = True, moves: bool = True, bias: bool = False,
) -> nn.Conv1d | nn.Conv2d:  # fmt: skip
    """Return a convolution with normal weights.

    `kernel`: with the kernel of `shape`, else with one position. `moves`: with its stride, padding and dilation.
    """
    one = (1,) * len(shape.kernel)
    moved = shape if moves else replace(shape, stride=one, padding=(0,) * len(one), dilation=one)
    made = replace(moved, inputs=inputs, outputs=outputs, kernel=shape.kernel if kernel else one, bias=bias)
    layer = bare_conv(made, groups)
    layer.weight = normal(tuple(layer.weight.shape), variance, making)
    layer.bias = _zeros(outputs, making) if bias else None
    return layer


def bare_conv(shape: ConvShape, groups: int = 1) -> nn.Conv1d | nn.Conv2d:
    """Return a convolution of this shape whose weights have no values: they are on the meta device."""
    kind: Any = nn.Conv2d if len(shape.kernel) == 2 else nn.Conv1d
    layer: nn.Conv1d | nn.Conv2d = kind(
        shape.inputs,
        shape.outputs,
        shape.kernel,
        shape.stride,
        shape.padding,
        shape.dilation,
        groups,
        shape.bias,
        device="meta",
    )
    return layer


def separable(shape: ConvShape, substitute: str, making: Making, pointwise: nn.Module) -> Substituted:
    """Return a depthwise convolution with the kernel of `shape` and then `pointwise`; without it for one position.

    The variance of the depthwise weights is 1 / taps.
    """
    if not shape.spatial:
        return Substituted(shape, substitute, {"pointwise": pointwise})
    depthwise = conv(
        shape, making, 1.0 / shape.taps, inputs=shape.inputs, outputs=shape.inputs, groups=shape.inputs
    )
    return Substituted(shape, substitute, {"depthwise": depthwise, "pointwise": pointwise})


def pointwise_variance(shape: ConvShape, making: Making) -> float:
    """Return the variance of a pointwise matrix that follows the depthwise convolution of `separable`."""
    return making.variance * shape.taps


def pointwise_shape(shape: ConvShape) -> ConvShape:
    """Return the shape of the pointwise convolution in `separable`: it moves only where there is no depthwise one."""
    one = (1,) * len(shape.kernel)
    if not shape.spatial:
        return shape
    return ConvShape(shape.inputs, shape.outputs, one, one, (0,) * len(one), one, shape.bias, shape.name)


def _zeros(size: int, making: Making) -> nn.Parameter:
    return nn.Parameter(torch.zeros(size, device=making.device, dtype=making.dtype))
