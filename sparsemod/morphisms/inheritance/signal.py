"""The relation between the parent's and the child's activations between two layers."""

from dataclasses import dataclass

import torch
from torch import Tensor

from sparsemod.morphisms.inheritance.affine import Affine


@dataclass(frozen=True)
class Signal:
    """The parent's channel p is about the child's activations times `mix[p]`, plus `offset[p]`.

    `mix` (parent's channels, child's channels): a new channel of the child is a column of zeros. `mean`,
    `variance` (child's channels): estimates for the child's activations. `positive`: the signal is the output
    of a relu. `merged`: `mix` replaces a removed layer and is only a rough approximation.
    """

    mix: Tensor
    offset: Tensor
    mean: Tensor
    variance: Tensor
    positive: bool
    merged: bool = False

    @classmethod
    def of_input(cls, channels: int) -> "Signal":
        """Return the signal of the input data, assumed to be standardized."""
        zeros = torch.zeros(channels)
        return cls(torch.eye(channels), zeros, zeros, torch.ones(channels), False)

    @property
    def parents(self) -> int:
        """Number of the parent's channels."""
        return int(self.mix.shape[0])

    @property
    def channels(self) -> int:
        """Number of the child's channels."""
        return int(self.mix.shape[1])

    def live(self) -> Tensor:
        """Return the child's channels that contribute to a channel of the parent."""
        return torch.nonzero(self.mix.abs().sum(0) > 0).flatten()

    def selection(self) -> Tensor | None:
        """Return the equal parent's channel of each channel, -1 for a new one; None if channels are mixed."""
        used = self.mix != 0
        if bool((used.sum(0) > 1).any()) or not torch.equal(self.mix[used], torch.ones(int(used.sum()))):
            return None
        return torch.where(used.any(0), used.to(torch.int64).argmax(0), -1)

    def through(self, weight: Tensor) -> Tensor:
        """Convert weights (outputs, parent's channels, h, w) to weights on the child's channels.

        New channels get zeros.
        """
        selection = self.selection()
        if selection is None:
            return torch.einsum("ophw,pc->ochw", weight, self.mix)
        return weight[:, selection.clamp_min(0)] * (selection >= 0)[None, :, None, None]

    def lacking(self, weight: Tensor) -> Tensor:
        """Return the contribution of the offsets to each output."""
        return torch.einsum("ophw,p->o", weight, self.offset)


def new_moments(channels: int) -> tuple[Tensor, Tensor]:
    """Return mean and variance (channels,) of new channels: those of relu(x) for a standard normal x."""
    return torch.full((channels,), 0.4), torch.full((channels,), 0.34)


def after(layer: Affine, source: Tensor) -> Signal:
    """Return the signal after a layer and its relu; the child inherits the outputs `source` (-1: new)."""
    mix = torch.zeros(layer.outputs, len(source))
    inherited = source >= 0
    mix[source[inherited], torch.nonzero(inherited).flatten()] = 1.0
    mean, variance = layer.moments()
    # The mean replaces a missing channel.
    offset = torch.where(mix.any(1) | ~layer.alive(), torch.zeros_like(mean), mean)
    new_mean, new_variance = new_moments(len(source))
    new_mean[inherited], new_variance[inherited] = mean[source[inherited]], variance[source[inherited]]
    return Signal(mix, offset, new_mean, new_variance, True)


def skipping(signal: Signal, layer: Affine) -> Signal:
    """Return the signal past a removed layer of the parent.

    The layer's taps are summed, and the best linear approximation replaces its relu.
    """
    slope = layer.slope()
    weight = (layer.dense() * (layer.scale() * slope)[:, None, None, None]).sum((2, 3))
    offset = weight @ signal.offset + slope * layer.shift()
    if layer.norm is not None:
        offset = offset + layer.moments()[0] - slope * layer.norm.beta
    return Signal(weight @ signal.mix, offset, signal.mean, signal.variance, signal.positive, merged=True)
