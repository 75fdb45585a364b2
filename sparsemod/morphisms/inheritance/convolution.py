"""Inheritance of one convolution: carried over from the parent, or new and, if wide enough, the identity."""

from dataclasses import dataclass

import torch
from torch import Tensor

from sparsemod.morphisms.inheritance.affine import (
    Affine,
    choose,
    factor,
    put,
    width_notes,
    write,
    write_identity,
)
from sparsemod.morphisms.inheritance.signal import Signal, after, new_moments

State = dict[str, Tensor]


@dataclass(frozen=True)
class Taps:
    """The steps that a kernel reads along an axis: `kernel` taps, `dilation` steps apart; `causal`: none later than its own step."""

    kernel: int
    dilation: int = 1
    causal: bool = False

    @property
    def middle(self) -> int:
        """The index of the tap that reads the step of the output itself."""
        return self.kernel - 1 if self.causal else (self.kernel - 1) // 2

    @property
    def offsets(self) -> list[int]:
        """The step that each tap reads, relative to that of the output."""
        return [(tap - self.middle) * self.dilation for tap in range(self.kernel)]

    def within(self, other: "Taps") -> bool:
        """Return whether `other` reads all these steps."""
        return set(self.offsets) <= set(other.offsets)


def carry(
    state: State, prefix: str, layer: Affine, signal: Signal, before: Taps, now: Taps
) -> tuple[Signal, bool, list[str]]:
    """Fill the child's layer `prefix`, with the taps `now`, from the parent's `layer`, with the taps `before`.

    Returns the signal after it, whether it computes the same as the parent's layer, and notes.
    """
    separable = f"{prefix}.depthwise.weight" in state
    name, norm = f"{prefix}.{'pointwise' if separable else 'conv'}.weight", f"{prefix}.norm"
    source, exact = choose(layer, int(state[name].shape[0]))
    rows = torch.nonzero(source >= 0).flatten()
    notes = width_notes(layer.outputs, source, exact)
    if signal.merged:
        # Measured on digits: the product of both kernels is no better after one epoch and worse after three.
        keep_norm(state, norm, rows, source[rows], layer)
        return (
            after(layer, source),
            False,
            [*notes, "its input was removed: new weights, scale and shift kept"],
        )
    kept = before.within(now)
    if now.dilation != before.dilation:
        notes.append(f"dilation {before.dilation}->{now.dilation}" + ("" if kept else ", taps dropped"))
    notes += kernel_notes(before, now)
    exact &= kept
    flat = state[name].ndim == 3  # a kernel over time

    def resized(weight: Tensor) -> Tensor:
        return resize_kernel(weight, before, now, flat)

    dense = layer.dense()
    gain = factor(state, norm, layer)[:, None, None, None]
    selection = signal.selection()
    if not separable:
        if layer.depthwise is not None:
            notes.append("separable->convolution")
        weight = signal.through(resized(dense * gain))
        put(state[name], rows, weight[source[rows]])
    elif layer.depthwise is not None and selection is not None:
        old = torch.nonzero(selection >= 0).flatten()
        set_rows(state[f"{prefix}.depthwise.weight"], old, resized(layer.depthwise)[selection[old]])
        put(state[name], rows, signal.through(layer.weight * gain)[source[rows]])
    else:
        weight = signal.through(resized(dense * gain))[source[rows]]
        depthwise, pointwise, left = factorize(weight)
        old = signal.live()
        set_rows(state[f"{prefix}.depthwise.weight"], old, depthwise[old])
        put(state[name], rows, pointwise)
        exact &= left < 1e-5
        notes.append(
            f"convolution->separable, {left:.0%} of the weights' norm lost" if left >= 1e-5 else "refactored"
        )
    write(state, name, norm, rows, source[rows], layer, signal.lacking(dense))
    return after(layer, source), exact, notes


def insert(state: State, prefix: str, signal: Signal, now: Taps) -> tuple[Signal, bool, list[str]]:
    """Fill the child's new layer `prefix`, with the taps `now`, so that it passes on its input. Returns the same as `carry`.

    After a relu, the identity suffices. For raw data, relu passes only the positive part, so a second set of
    filters passes the negative part.
    """
    separable = f"{prefix}.depthwise.weight" in state
    name, norm = f"{prefix}.{'pointwise' if separable else 'conv'}.weight", f"{prefix}.norm"
    filters = int(state[name].shape[0])
    flat = state[name].ndim == 3
    live = signal.live()
    signs = [1.0] if signal.positive or filters < 2 * len(live) else [1.0, -1.0]
    passed = live if len(live) * len(signs) <= filters else live[: filters // len(signs)]
    exact = len(passed) == len(live) and (signal.positive or len(signs) == 2)
    rows = torch.arange(len(passed) * len(signs))
    columns = passed.repeat(len(signs))
    sign = torch.tensor(signs).repeat_interleave(len(passed))
    pixel = dirac(now, flat)
    if separable:
        set_rows(state[f"{prefix}.depthwise.weight"], passed, pixel.expand(len(passed), -1, -1, -1))
        pixel = torch.ones(1, 1, 1)
    taps = torch.zeros(len(rows), state[name].shape[1], *pixel.shape[1:])
    taps[torch.arange(len(rows)), columns] = sign[:, None, None] * pixel
    set_rows(state[name], rows, taps)
    mean, variance = signal.mean[columns] * sign, signal.variance[columns]
    write_identity(state, name, norm, rows, mean, variance)
    mix = torch.zeros(signal.parents, filters)
    mix[:, rows] = signal.mix[:, columns] * sign
    means, variances = new_moments(filters)
    means[rows], variances[rows] = mean, variance
    offset = signal.offset
    if len(passed) < len(live):
        lost = live[~torch.isin(live, passed)]
        offset = offset + signal.mix[:, lost] @ signal.mean[lost]
    note = "new, the identity" if exact else f"new, passes on {len(passed)} of {len(live)} channels"
    return Signal(mix, offset, means, variances, True, signal.merged), exact, [note]


def kernel_notes(before: Taps, now: Taps) -> list[str]:
    """Return the change of the kernel in words; nothing for equal kernels."""
    if now.kernel == before.kernel:
        return []
    dropped = ", outer taps dropped" if now.kernel < before.kernel else ""
    return [f"kernel {before.kernel}->{now.kernel}{dropped}"]


def keep_norm(state: State, norm: str, rows: Tensor, source: Tensor, layer: Affine) -> None:
    """Copy scale and shift of a batch norm, not its statistics.

    The next layer then sees outputs of the usual scale.
    """
    if layer.norm is not None and f"{norm}.running_mean" in state:
        state[f"{norm}.weight"][rows] = layer.norm.gamma[source]
        state[f"{norm}.bias"][rows] = layer.norm.beta[source]


def set_rows(target: Tensor, rows: Tensor, weight: Tensor) -> None:
    """Copy kernels (rows, inputs, height, width) to rows of a weight over images or over time."""
    target[rows] = weight.reshape(len(rows), *target.shape[1:])


def resize_kernel(weight: Tensor, before: Taps, now: Taps, flat: bool = False) -> Tensor:
    """Convert kernels (.., k, k), or `flat` ones (.., 1, k), to other taps.

    A tap keeps its weight where the new kernel reads the same step; other new taps are zero.
    """
    made = _moved(weight, before, now)
    return made if flat else _moved(made.transpose(-1, -2), before, now).transpose(-1, -2)


def _moved(weight: Tensor, before: Taps, now: Taps) -> Tensor:
    places = {offset: place for place, offset in enumerate(before.offsets)}
    made = weight.new_zeros(*weight.shape[:-1], now.kernel)
    for place, offset in enumerate(now.offsets):
        if offset in places:
            made[..., place] = weight[..., places[offset]]
    return made


def dirac(taps: Taps, flat: bool) -> Tensor:
    """Return a kernel (1, k, k), or (1, 1, k) if `flat`, of value 1 at the tap of the output's own step."""
    kernel = torch.zeros(1, 1 if flat else taps.kernel, taps.kernel)
    kernel[0, 0 if flat else taps.middle, taps.middle] = 1.0
    return kernel


def factorize(weight: Tensor) -> tuple[Tensor, Tensor, float]:
    """Return the nearest separable layer and the lost share of the norm.

    Shapes: depthwise (inputs, 1, k, k) of norm 1, pointwise (outputs, inputs, 1, 1).

    Uses the best rank-1 approximation of each input channel's (outputs x taps) matrix.
    """
    outputs, inputs, height, width = weight.shape
    if not outputs:
        return torch.zeros(inputs, 1, height, width), torch.zeros(0, inputs, 1, 1), 0.0
    left, values, right = torch.linalg.svd(
        weight.permute(1, 0, 2, 3).reshape(inputs, outputs, -1), full_matrices=False
    )
    pointwise = (left[:, :, 0] * values[:, :1]).T[:, :, None, None].contiguous()
    depthwise = right[:, 0].reshape(inputs, 1, height, width).contiguous()
    total = float((values**2).sum())
    lost = float((values[:, 1:] ** 2).sum())
    return depthwise, pointwise, (lost / total) ** 0.5 if total else 0.0
