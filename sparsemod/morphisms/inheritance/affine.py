"""A parent's layer as numbers: a linear map with taps, a bias and perhaps a batch norm; and the same written into a child's state."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from sparsemod.errors import SparsemodError

EPSILON = 1e-5
"""Of the batch norms of the built-in families."""


class LayoutMismatch(SparsemodError):
    """A state that does not have the layout of its parameters."""


@dataclass(frozen=True)
class Norm:
    """A batch norm, per channel."""

    gamma: Tensor
    beta: Tensor
    mean: Tensor
    variance: Tensor

    @property
    def scale(self) -> Tensor:
        """What it multiplies with in evaluation mode."""
        return self.gamma / torch.sqrt(self.variance + EPSILON)


@dataclass
class Affine:
    """`weight` (outputs, inputs, height, width) and `bias` (outputs) before the norm; `depthwise` (inputs, 1, height, width) when the layer is
    separable, `weight` then being its 1 x 1 part."""

    weight: Tensor
    bias: Tensor
    norm: Norm | None
    depthwise: Tensor | None = None

    @property
    def outputs(self) -> int:
        """Channels or units of its output."""
        return int(self.weight.shape[0])

    def dense(self) -> Tensor:
        """The whole linear map as one kernel; exact for a separable layer, which has nothing between its parts."""
        return self.weight if self.depthwise is None else self.weight * self.depthwise.transpose(0, 1)

    def scale(self) -> Tensor:
        """The norm's factor in evaluation mode, ones without norm."""
        return torch.ones_like(self.bias) if self.norm is None else self.norm.scale

    def shift(self) -> Tensor:
        """The output for input zero, before relu, in evaluation mode."""
        if self.norm is None:
            return self.bias
        return (self.bias - self.norm.mean) * self.norm.scale + self.norm.beta

    def strength(self) -> Tensor:
        """L1 norm of each output's kernel, the norm's factor included."""
        return self.dense().abs().sum((1, 2, 3)) * self.scale().abs()

    def importance(self) -> Tensor:
        """What each output's absence costs: its deviation after relu (its mean can be made up for); without norm its strength."""
        return self.strength() if self.norm is None else self.moments()[1].sqrt()

    def slope(self) -> Tensor:
        """The factor of the best linear stand-in for each output's relu: Cov(relu(z), z) / Var(z) for normal z; 1 without norm."""
        if self.norm is None:
            return torch.ones_like(self.bias)
        slope: Tensor = torch.special.ndtr(self.norm.beta / self.norm.gamma.abs().clamp_min(1e-6))
        return slope

    def alive(self) -> Tensor:
        """Which outputs can differ from zero after relu; pruned filters cannot."""
        return (self.strength() > 0) | (self.shift() > 0)

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and variance of each output after relu, taking what a batch norm makes for normally distributed; 0 and 1 without norm."""
        if self.norm is None:
            return torch.zeros_like(self.bias), torch.ones_like(self.bias)
        spread = self.norm.gamma.abs().clamp_min(1e-6)
        z = self.norm.beta / spread
        below, density = torch.special.ndtr(z), torch.exp(-0.5 * z**2) / (2 * torch.pi) ** 0.5
        mean = spread * (z * below + density)
        variance = spread**2 * ((z**2 + 1) * below + z * density) - mean**2
        return mean, variance.clamp_min(0.0)


def read(state: Mapping[str, Tensor], weight: str, norm: str, depthwise: str | None = None) -> Affine:
    """The layer whose weight is called `weight` and whose norm, if there is one, has the prefix `norm`. Raises LayoutMismatch."""
    try:
        kernel = _plain(state[weight])
        taps = None if depthwise is None else _plain(state[depthwise])
    except KeyError as error:
        raise LayoutMismatch(f"no {error.args[0]}") from None
    if kernel.ndim == 2:
        kernel = kernel[:, :, None, None]
    bias = state.get(weight.removesuffix("weight") + "bias")
    found = None
    if f"{norm}.running_mean" in state:
        names = ("weight", "bias", "running_mean", "running_var")
        found = Norm(*(_plain(state[f"{norm}.{name}"]) for name in names))
    return Affine(kernel, torch.zeros(kernel.shape[0]) if bias is None else _plain(bias), found, taps)


def write(
    state: dict[str, Tensor],
    weight: str,
    norm: str,
    rows: Tensor,
    source: Tensor,
    layer: Affine,
    offset: Tensor,
) -> None:
    """Bias and norm of the child's outputs `rows` become those of the parent's outputs `source`; `offset` is what the child's sum lacks.

    Where only one of the two has a norm, the other's effect in evaluation mode is kept (`factor` tells what the weights need for that).
    """
    bias_name = weight.removesuffix("weight") + "bias"
    if f"{norm}.running_mean" in state:
        given = layer.norm
        if given is None:
            ones = torch.ones_like(layer.bias)
            given = Norm(
                torch.full_like(ones, (1 + EPSILON) ** 0.5), layer.bias, torch.zeros_like(ones), ones
            )
            values = (given.gamma, given.beta + offset, given.mean, given.variance)
        else:
            values = (given.gamma, given.beta, given.mean - layer.bias - offset, given.variance)
        for name, value in zip(("weight", "bias", "running_mean", "running_var"), values, strict=True):
            state[f"{norm}.{name}"][rows] = value[source]
    else:
        state[bias_name][rows] = (layer.shift() + layer.scale() * offset)[source]


def write_identity(
    state: dict[str, Tensor], weight: str, norm: str, rows: Tensor, mean: Tensor, variance: Tensor
) -> None:
    """Bias and norm of the child's outputs `rows` let everything through in evaluation mode, whatever `mean` and `variance` are.

    When they are those of the data, training starts from the identity as well.
    """
    if f"{norm}.running_mean" in state:
        variance = variance.clamp_min(1e-2)
        state[f"{norm}.running_mean"][rows], state[f"{norm}.running_var"][rows] = mean, variance
        state[f"{norm}.weight"][rows], state[f"{norm}.bias"][rows] = torch.sqrt(variance + EPSILON), mean
    else:
        state[f"{weight.removesuffix('weight')}bias"][rows] = 0.0


def put(target: Tensor, rows: Tensor, weight: Tensor) -> None:
    """Trained `weight` into the outputs `rows` of a child's weight; its other outputs, which are new, are brought to the scale of the trained ones."""
    if 0 < len(rows) < len(target):
        new = torch.ones(len(target), dtype=torch.bool)
        new[rows] = False
        size = float(weight.square().mean().sqrt() / target[new].square().mean().sqrt().clamp_min(1e-12))
        if size > 0:
            target[new] *= size
    target[rows] = weight.reshape(len(rows), *target.shape[1:]).to(target.dtype)


def width_notes(parents: int, source: Tensor, exact: bool) -> list[str]:
    """What `choose` chose, in words."""
    new = int((source < 0).sum())
    notes = [f"{new} new outputs, without effect yet"] if new else []
    if len(source) < parents:
        notes.append(
            f"{len(source) - new} of {parents} outputs kept"
            + (", all that were not pruned" if exact else ", the strongest")
        )
    return notes


def factor(state: Mapping[str, Tensor], norm: str, layer: Affine) -> Tensor:
    """What the parent's weights are multiplied with: its norm's factor where the child has no norm to hold it, else 1."""
    folded = f"{norm}.running_mean" not in state
    return layer.scale() if folded else torch.ones_like(layer.bias)


def choose(layer: Affine, outputs: int) -> tuple[Tensor, bool]:
    """For each of the child's `outputs` the parent's output that it takes over, -1 for a new one; and whether none that matters is left out.

    Outputs keep their places while the layer does not shrink; else the most important stay, in their order. Outputs that pruning has silenced are
    not taken over: in the child they are new.
    """
    alive = layer.alive()
    if outputs >= layer.outputs:
        source = torch.full((outputs,), -1)
        source[: layer.outputs] = torch.where(alive, torch.arange(layer.outputs), -1)
        return source, True
    ranked = torch.argsort(torch.where(alive, layer.importance(), -1.0), descending=True, stable=True)
    kept = torch.sort(ranked[: min(outputs, int(alive.sum()))]).values
    source = torch.full((outputs,), -1)
    source[: len(kept)] = kept
    return source, len(kept) == int(alive.sum())


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", torch.float32)
