"""Inheritance of one convolution: carried over from the parent, or new and, if wide enough, the identity."""

import torch
from torch import Tensor
from torch.nn import functional

from sparsemod.morphisms.inheritance.affine import (
    Affine,
    choose,
    factor,
    put,
    width_notes,
    write,
    write_identity,
)
from sparsemod.morphisms.inheritance.signal import Signal, after

State = dict[str, Tensor]


def carry(state: State, prefix: str, layer: Affine, signal: Signal) -> tuple[Signal, bool, list[str]]:
    """Fill the child's layer `prefix` from the parent's `layer`.

    Returns the signal after it, whether it computes the same as the parent's layer, and notes.
    """
    separable = f"{prefix}.depthwise.weight" in state
    name, norm = f"{prefix}.{'pointwise' if separable else 'conv'}.weight", f"{prefix}.norm"
    kernel = int(state[f"{prefix}.{'depthwise' if separable else 'conv'}.weight"].shape[-1])
    source, exact = choose(layer, int(state[name].shape[0]))
    rows = torch.nonzero(source >= 0).flatten()
    notes = width_notes(layer.outputs, source, exact)
    if signal.merged:
        # Measured on digits: the product of both kernels is no better after one epoch and worse after three.
        _keep_norm(state, norm, rows, source[rows], layer)
        return (
            after(layer, source),
            False,
            [*notes, "its input was removed: new weights, scale and shift kept"],
        )
    before = (layer.weight if layer.depthwise is None else layer.depthwise).shape[-1]
    if kernel != before:
        notes.append(f"kernel {before}->{kernel}" + (", outer taps dropped" if kernel < before else ""))
        exact &= kernel > before
    dense = layer.dense()
    gain = factor(state, norm, layer)[:, None, None, None]
    selection = signal.selection()
    if not separable:
        if layer.depthwise is not None:
            notes.append("separable->convolution")
        weight = signal.through(resize_kernel(dense * gain, kernel))
        put(state[name], rows, weight[source[rows]])
    elif layer.depthwise is not None and selection is not None:
        old = torch.nonzero(selection >= 0).flatten()
        state[f"{prefix}.depthwise.weight"][old] = resize_kernel(layer.depthwise, kernel)[selection[old]]
        put(state[name], rows, signal.through(layer.weight * gain)[source[rows]])
    else:
        weight = signal.through(resize_kernel(dense * gain, kernel))[source[rows]]
        depthwise, pointwise, left = factorize(weight)
        old = signal.live()
        state[f"{prefix}.depthwise.weight"][old] = depthwise[old]
        put(state[name], rows, pointwise)
        exact &= left < 1e-5
        notes.append(
            f"convolution->separable, {left:.0%} of the weights' norm lost" if left >= 1e-5 else "refactored"
        )
    write(state, name, norm, rows, source[rows], layer, signal.lacking(dense))
    return after(layer, source), exact, notes


def insert(state: State, prefix: str, signal: Signal) -> tuple[Signal, bool, list[str]]:
    """Fill the child's new layer `prefix` so that it passes on its input. Returns the same as `carry`.

    After a relu, the identity suffices. For raw data, relu passes only the positive part, so a second set of
    filters passes the negative part.
    """
    separable = f"{prefix}.depthwise.weight" in state
    name, norm = f"{prefix}.{'pointwise' if separable else 'conv'}.weight", f"{prefix}.norm"
    filters = int(state[name].shape[0])
    kernel = int(state[f"{prefix}.{'depthwise' if separable else 'conv'}.weight"].shape[-1])
    live = signal.live()
    signs = [1.0] if signal.positive or filters < 2 * len(live) else [1.0, -1.0]
    passed = live if len(live) * len(signs) <= filters else live[: filters // len(signs)]
    exact = len(passed) == len(live) and (signal.positive or len(signs) == 2)
    rows = torch.arange(len(passed) * len(signs))
    columns = passed.repeat(len(signs))
    sign = torch.tensor(signs).repeat_interleave(len(passed))
    middle = (kernel - 1) // 2  # where "same" padding puts the tap of the pixel itself
    if separable:
        state[f"{prefix}.depthwise.weight"][passed] = dirac(kernel, middle)
        middle = 0
    taps = torch.zeros(len(rows), *state[name].shape[1:])
    taps[torch.arange(len(rows)), columns, middle, middle] = sign
    state[name][rows] = taps
    mean, variance = signal.mean[columns] * sign, signal.variance[columns]
    write_identity(state, name, norm, rows, mean, variance)
    mix = torch.zeros(signal.parents, filters)
    mix[:, rows] = signal.mix[:, columns] * sign
    means, variances = torch.full((filters,), 0.4), torch.full((filters,), 0.34)
    means[rows], variances[rows] = mean, variance
    offset = signal.offset
    if len(passed) < len(live):
        lost = live[~torch.isin(live, passed)]
        offset = offset + signal.mix[:, lost] @ signal.mean[lost]
    note = "new, the identity" if exact else f"new, passes on {len(passed)} of {len(live)} channels"
    return Signal(mix, offset, means, variances, True, signal.merged), exact, [note]


def _keep_norm(state: State, norm: str, rows: Tensor, source: Tensor, layer: Affine) -> None:
    """Copy scale and shift of a batch norm, not its statistics.

    The next layer then sees outputs of the usual scale.
    """
    if layer.norm is not None and f"{norm}.running_mean" in state:
        state[f"{norm}.weight"][rows] = layer.norm.gamma[source]
        state[f"{norm}.bias"][rows] = layer.norm.beta[source]


def resize_kernel(weight: Tensor, size: int) -> Tensor:
    """Pad or crop kernels (.., k, k) to `size` x `size`.

    The tap on the output's pixel stays there under "same" padding.
    """
    old = int(weight.shape[-1])
    before = (size - 1) // 2 - (old - 1) // 2
    behind = size - old - before
    return functional.pad(weight, (before, behind, before, behind))  # negative padding crops


def dirac(size: int, middle: int) -> Tensor:
    """Return a (1, size, size) kernel with one tap of value 1 at (middle, middle)."""
    kernel = torch.zeros(1, size, size)
    kernel[0, middle, middle] = 1.0
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
