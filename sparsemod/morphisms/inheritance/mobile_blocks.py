"""Inheritance of one block of the family `mobile`: carried over from the parent's, or new and the identity where it can be."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from sparsemod.morphisms.inheritance.affine import Norm, choose
from sparsemod.morphisms.inheritance.align import align
from sparsemod.morphisms.inheritance.convolution import State, Taps, insert
from sparsemod.morphisms.inheritance.mobile_parts import (
    PLAIN,
    Kept,
    Result,
    carry_dense,
    carry_depthwise,
    carry_gate,
    carry_residual,
    following,
    joined,
    lost,
    open_gate,
    pass_depthwise,
    read_kept,
    silence,
)
from sparsemod.morphisms.inheritance.signal import Signal
from sparsemod.networks.mobile_plan import MobileBlock

ParentState = Mapping[str, Tensor]


def outputs_of(parent: ParentState, block: MobileBlock) -> int:
    """Return the channels that the parent's block really has, which pruning may have removed. Raises LayoutMismatch."""
    prefix = f"features.{block.name}"
    if block.type == "inverted":
        return read_kept(parent, f"{prefix}.project.weight", "none").outputs
    if block.type == "separable":
        return read_kept(parent, f"{prefix}.pointwise.conv.weight", "none").outputs
    widths = [layer.outputs for layer in _paths(parent, block)]
    return sum(widths) if block.join == "concat" else widths[0]


def carry_block(
    state: State, parent: ParentState, origin: MobileBlock, block: MobileBlock, signal: Signal
) -> Result:
    """Fill the child's `block` from the parent's block `origin` of the same type."""
    if block.type == "inverted":
        made, exact, notes = _carry_inverted(state, parent, origin, block, signal)
    elif block.type == "separable":
        made, exact, notes = _carry_separable(state, parent, origin, block, signal)
    else:
        made, exact, notes = _carry_paths(state, parent, origin, block, signal)
        made, exact = _gate(state, parent, origin, block, made, exact, notes)
    if origin.down != block.down:
        notes.append(f"downsampling {origin.down}->{block.down}")
        exact = False
    return made, exact, notes


def insert_block(state: State, block: MobileBlock, signal: Signal) -> Result:
    """Fill the child's new `block` so that it passes on its input, where it can."""
    prefix = f"features.{block.name}"
    plain = block.down == "none"
    if block.squeezed:
        open_gate(state, f"{prefix}.gate")
    if block.residual:
        silence(state, f"{prefix}.project.weight", f"{prefix}.project_norm")
        return signal, plain, ["new, the identity" if plain else "new"]
    kernel = Taps(block.kernels[0])
    if block.type == "separable" and signal.positive and not signal.merged and plain:
        pass_depthwise(state, f"{prefix}.depthwise", signal, kernel)
        return insert(state, f"{prefix}.pointwise", signal, PLAIN)
    if block.type in ("conv", "stem") and not signal.merged and plain:
        made, exact, notes = insert(state, f"{prefix}.p1", signal, kernel)
        others = range(2, len(block.kernels) + 1)
        if block.join == "concat":
            return _widened(made, block.outputs), exact, notes
        for number in others:
            silence(state, f"{prefix}.p{number}.conv.weight", f"{prefix}.p{number}.norm")
        return made, exact, notes
    return lost(signal.parents, block.outputs), False, ["new"]


def remove_block(parent: ParentState, origin: MobileBlock, signal: Signal) -> Result:
    """Return the signal past a block that the child lacks. The input of one with a shortcut is about its output."""
    note = ["removed"]
    if origin.residual:
        return signal, False, note
    return lost(outputs_of(parent, origin), signal.channels), False, note


def _carry_inverted(
    state: State, parent: ParentState, origin: MobileBlock, block: MobileBlock, signal: Signal
) -> Result:
    old, new = f"features.{origin.name}", f"features.{block.name}"
    expand = read_kept(parent, f"{old}.expand.conv.weight", f"{old}.expand.norm")
    depthwise = read_kept(parent, f"{old}.depthwise.conv.weight", f"{old}.depthwise.norm")
    project = read_kept(parent, f"{old}.project.weight", f"{old}.project_norm", linear=True)
    # What the projection reads is what the search for the strongest channels of the expansion must rank.
    ranked = replace(expand, norm=depthwise.norm) if depthwise.norm is not None else expand
    source, kept = choose(ranked, int(state[f"{new}.expand.conv.weight"].shape[0]))
    inner, exact, notes = carry_dense(
        state, f"{new}.expand.conv.weight", f"{new}.expand.norm", expand, signal, PLAIN, PLAIN, source
    )
    if not kept:
        notes.append(f"{len(source)} of {expand.outputs} expanded channels kept, the strongest")
    elif len(source) > expand.outputs:
        notes.append(f"{len(source) - expand.outputs} new expanded channels, without effect yet")
    inner, same, further = carry_depthwise(
        state, f"{new}.depthwise", depthwise, inner, Taps(origin.kernels[0]), Taps(block.kernels[0])
    )
    exact, notes = exact and kept and same, [*notes, *further]
    inner, exact = _gate(state, parent, origin, block, inner, exact, notes)
    if origin.residual and block.residual:
        made, same, further = carry_residual(state, new, project, signal, inner)
    else:
        made, same, further = carry_dense(
            state, f"{new}.project.weight", f"{new}.project_norm", project, inner, PLAIN, PLAIN
        )
    if origin.residual != block.residual:
        notes.append(f"shortcut {'on' if block.residual else 'off'}")
        same = False
    return made, exact and same, [*notes, *further]


def _carry_separable(
    state: State, parent: ParentState, origin: MobileBlock, block: MobileBlock, signal: Signal
) -> Result:
    old, new = f"features.{origin.name}", f"features.{block.name}"
    depthwise = read_kept(parent, f"{old}.depthwise.conv.weight", f"{old}.depthwise.norm")
    pointwise = read_kept(parent, f"{old}.pointwise.conv.weight", f"{old}.pointwise.norm")
    inner, exact, notes = carry_depthwise(
        state, f"{new}.depthwise", depthwise, signal, Taps(origin.kernels[0]), Taps(block.kernels[0])
    )
    made, same, further = carry_dense(
        state, f"{new}.pointwise.conv.weight", f"{new}.pointwise.norm", pointwise, inner, PLAIN, PLAIN
    )
    notes += further
    made, exact = _gate(state, parent, origin, block, made, exact and same, notes)
    return made, exact, notes


def _carry_paths(
    state: State, parent: ParentState, origin: MobileBlock, block: MobileBlock, signal: Signal
) -> Result:
    layers = _paths(parent, origin)
    several = len(origin.kernels) > 1, len(block.kernels) > 1
    join = block.join if several[1] else origin.join
    pairs = align(
        len(layers),
        len(block.kernels),
        lambda i, j: 0.1 * abs(origin.kernels[i] - block.kernels[j]),
        lambda i, j: 1.0,
        lambda i, j: 1.0,
    )
    exact, notes = True, list[str]()
    if all(several) and origin.join != block.join:
        exact = False
        notes.append(f"join {origin.join}->{block.join}")
    whole = _sum(layers) if join == "add" and (not several[0] or origin.join == "add") else None
    source = None
    if whole is not None:
        source, kept = choose(whole, block.filters)
        exact &= kept
        if len(source) != whole.outputs:
            notes.append(f"{whole.outputs}->{len(source)} outputs" + (", the strongest" if not kept else ""))
    signals: list[Signal] = []
    for i, j in pairs:
        if j is None:
            exact = False
            notes.append(f"p{(i or 0) + 1} of the parent: removed")
            signals.append(lost(layers[i or 0].outputs, 0))
            continue
        name = f"features.{block.name}.p{j + 1}"
        if i is None:
            notes.append(f"p{j + 1}: new, without effect yet")
            if block.join == "add":
                silence(state, f"{name}.conv.weight", f"{name}.norm")
            signals.append(lost(0, block.filters))
            continue
        made, same, further = carry_dense(
            state, f"{name}.conv.weight", f"{name}.norm", layers[i], signal,
            Taps(origin.kernels[i]), Taps(block.kernels[j]), source,
        )  # fmt: skip
        signals.append(made)
        exact &= same
        notes += [f"p{j + 1} from p{i + 1}: {note}" for note in further]
    if whole is not None and source is not None:
        return following(whole, source), exact, notes
    if origin.join == "concat" and block.join == "concat":
        return _signal(signals), exact, notes
    if not several[0]:  # a path becomes a concatenation
        return _signal(signals), exact, notes
    return lost(outputs_of(parent, origin), block.outputs), False, notes


def _signal(signals: list[Signal]) -> Signal:
    """Return the signal of a concatenation, in the order of its paths; every path ends with a relu."""
    return replace(joined(signals), positive=True)


def _sum(layers: list[Kept]) -> Kept:
    """Return a layer with the outputs of a sum of paths: all their weights, and a batch norm with their moments."""
    weight = torch.cat(
        [(layer.weight * layer.scale()[:, None, None, None]).flatten(1) for layer in layers], 1
    )
    bias = torch.stack([layer.shift() for layer in layers]).sum(0)
    norms = [layer.norm for layer in layers if layer.norm is not None]
    norm = None
    if norms:
        gamma = torch.stack([norm.gamma**2 for norm in norms]).sum(0).sqrt()
        beta = torch.stack([norm.beta for norm in norms]).sum(0)
        norm = Norm(gamma, beta, torch.zeros_like(beta), torch.ones_like(beta))
    return Kept(weight[:, :, None, None], bias, norm)


def _gate(
    state: State, parent: ParentState, origin: MobileBlock, block: MobileBlock, signal: Signal, exact: bool, notes: list[str]
) -> tuple[Signal, bool]:  # fmt: skip
    """Inherit squeeze-and-excite at a place; append to `notes`."""
    prefix = f"features.{block.name}.gate"
    if origin.squeezed and block.squeezed:
        if origin.squeezed != block.squeezed:
            notes.append(f"squeeze-and-excite: {origin.squeezed}->{block.squeezed} units")
        return signal, carry_gate(state, prefix, parent, f"features.{origin.name}.gate", signal) and exact
    if origin.squeezed:
        notes.append("squeeze-and-excite: removed")
        return signal, False
    if block.squeezed:
        open_gate(state, prefix)
        notes.append("squeeze-and-excite: new, all gates 1")
    return signal, exact


def _paths(parent: ParentState, block: MobileBlock) -> list[Kept]:
    prefix = f"features.{block.name}"
    return [
        read_kept(parent, f"{prefix}.p{number}.conv.weight", f"{prefix}.p{number}.norm")
        for number in range(1, len(block.kernels) + 1)
    ]


def _widened(signal: Signal, channels: int) -> Signal:
    """Return the signal with further channels of the child, which are unread."""
    return joined([signal, lost(0, channels - signal.channels)])
