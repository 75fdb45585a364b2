"""What flows through the child between two layers, expressed in terms of the parent's activations there."""

from dataclasses import dataclass

import torch
from torch import Tensor

from sparsemod.morphisms.inheritance.affine import Affine


@dataclass(frozen=True)
class Signal:
    """The parent's channel p is the child's activations times `mix[p]`, plus `offset[p]`: exactly where `exact`, else roughly.

    `mix` (parent's channels, child's channels): a new channel of the child is a column of zeros. `mean`, `variance` (child's channels) are
    estimates of its activations. `positive`: it comes out of a relu. `merged`: `mix` stands for a removed layer, and is but a rough guess.
    """

    mix: Tensor
    offset: Tensor
    mean: Tensor
    variance: Tensor
    positive: bool
    merged: bool = False

    @classmethod
    def of_input(cls, channels: int) -> "Signal":
        """The data themselves, taken as standardized."""
        zeros = torch.zeros(channels)
        return cls(torch.eye(channels), zeros, zeros, torch.ones(channels), False)

    @property
    def parents(self) -> int:
        """Channels of the parent here."""
        return int(self.mix.shape[0])

    @property
    def channels(self) -> int:
        """Channels of the child here."""
        return int(self.mix.shape[1])

    def live(self) -> Tensor:
        """The child's channels that stand for something of the parent."""
        return torch.nonzero(self.mix.abs().sum(0) > 0).flatten()

    def selection(self) -> Tensor | None:
        """For each of the child's channels the parent's channel it equals, -1 for a new one; None when channels are mixed."""
        used = self.mix != 0
        if bool((used.sum(0) > 1).any()) or not torch.equal(self.mix[used], torch.ones(int(used.sum()))):
            return None
        return torch.where(used.any(0), used.to(torch.int64).argmax(0), -1)

    def through(self, weight: Tensor) -> Tensor:
        """Weights (outputs, parent's channels, h, w) as weights on the child's channels. New channels get zeros."""
        chosen = self.selection()
        if chosen is None:
            return torch.einsum("ophw,pc->ochw", weight, self.mix)
        return weight[:, chosen.clamp_min(0)] * (chosen >= 0)[None, :, None, None]

    def lacking(self, weight: Tensor) -> Tensor:
        """What the offsets add to each output."""
        return torch.einsum("ophw,p->o", weight, self.offset)


def after(layer: Affine, source: Tensor) -> Signal:
    """The signal after a layer and its relu, of which the child's outputs take over the parent's `source` (-1: new)."""
    mix = torch.zeros(layer.outputs, len(source))
    taken = source >= 0
    mix[source[taken], torch.nonzero(taken).flatten()] = 1.0
    mean, variance = layer.moments()
    # A missing channel is replaced by its mean.
    offset = torch.where(mix.any(1) | ~layer.alive(), torch.zeros_like(mean), mean)
    new_mean, new_variance = torch.full((len(source),), 0.4), torch.full((len(source),), 0.34)
    new_mean[taken], new_variance[taken] = mean[source[taken]], variance[source[taken]]
    return Signal(mix, offset, new_mean, new_variance, True)


def skipping(signal: Signal, layer: Affine) -> Signal:
    """The signal where the parent has one layer more: that layer's taps are summed and its relu is replaced by the best linear stand-in."""
    slope = layer.slope()
    weight = (layer.dense() * (layer.scale() * slope)[:, None, None, None]).sum((2, 3))
    offset = weight @ signal.offset + slope * layer.shift()
    if layer.norm is not None:
        offset = offset + layer.moments()[0] - slope * layer.norm.beta
    return Signal(weight @ signal.mix, offset, signal.mean, signal.variance, signal.positive, merged=True)
