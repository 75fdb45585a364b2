"""Physically smaller networks: channels that are exactly zero are cut out of all layers that use them."""

import copy
import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sparsemod.errors import BuildError
from sparsemod.graph import Graph, Operator, capture_one
from sparsemod.pruning.channels import Channels, channels_of, is_depthwise, named_tensors, norm_keys
from sparsemod.pruning.filters.allocation import Counter, Share, equal_shares
from sparsemod.stage_errors import stage_errors

Keep = NDArray[np.bool_]


@stage_errors("pruning")
def shrink(module: nn.Module, shape: Sequence[int], layout: str | None = None) -> nn.Module:
    """Return a copy of `module` without the filters that pruning set to zero; it computes the same function.

    `shape`: the shape of a sample, whose axes `layout` names (see `sparsemod.layouts`). Conv1d, Conv2d,
    Linear, BatchNorm, GRU and LSTM layers get smaller parameters; `module` itself is not changed. Every layer
    keeps at least one filter. The outputs of both modules are compared before the return. Raises BuildError when
    they differ, as for a module whose forward contains sizes (x.view(-1, 256)); Unsupported when the module
    cannot be captured.
    """
    graph = capture_one(module, tuple(shape), layout)
    tensors = named_tensors(module)
    channels = channels_of(graph, tensors)
    return _shrunk(module, graph, channels, _alive(graph, channels, tensors))


@stage_errors("pruning")
def planned_shrink_graph(
    graph: Graph, sparsity: float, owned: Collection[str] | None = None, of: Share = "filters"
) -> Graph:
    """Return the captured (not deployed) `graph` after filter pruning to `sparsity`, equal in all layers.

    The choice of the remaining filters is arbitrary. `owned`: the names of the module's tensors (its
    state's keys), needed when some layer's weights are computed from others; without it, recurrent layers stay. `of`: what `sparsity` is a
    share of.
    """
    channels = channels_of(graph, owned)
    keep = np.ones(channels.count, np.bool_)
    for group, kept in zip(
        channels.groups, equal_shares(Counter(graph, channels), sparsity, of), strict=True
    ):
        keep[list(group.units[kept:])] = False
    return shrink_graph(graph, channels, keep)


def _alive(graph: Graph, channels: Channels, tensors: Mapping[str, Tensor]) -> Keep:
    """Return the labels to keep: those with a nonzero weight, bias or norm parameter, at least one per group."""
    irrelevant: set[str] = set()
    for operator in graph.operators:
        if operator.traits.per_channel:
            irrelevant.update(operator.keys)  # a factor of zero
        elif operator.traits.affine:
            # with zero scale and shift the statistics do not matter; otherwise a mean of zero gives zero
            irrelevant.update(
                norm_keys(operator)[2:] if operator.weight is not None else norm_keys(operator)[-1:]
            )
    alive = np.zeros(channels.count, np.bool_)
    for name, labels in channels.rows.items():
        if name not in irrelevant and name in tensors:
            rows = (
                tensors[name].detach().flatten(1)
                if tensors[name].dim() > 1
                else tensors[name].detach()[:, None]
            ) != 0
            np.logical_or.at(alive, labels, rows.any(1).cpu().numpy())
    keep = np.ones(channels.count, np.bool_)
    for group in channels.groups:
        units = np.array(group.units)
        keep[units] = alive[units]
        if not alive[units].any():
            keep[units[0]] = True
    return keep


Places = NDArray[np.int64]
Slices = dict[str, tuple[Places, Places | None]]
"""The remaining rows and columns (None: all) of tensors by name."""


@dataclasses.dataclass(frozen=True)
class _Cut:
    """What remains of an operator: of its tensors in the graph, of those of the module, and its attributes."""

    graph: Slices
    module: Slices
    attributes: dict[str, Any] = dataclasses.field(default_factory=dict)


def _cut(operator: Operator, graph: Graph, channels: Channels, keep: Keep) -> _Cut | None:
    """Return what remains of an operator with tensors, or with sizes among its attributes; None for others."""
    traits = operator.traits
    made = channels.labels[operator.output]
    rows = np.flatnonzero(keep[made])
    if traits.affine or traits.per_channel:
        slices: Slices = {key: (rows, None) for key in norm_keys(operator)}
        return _Cut(slices, slices)
    if operator.name in channels.moves:
        count = int(keep[channels.labels[operator.inputs[0]]].sum())
        return _Cut({}, {}, channels.moves[operator.name].attributes(count))
    if not traits.weighted or operator.weight is None:
        return None
    source = channels.labels[operator.inputs[0]]
    columns = np.flatnonzero(keep[source])
    if traits.recurrent:
        return _recurrent_cut(operator, graph, channels, keep)
    attributes = {}
    if not traits.window:
        slices = {operator.weight: (rows, columns)}
    elif is_depthwise(operator, len(source)):
        slices, attributes = {operator.weight: (rows, None)}, {"groups": len(columns)}
    else:
        groups = operator.window.groups
        each = np.flatnonzero(keep[source[: len(source) // groups]])  # the same places of every group
        slices, attributes = {operator.weight: (rows, each)}, {"groups": groups}
    if operator.bias is not None:
        slices[operator.bias] = (rows, None)
    return _Cut(slices, slices, attributes)


def _recurrent_cut(operator: Operator, graph: Graph, channels: Channels, keep: Keep) -> _Cut:
    source, made = channels.labels[operator.inputs[0]], channels.labels[operator.output]
    features, units = np.flatnonzero(keep[source]), np.flatnonzero(keep[made])
    gates = len(graph.state[str(operator.weight)]) // len(made)
    rows = np.flatnonzero(np.tile(keep[made], gates))
    mine: Slices = {key: (rows, None) for key in operator.keys}
    mine[str(operator.weight)] = (rows, np.concatenate([features, len(source) + units]))
    theirs: Slices = {}
    cell = channels.cells.get(operator.name)
    if cell is not None:
        theirs = {cell.of_input: (rows, features), cell.of_state: (rows, units)}
        theirs |= {name: (rows, None) for name in cell.biases}
    return _Cut(mine, theirs, {"units": len(units)})


def _sliced(tensor: Tensor, places: tuple[Places, Places | None]) -> Tensor:
    rows, columns = places
    result = tensor[torch.from_numpy(rows).to(tensor.device)]
    return result if columns is None else result[:, torch.from_numpy(columns).to(tensor.device)]


def shrink_graph(graph: Graph, channels: Channels, keep: Keep) -> Graph:
    """Return the captured graph with only the labels in `keep`."""
    state, operators = dict(graph.state), []
    shapes = dict(graph.shapes)
    for name, labels in channels.labels.items():
        sizes, place = list(shapes[name]), graph.layout(name).channel
        sizes[place] = int(keep[labels].sum())
        shapes[name] = tuple(sizes)
    for operator in graph.operators:
        cut = _cut(operator, graph, channels, keep)
        changed = {} if cut is None else dict(cut.attributes)
        for key, places in () if cut is None else cut.graph.items():
            state[key] = _sliced(graph.state[key], places)
        if "shape" in operator.attributes:
            changed["shape"] = shapes[operator.output]
        if changed:
            operator = dataclasses.replace(operator, attributes={**operator.attributes, **changed})
        operators.append(operator)
    return dataclasses.replace(graph, operators=tuple(operators), shapes=shapes, state=state)


def _shrunk(module: nn.Module, graph: Graph, channels: Channels, keep: Keep) -> nn.Module:
    small = copy.deepcopy(module)
    original = named_tensors(module)
    done: set[str] = set()
    for operator in graph.operators:
        cut = _cut(operator, graph, channels, keep)
        for key, places in () if cut is None else cut.module.items():
            if cut is not None and key in original and key not in done:
                done.add(key)
                _replace(small, key, _sliced(original[key].detach(), places), cut.attributes.get("groups", 1))
    for part in small.modules():
        if isinstance(part, nn.RNNBase):
            part.flatten_parameters()
    _verify(module, small, graph)
    return small


def _replace(module: nn.Module, key: str, value: Tensor, groups: int) -> None:
    path, _, name = key.rpartition(".")
    owner = module.get_submodule(path)
    old = getattr(owner, name)
    if isinstance(old, nn.Parameter):
        setattr(owner, name, nn.Parameter(value.clone(), requires_grad=old.requires_grad))
    else:
        owner.register_buffer(name, value.clone())
    if isinstance(owner, nn.Conv1d | nn.Conv2d) and name == "weight":
        owner.out_channels, owner.groups = len(value), groups
        owner.in_channels = value.shape[1] * groups
    elif isinstance(owner, nn.Linear) and name == "weight":
        owner.out_features, owner.in_features = value.shape
    elif isinstance(owner, nn.RNNBase):
        if name == "weight_ih_l0":
            owner.input_size = value.shape[1]
        elif name == "weight_hh_l0":
            owner.hidden_size = value.shape[1]
    elif isinstance(owner, _BatchNorm):
        owner.num_features = len(value)
    elif isinstance(owner, nn.PReLU):
        owner.num_parameters = len(value)


def _verify(module: nn.Module, small: nn.Module, graph: Graph) -> None:
    """Check that both modules give the same output on random data."""
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, *graph.shapes[graph.input], generator=generator).to(device)
    modes = {part: part.training for whole in (module, small) for part in whole.modules()}
    try:
        with torch.no_grad():
            expected, shrunk_output = module.eval()(x), small.eval()(x)
    except RuntimeError as error:
        raise BuildError(
            f"the network cannot run with fewer filters (are sizes written into its forward?): {error}"
        ) from error
    finally:
        for part, mode in modes.items():
            part.training = mode
    tolerance = 1e-4 * max(1.0, float(expected.abs().nan_to_num(posinf=0.0).max()))
    if expected.shape != shrunk_output.shape or not torch.allclose(
        expected, shrunk_output, 1e-4, tolerance, equal_nan=True
    ):
        raise BuildError(
            "the network's output changes with fewer filters (are sizes written into its forward?)"
        )
