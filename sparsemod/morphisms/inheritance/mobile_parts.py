"""Inheritance of the parts of a block of the family `mobile`: convolutions, shortcuts, squeeze-and-excite."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sparsemod.morphisms.inheritance.affine import (
    Affine,
    choose,
    factor,
    put,
    read,
    width_notes,
    write,
    write_identity,
)
from sparsemod.morphisms.inheritance.convolution import (
    State,
    Taps,
    dirac,
    keep_norm,
    kernel_notes,
    resize_kernel,
    set_rows,
)
from sparsemod.morphisms.inheritance.signal import Signal, after, new_moments

Result = tuple[Signal, bool, list[str]]
"""The signal after a part, whether the part computes the same as the parent's, and notes."""

PLAIN = Taps(1)


@dataclass
class Kept(Affine):
    """A layer of which every output stays, also one that pruning has zeroed: others may add to it.

    `linear`: no relu follows.
    """

    linear: bool = False

    def alive(self) -> Tensor:
        """See Affine."""
        return torch.ones(self.outputs, dtype=torch.bool)

    def moments(self) -> tuple[Tensor, Tensor]:
        """See Affine; without relu those of the batch norm."""
        if not self.linear or self.norm is None:
            return super().moments()
        return self.norm.beta, self.norm.gamma**2


def read_kept(state: Mapping[str, Tensor], weight: str, norm: str, linear: bool = False) -> Kept:
    """Read a parent's layer. Raises LayoutMismatch."""
    found = read(state, weight, norm)
    return Kept(found.weight, found.bias, found.norm, None, linear)


def following(layer: Kept, source: Tensor) -> Signal:
    """Return the signal after a layer; the child inherits the outputs `source` (-1: new)."""
    return replace(after(layer, source), positive=not layer.linear)


def positions(parents: int, channels: int) -> Tensor:
    """Return the parent's channel at the same position for each of the child's channels, -1 beyond them."""
    source = torch.full((channels,), -1)
    common = min(parents, channels)
    source[:common] = torch.arange(common)
    return source


def lost(parents: int, channels: int) -> Signal:
    """Return the signal after a layer that only one of the two networks has; its channels have no known relation."""
    mix = torch.zeros(parents, channels)
    common = min(parents, channels)
    mix[torch.arange(common), torch.arange(common)] = 1.0
    return Signal(mix, torch.zeros(parents), *new_moments(channels), False, merged=True)


def carry_dense(
    state: State, weight: str, norm: str, layer: Kept, signal: Signal, before: Taps, now: Taps, source: Tensor | None = None
) -> Result:  # fmt: skip
    """Fill the child's convolution `weight` from the parent's `layer`; `source` states its outputs, by default the strongest."""
    exact, notes = before.within(now), kernel_notes(before, now)
    if source is None:
        source, kept = choose(layer, int(state[weight].shape[0]))
        notes += width_notes(layer.outputs, source, kept)
        exact &= kept
    rows = torch.nonzero(source >= 0).flatten()
    if signal.merged:
        keep_norm(state, norm, rows, source[rows], layer)
        notes.append("its input is another: new weights, scale and shift kept")
        return following(layer, source), False, notes
    made = signal.through(
        resize_kernel(layer.weight * factor(state, norm, layer)[:, None, None, None], before, now)
    )
    put(state[weight], rows, made[source[rows]])
    write(state, weight, norm, rows, source[rows], layer, signal.lacking(layer.weight))
    return following(layer, source), exact, notes


def carry_depthwise(
    state: State, prefix: str, layer: Kept, signal: Signal, before: Taps, now: Taps
) -> Result:
    """Fill the child's depthwise convolution `prefix` from the parent's `layer`, channel by channel."""
    weight, norm = f"{prefix}.conv.weight", f"{prefix}.norm"
    selection = None if signal.merged else signal.selection()
    exact, notes = before.within(now), kernel_notes(before, now)
    if selection is None:
        selection, exact = positions(layer.outputs, int(state[weight].shape[0])), False
        notes.append("its input is another: kernels kept by position")
    rows = torch.nonzero(selection >= 0).flatten()
    made = resize_kernel(layer.weight * factor(state, norm, layer)[:, None, None, None], before, now)
    put(state[weight], rows, made[selection[rows]])
    lacking = layer.weight.sum((1, 2, 3)) * signal.offset
    write(state, weight, norm, rows, selection[rows], layer, lacking)
    return following(layer, selection), exact, notes


def carry_residual(state: State, prefix: str, layer: Kept, into: Signal, inner: Signal) -> Result:
    """Fill the projection of a block with a shortcut in both networks: `into` is the signal at its input, `inner` before it."""
    weight, norm = f"{prefix}.project.weight", f"{prefix}.project_norm"
    source = None if into.merged else into.selection()
    exact = source is not None
    if source is None:
        source = positions(layer.outputs, into.channels)
    made, preserved, notes = carry_dense(state, weight, norm, layer, inner, PLAIN, PLAIN, source)
    missing = torch.where(made.mix.any(1), 0.0, into.offset + layer.moments()[0])
    return (
        Signal(made.mix, missing, into.mean + made.mean, into.variance + made.variance, False, into.merged),
        exact and preserved,
        notes,
    )


def carry_gate(state: State, prefix: str, parent: Mapping[str, Tensor], origin: str, signal: Signal) -> bool:
    """Fill the child's squeeze-and-excite `prefix` from the parent's `origin`; return whether it computes the same."""
    squeeze, excite = (read_kept(parent, f"{origin}.{part}.weight", "none") for part in ("squeeze", "excite"))
    inner, exact, _ = carry_dense(
        state, f"{prefix}.squeeze.weight", "none", squeeze, replace(signal, merged=False), PLAIN, PLAIN
    )
    selection = signal.selection()
    known = selection is not None and not signal.merged
    if selection is None:
        selection = positions(signal.parents, signal.channels)
    carry_dense(state, f"{prefix}.excite.weight", "none", excite, inner, PLAIN, PLAIN, selection)
    return exact and known


def open_gate(state: State, prefix: str) -> None:
    """Set all gates of a new squeeze-and-excite to 1."""
    state[f"{prefix}.excite.weight"].zero_()
    state[f"{prefix}.excite.bias"].zero_()


def silence(state: State, weight: str, norm: str) -> None:
    """Make a convolution with its batch norm return zeros. Training can change that."""
    if f"{norm}.weight" in state:
        state[f"{norm}.weight"].zero_()
        state[f"{norm}.bias"].zero_()
    else:
        state[weight].zero_()
        state[weight.removesuffix("weight") + "bias"].zero_()


def pass_depthwise(state: State, prefix: str, signal: Signal, now: Taps) -> None:
    """Make a new depthwise convolution the identity on a signal without negative values."""
    rows = torch.arange(signal.channels)
    set_rows(state[f"{prefix}.conv.weight"], rows, dirac(now, False).expand(len(rows), -1, -1, -1))
    write_identity(state, f"{prefix}.conv.weight", f"{prefix}.norm", rows, signal.mean, signal.variance)


def joined(signals: list[Signal]) -> Signal:
    """Return the signal of concatenated channels."""
    return Signal(
        torch.block_diag(*(signal.mix for signal in signals)),
        torch.cat([signal.offset for signal in signals]),
        torch.cat([signal.mean for signal in signals]),
        torch.cat([signal.variance for signal in signals]),
        all(signal.positive for signal in signals),
    )
