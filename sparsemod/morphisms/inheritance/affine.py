"""Read a parent's layer as a linear map with bias and optional batch norm; write such a layer to a child."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from sparsemod.errors import SparsemodError

EPSILON = 1e-5
"""Epsilon of the batch norms in the built-in families."""


class LayoutMismatch(SparsemodError):
    """A state does not have the layout of its parameters."""


@dataclass(frozen=True)
class Norm:
    """A batch norm; each tensor has one value per channel."""

    gamma: Tensor
    beta: Tensor
    mean: Tensor
    variance: Tensor

    @property
    def scale(self) -> Tensor:
        """The factor in evaluation mode."""
        return self.gamma / torch.sqrt(self.variance + EPSILON)


@dataclass
class Affine:
    """A linear layer with an optional batch norm after it.

    `weight` (outputs, inputs, height, width), `bias` (outputs). In a separable layer, `depthwise` (inputs, 1,
    height, width) is the depthwise part and `weight` the 1 x 1 part.
    """

    weight: Tensor
    bias: Tensor
    norm: Norm | None
    depthwise: Tensor | None = None

    @property
    def outputs(self) -> int:
        """Number of output channels or units."""
        return int(self.weight.shape[0])

    def dense(self) -> Tensor:
        """Return the linear map as one kernel.

        It is exact for a separable layer, because its parts are adjacent.
        """
        return self.weight if self.depthwise is None else self.weight * self.depthwise.transpose(0, 1)

    def scale(self) -> Tensor:
        """Return the norm's factor in evaluation mode, ones without norm."""
        return torch.ones_like(self.bias) if self.norm is None else self.norm.scale

    def shift(self) -> Tensor:
        """Return the output for input zero, before relu, in evaluation mode."""
        if self.norm is None:
            return self.bias
        return (self.bias - self.norm.mean) * self.norm.scale + self.norm.beta

    def strength(self) -> Tensor:
        """Return the L1 norm of each output's kernel times the batch norm's factor."""
        return self.dense().abs().sum((1, 2, 3)) * self.scale().abs()

    def importance(self) -> Tensor:
        """Return the cost of removing each output: its deviation after relu, without norm its strength.

        The mean costs nothing, because an offset can replace it.
        """
        return self.strength() if self.norm is None else self.moments()[1].sqrt()

    def slope(self) -> Tensor:
        """Return the slope of the best linear approximation of each relu; 1 without norm.

        It is Cov(relu(z), z) / Var(z) for normal z.
        """
        if self.norm is None:
            return torch.ones_like(self.bias)
        slope: Tensor = torch.special.ndtr(self.norm.beta / self.norm.gamma.abs().clamp_min(1e-6))
        return slope

    def alive(self) -> Tensor:
        """Return which outputs can be nonzero after relu; those of pruned filters cannot."""
        return (self.strength() > 0) | (self.shift() > 0)

    def moments(self) -> tuple[Tensor, Tensor]:
        """Return mean and variance of each output after relu; 0 and 1 without norm.

        Assumes that the outputs of the norm are normally distributed.
        """
        if self.norm is None:
            return torch.zeros_like(self.bias), torch.ones_like(self.bias)
        spread = self.norm.gamma.abs().clamp_min(1e-6)
        z = self.norm.beta / spread
        below, density = torch.special.ndtr(z), torch.exp(-0.5 * z**2) / (2 * torch.pi) ** 0.5
        mean = spread * (z * below + density)
        variance = spread**2 * ((z**2 + 1) * below + z * density) - mean**2
        return mean, variance.clamp_min(0.0)


def read(state: Mapping[str, Tensor], weight: str, norm: str, depthwise: str | None = None) -> Affine:
    """Read the layer with the weight named `weight` and, if present, the batch norm with the prefix `norm`.

    Raises LayoutMismatch.
    """
    try:
        kernel = _plain(state[weight])
        taps = None if depthwise is None else _plain(state[depthwise])
    except KeyError as error:
        raise LayoutMismatch(f"no {error.args[0]}") from None
    if kernel.ndim == 2:
        kernel = kernel[:, :, None, None]
    elif kernel.ndim == 3:  # a kernel over time
        kernel, taps = kernel[:, :, None], None if taps is None else taps[:, :, None]
    bias = state.get(weight.removesuffix("weight") + "bias")
    batch_norm = None
    if f"{norm}.running_mean" in state:
        names = ("weight", "bias", "running_mean", "running_var")
        batch_norm = Norm(*(_plain(state[f"{norm}.{name}"]) for name in names))
    return Affine(kernel, torch.zeros(kernel.shape[0]) if bias is None else _plain(bias), batch_norm, taps)


def write(
    state: dict[str, Tensor],
    weight: str,
    norm: str,
    rows: Tensor,
    source: Tensor,
    layer: Affine,
    offset: Tensor,
) -> None:
    """Copy bias and norm of the parent's outputs `source` to the child's outputs `rows`.

    `offset` is the amount missing in the child's sum.

    If only one of the two layers has a norm, the effect in evaluation mode stays the same (`factor` returns
    the factor for the weights).
    """
    bias_name = weight.removesuffix("weight") + "bias"
    if f"{norm}.running_mean" in state:
        source_norm = layer.norm
        if source_norm is None:
            ones = torch.ones_like(layer.bias)
            gamma = torch.full_like(ones, (1 + EPSILON) ** 0.5)
            values = (gamma, layer.bias + offset, torch.zeros_like(ones), ones)
        else:
            mean = source_norm.mean - layer.bias - offset
            values = (source_norm.gamma, source_norm.beta, mean, source_norm.variance)
        for name, value in zip(("weight", "bias", "running_mean", "running_var"), values, strict=True):
            state[f"{norm}.{name}"][rows] = value[source]
    else:
        state[bias_name][rows] = (layer.shift() + layer.scale() * offset)[source]


def write_identity(
    state: dict[str, Tensor], weight: str, norm: str, rows: Tensor, mean: Tensor, variance: Tensor
) -> None:
    """Set bias and norm of the child's outputs `rows` to the identity in evaluation mode.

    This holds for any `mean` and `variance`. With those of the data, training starts from the identity too.
    """
    if f"{norm}.running_mean" in state:
        variance = variance.clamp_min(1e-2)
        state[f"{norm}.running_mean"][rows], state[f"{norm}.running_var"][rows] = mean, variance
        state[f"{norm}.weight"][rows], state[f"{norm}.bias"][rows] = torch.sqrt(variance + EPSILON), mean
    else:
        state[f"{weight.removesuffix('weight')}bias"][rows] = 0.0


def put(target: Tensor, rows: Tensor, weight: Tensor) -> None:
    """Copy trained `weight` to the outputs `rows` of a child's weight; scale the new outputs to the same size."""
    if 0 < len(rows) < len(target):
        new = torch.ones(len(target), dtype=torch.bool)
        new[rows] = False
        size = float(weight.square().mean().sqrt() / target[new].square().mean().sqrt().clamp_min(1e-12))
        if size > 0:
            target[new] *= size
    target[rows] = weight.reshape(len(rows), *target.shape[1:]).to(target.dtype)


def width_notes(parents: int, source: Tensor, exact: bool) -> list[str]:
    """Describe the result of `choose` in notes."""
    new = int((source < 0).sum())
    notes = [f"{new} new outputs, without effect yet"] if new else []
    if len(source) < parents:
        notes.append(
            f"{len(source) - new} of {parents} outputs kept"
            + (", all that were not pruned" if exact else ", the strongest")
        )
    return notes


def factor(state: Mapping[str, Tensor], norm: str, layer: Affine) -> Tensor:
    """Return the factor for the parent's weights: that of its norm if the child has no norm, else 1."""
    folded = f"{norm}.running_mean" not in state
    return layer.scale() if folded else torch.ones_like(layer.bias)


def choose(layer: Affine, outputs: int) -> tuple[Tensor, bool]:
    """Return the parent's output for each of the child's `outputs` (-1: new), and whether no live output is lost.

    If the layer does not shrink, outputs keep their places; else the most important ones remain, in order.
    Outputs that pruning has zeroed are not inherited: they are new in the child.
    """
    alive = layer.alive()
    if outputs >= layer.outputs:
        source = torch.full((outputs,), -1)
        source[: layer.outputs] = torch.where(alive, torch.arange(layer.outputs), -1)
        return source, True
    ranked = torch.argsort(torch.where(alive, layer.importance(), -1.0), descending=True, stable=True)
    kept_rows = torch.sort(ranked[: min(outputs, int(alive.sum()))]).values
    source = torch.full((outputs,), -1)
    source[: len(kept_rows)] = kept_rows
    return source, len(kept_rows) == int(alive.sum())


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", torch.float32)
