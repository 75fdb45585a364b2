"""Chains of small layers that stand for one convolution or linear layer."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from sparsemod.errors import BuildError

Layer = nn.Conv1d | nn.Conv2d | nn.Linear
Recipe = dict[str, Any]
"""Plain values from which a method makes the factors of a layer, such as its rank."""


@dataclass(frozen=True, eq=False)
class Factor:
    """One layer of a chain: `weight` (outputs, inputs / groups, rows, columns), and which of its elements stay zero."""

    weight: Tensor
    groups: int = 1
    zeros: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Source:
    """A layer that may be decomposed. `weight` (outputs, inputs, rows, columns), on the CPU in float64."""

    name: str
    weight: Tensor
    axes: int = 2
    """Axes of positions: 2 for images, 1 for sequences (whose rows are 1), 0 for a linear layer."""
    patches: Any = field(default=None)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Return outputs, inputs, rows, columns."""
        outputs, inputs, rows, columns = self.weight.shape
        return outputs, inputs, rows, columns

    @property
    def count(self) -> int:
        """Return the number of weights."""
        return self.weight.numel()


_SETTINGS = (
    "in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode",
    "in_features", "out_features",
)  # fmt: skip


class Decomposed(nn.Sequential):
    """A chain of layers in place of `original`, whose weight is their product.

    `original` keeps the settings of the layer (stride, padding, bias); its weight is not part of the module.
    """

    def __init__(self, original: Layer, factors: Sequence[Factor], recipe: Recipe) -> None:
        super().__init__(*_chain(original, factors))
        self.recipe = dict(recipe)
        self._original = [original]  # in a list, so that it is no submodule
        self.zeros = {place: f.zeros for place, f in enumerate(factors) if f.zeros is not None}
        self.drop()

    def __getattr__(self, name: str) -> Any:
        """Return a setting of the original layer, such as `out_channels`, which the network's code may read."""
        if name in _SETTINGS:
            return getattr(self._original[0], name)
        if (
            name == "weight"
        ):  # of code that computes with the weight of its layer, such as torch's transformer layer
            return self._product()
        return super().__getattr__(name)

    @property
    def layers(self) -> list[Layer]:
        """Return the layers of the chain."""
        return [layer for layer in self if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear)]

    @property
    def size(self) -> int:
        """Return the number of weights, without those that are always zero."""
        zeros = sum(int(where.sum()) for where in self.zeros.values())
        return sum(layer.weight.numel() for layer in self.layers) - zeros

    @property
    def bias(self) -> Tensor | None:
        """Return the bias, that of the last layer."""
        return self.layers[-1].bias

    @property
    def original(self) -> Layer:
        """Return the layer that the chain replaces."""
        return self._original[0]

    def drop(self) -> None:
        """Set the elements to zero that always are."""
        with torch.no_grad():
            for place, zeros in self.zeros.items():
                weight = self.layers[place].weight
                weight.masked_fill_(zeros.view(weight.shape).to(weight.device), 0.0)

    def product(self) -> Tensor:
        """Return the weight that the chain approximates, in the shape of the original's."""
        with torch.no_grad():
            return self._product()

    def _product(self) -> Tensor:
        whole: Tensor | None = None
        for layer in self.layers:
            part = _expanded(as_four(layer.weight).double(), getattr(layer, "groups", 1))
            if whole is None:
                whole = part
                continue
            # At most one of both has more than one row, and the same for columns.
            both = torch.einsum("orab,ricd->oiacbd", part, whole)
            whole = both.reshape(*both.shape[:2], both.shape[2] * both.shape[3], -1)
        if whole is None:
            raise BuildError("a decomposed layer without factors")
        weight = self.original.weight
        return whole.to(weight.dtype).reshape(weight.shape)

    def restored(self) -> Layer:
        """Return the original layer with the weight and bias that the chain computes."""
        layer, last = self.original, self.layers[-1]
        with torch.no_grad():
            layer.weight = nn.Parameter(self.product().to(last.weight.device))
            if last.bias is not None:
                layer.bias = nn.Parameter(last.bias.detach().clone())
        return layer


def as_four(weight: Tensor) -> Tensor:
    """Return a weight as (outputs, inputs, rows, columns); the missing axes have size 1."""
    if weight.dim() == 3:
        return weight.unsqueeze(2)
    return weight[:, :, None, None] if weight.dim() == 2 else weight


def source_of(name: str, layer: Layer, patches: Any = None) -> Source:
    """Return a layer as a source."""
    axes = {2: 0, 3: 1, 4: 2}[layer.weight.dim()]
    return Source(name, as_four(layer.weight.detach()).double().cpu(), axes, patches)


def decomposable(layer: nn.Module) -> bool:
    """Return whether a layer is a plain convolution without groups, or a linear layer, and no class derived from them."""
    if not isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear):
        return False
    if type(layer) not in (nn.Conv1d, nn.Conv2d, nn.Linear):
        return False
    return getattr(layer, "groups", 1) == 1 and min(layer.weight.shape[:2]) > 1


def _expanded(weight: Tensor, groups: int) -> Tensor:
    """Return the weight of a grouped convolution as one without groups."""
    if groups == 1:
        return weight
    outputs, inputs = weight.shape[:2]
    whole = weight.new_zeros(outputs, inputs * groups, *weight.shape[2:])
    per = outputs // groups
    for group in range(groups):
        rows = slice(group * per, (group + 1) * per)
        whole[rows, group * inputs : (group + 1) * inputs] = weight[rows]
    return whole


def _chain(original: Layer, factors: Sequence[Factor]) -> Iterable[nn.Module]:
    device, dtype = original.weight.device, original.weight.dtype
    for place, factor in enumerate(factors):
        last = place == len(factors) - 1
        weight = factor.weight.to(device, dtype)
        outputs, inputs = weight.shape[0], weight.shape[1] * factor.groups
        biased = last and original.bias is not None
        layer: nn.Module
        if isinstance(original, nn.Linear):
            layer = nn.Linear(inputs, outputs, biased, device=device, dtype=dtype)
            shaped = weight.flatten(1)
        else:
            layer = _convolution(original, factors, place, inputs, outputs, biased)
            shaped = weight if isinstance(original, nn.Conv2d) else weight.squeeze(2)
        layer.weight = nn.Parameter(shaped.contiguous().clone())
        if biased:
            layer.bias = nn.Parameter(original.bias.detach().clone())  # type: ignore[union-attr]
        yield layer


def _convolution(
    original: nn.Conv1d | nn.Conv2d, factors: Sequence[Factor], place: int, inputs: int, outputs: int, biased: bool
) -> nn.Module:  # fmt: skip
    """Return a convolution of the chain: stride, padding and dilation of an axis go to the factor with its taps."""
    axes = len(original.kernel_size)
    extents = [[int(f.weight.shape[2 + axis + (2 - axes)]) for axis in range(axes)] for f in factors]
    mine = [place == next((p for p, e in enumerate(extents) if e[axis] > 1), 0) for axis in range(axes)]
    padding: Any = original.padding
    if not isinstance(padding, str):
        padding = tuple(p if own else 0 for p, own in zip(padding, mine, strict=True))
    make: Any = type(original)
    return make(  # type: ignore[no-any-return]
        inputs,
        outputs,
        tuple(extents[place]),
        stride=tuple(s if own else 1 for s, own in zip(original.stride, mine, strict=True)),
        padding=padding,
        dilation=tuple(d if own else 1 for d, own in zip(original.dilation, mine, strict=True)),
        groups=factors[place].groups,
        bias=biased,
        padding_mode=original.padding_mode,
        device=original.weight.device,
        dtype=original.weight.dtype,
    )
