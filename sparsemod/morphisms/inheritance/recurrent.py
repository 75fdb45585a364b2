"""Inheritance in the families `rnn` and `cnn_rnn`.

`Source` maps each channel of the child to the parent's channel that it equals, -1 for a new one. A layer that reads new channels gives
them weights of zero, so that the function stays the same as long as the child has every channel of the parent.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from sparsemod.morphisms.inheritance.affine import LayoutMismatch, read
from sparsemod.morphisms.inheritance.align import align
from sparsemod.morphisms.inheritance.dense import DenseLayer, Vector, inherit_dense
from sparsemod.morphisms.inheritance.generic import initial_state, or_generic
from sparsemod.morphisms.inheritance.result import Inheritance
from sparsemod.morphisms.inheritance.signal import Signal
from sparsemod.networks.recurrent_parameters import RecurrentPlan, recurrent_plan
from sparsemod.networks.temporal_plan import TemporalConv, temporal_plan
from sparsemod.records import DataInfo, Value

State = dict[str, Tensor]
Source = Tensor


@or_generic(LayoutMismatch, KeyError, IndexError, RuntimeError)
def inherit_recurrent(
    parent_parameters: Mapping[str, Value],
    parent_state: Mapping[str, Tensor],
    child_parameters: Mapping[str, Value],
    child_module: nn.Module,
    data: DataInfo,
) -> Inheritance:
    """See `sparsemod.morphisms.inherit`."""
    state = initial_state(child_module)
    old, new = recurrent_plan(parent_parameters), recurrent_plan(child_parameters)
    convs = [temporal_plan(p) if "convs" in p else () for p in (parent_parameters, child_parameters)]
    source, exact, notes = _convolutions(parent_state, convs[0], state, convs[1], data)
    source, preserved, changes = _recurrent(parent_state, old, state, new, source)
    exact, notes = exact and preserved, notes + changes
    preserved, changes = inherit_dense(
        [read(parent_state, f"head.{name}.weight", "head.none") for name in _dense(old)],
        [DenseLayer(f"head.{name}.weight", "head.none") for name in _dense(new)],
        Vector(_signal(source, old.width), None, None),
        state,
    )
    return Inheritance(state, exact and preserved, (*notes, *changes))


def _dense(plan: RecurrentPlan) -> list[str]:
    return [*(f"d{i}" for i in range(1, len(plan.dense) + 1)), "classifier"]


def _signal(source: Source, parents: int) -> Signal:
    mix = torch.zeros(parents, len(source))
    inherited = source >= 0
    mix[source[inherited], torch.nonzero(inherited).flatten()] = 1.0
    zeros = torch.zeros(len(source))
    return Signal(mix, torch.zeros(parents), zeros, torch.ones(len(source)), False)


def _kept(parents: int, children: int) -> Source:
    """Return the source of a layer's outputs: they keep their places; further ones are new."""
    return torch.where(torch.arange(children) < parents, torch.arange(children), -1)


def _columns(weight: Tensor, source: Source) -> Tensor:
    """Return a weight (outputs, inputs, ...) with the child's inputs."""
    chosen = weight[:, source.clamp_min(0)]
    return chosen * (source >= 0).to(weight).reshape(1, -1, *[1] * (weight.ndim - 2))


def _convolutions(
    parent_state: Mapping[str, Tensor], parents: Sequence[TemporalConv], state: State, children: Sequence[TemporalConv], data: DataInfo
) -> tuple[Source, bool, list[str]]:  # fmt: skip
    source, exact, notes = torch.arange(data.axes.image(data.shape)[0]), True, list[str]()

    def match(i: int, j: int) -> float | None:
        a, b = parents[i], children[j]
        return 0.3 * (a.filters != b.filters) + 0.1 * abs(a.kernel - b.kernel) + 0.8 * (a.pool != b.pool)

    pairs = align(len(parents), len(children), match, lambda i, j: 1.0, lambda i, j: 1.0)
    width = len(source)
    for i, j in pairs:
        if j is None:
            exact, width = False, parents[i or 0].filters
            source = torch.where(source < width, source, -1)
            notes.append(f"{parents[i or 0].name} of the parent: removed")
        elif i is None:
            name, outputs = children[j].name, children[j].filters
            live = torch.nonzero(source >= 0).flatten()
            fits = j > 0 and len(live) <= outputs and not children[j].pool
            exact &= fits
            notes.append(f"{name}: new, the identity" if fits else f"{name}: new")
            source = _identity(state, f"convs.{name}", source, live[:outputs])
        else:
            before, now = parents[i], children[j]
            source, changes = _carry_conv(parent_state, before, state, now, source)
            exact &= before.filters <= now.filters and before.kernel <= now.kernel and before.pool == now.pool
            if changes:
                notes.append(f"{now.name} from {before.name}: {'; '.join(changes)}")
            width = before.filters
    return source, exact and _complete(source, width), notes


def _complete(source: Source, width: int) -> bool:
    return len(torch.unique(source[source >= 0])) == width


def _carry_conv(
    parent_state: Mapping[str, Tensor], before: TemporalConv, state: State, now: TemporalConv, source: Source
) -> tuple[Source, list[str]]:
    made = _kept(before.filters, now.filters)
    rows = torch.nonzero(made >= 0).flatten()
    old, prefix = f"convs.{before.name}", f"convs.{now.name}"
    weight = _columns(parent_state[f"{old}.conv.weight"][rows], source)
    taps = min(before.kernel, now.kernel)  # the newest steps are the last taps
    target = state[f"{prefix}.conv.weight"]
    target[rows] = 0.0
    target[rows, :, now.kernel - taps :] = weight[:, :, before.kernel - taps :]
    for name in ("conv.bias", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"):
        if f"{prefix}.{name}" in state:
            state[f"{prefix}.{name}"][rows] = parent_state[f"{old}.{name}"][rows]
    changes = []
    if before.filters != now.filters:
        changes.append(f"{before.filters}->{now.filters} filters")
    if before.kernel != now.kernel:
        changes.append(f"kernel {before.kernel}->{now.kernel}")
    if before.pool != now.pool:
        changes.append(f"pooling {'on' if now.pool else 'off'}")
    return made, changes


def _identity(state: State, prefix: str, source: Source, live: Tensor) -> Source:
    """Make filter k of a new convolution pass on the k-th inherited channel."""
    weight = state[f"{prefix}.conv.weight"]
    rows = torch.arange(len(live))
    weight[rows] = 0.0
    weight[rows, live, -1] = 1.0
    if f"{prefix}.norm.weight" in state:
        state[f"{prefix}.norm.weight"][rows] = (1 + 1e-5) ** 0.5
        for name, value in (("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            state[f"{prefix}.norm.{name}"][rows] = value
    else:
        state[f"{prefix}.conv.bias"][rows] = 0.0
    made = torch.full((len(weight),), -1)
    made[rows] = source[live]
    return made


def _recurrent(
    parent_state: Mapping[str, Tensor], old: RecurrentPlan, state: State, new: RecurrentPlan, source: Source
) -> tuple[Source, bool, list[str]]:
    if old.cell != new.cell:
        made = torch.full((new.width,), -1)
        return made, False, [f"recurrent layers: {old.cell}->{new.cell}, new"]
    exact = old.layers == new.layers and old.units <= new.units and old.readout == new.readout
    exact &= new.bidirectional or not old.bidirectional
    notes = []
    for word, before, now in (
        ("layers", old.layers, new.layers), ("units", old.units, new.units), ("readout", old.readout, new.readout),
        ("directions", 1 + old.bidirectional, 1 + new.bidirectional),
    ):  # fmt: skip
        if before != now:
            notes.append(f"recurrent {word}: {before}->{now}")
    units = _kept(old.units, new.units)
    for layer in range(min(old.layers, new.layers)):
        for end in ["", "_reverse"][: 1 + min(old.bidirectional, new.bidirectional)]:
            _carry_cell(parent_state, state, f"l{layer}{end}", old.units, units, source)
        source = units
        if new.bidirectional:
            other = (
                torch.where(units >= 0, units + old.units, -1)
                if old.bidirectional
                else torch.full_like(units, -1)
            )
            source = torch.cat([units, other])
    return source, exact, notes


def _carry_cell(
    parent_state: Mapping[str, Tensor], state: State, end: str, parents: int, units: Source, source: Source
) -> None:
    """Copy one layer in one direction; `units` are the sources of its units, `source` those of its inputs."""
    children = torch.nonzero(units >= 0).flatten()
    gates = len(parent_state[f"rnn.weight_hh_{end}"]) // parents
    rows = torch.cat([gate * len(units) + children for gate in range(gates)])
    from_rows = torch.cat([gate * parents + units[children] for gate in range(gates)])
    for name, columns in (("weight_ih", source), ("weight_hh", units)):
        state[f"rnn.{name}_{end}"][rows] = _columns(parent_state[f"rnn.{name}_{end}"][from_rows], columns)
    for name in ("bias_ih", "bias_hh"):
        state[f"rnn.{name}_{end}"][rows] = parent_state[f"rnn.{name}_{end}"][from_rows]
