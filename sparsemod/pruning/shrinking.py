"""Physically smaller networks: channels that are exactly zero are cut out of all layers that use them."""

import copy
import dataclasses
from collections.abc import Collection, Mapping, Sequence

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
    Linear and BatchNorm layers get smaller parameters; `module` itself is not changed. Every layer keeps at
    least one filter. The outputs of both modules are compared before the return. Raises BuildError when
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
    state's keys), needed only when some layer's weights are computed from others. `of`: what `sparsity` is a
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


@dataclasses.dataclass(frozen=True)
class _Cut:
    """The remaining rows (output channels) and columns (input channels, None: all) of an operator's tensors."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64] | None
    groups: int | None


def _cut(operator: Operator, graph: Graph, channels: Channels, keep: Keep) -> _Cut | None:
    alone = operator.traits.affine or operator.traits.per_channel
    if operator.traits.recurrent or not (operator.traits.weighted or alone):
        return None
    source = channels.labels[operator.inputs[0]]
    rows = np.flatnonzero(keep[channels.labels[operator.output]])
    if alone:
        return _Cut(rows, None, None)
    columns = np.flatnonzero(keep[source])
    if not operator.traits.window:
        return _Cut(rows, columns, None)
    if is_depthwise(operator, len(source)):
        return _Cut(rows, None, len(columns))
    groups = operator.window.groups
    return _Cut(rows, columns if groups == 1 else None, groups)


def _keys(operator: Operator) -> tuple[str, ...]:
    if operator.traits.affine or operator.traits.per_channel:
        return norm_keys(operator)
    return tuple(key for key in (operator.weight, operator.bias) if key is not None)


def _sliced(tensor: Tensor, cut: _Cut, is_weight: bool) -> Tensor:
    result = tensor[torch.from_numpy(cut.rows).to(tensor.device)]
    if is_weight and cut.columns is not None:
        result = result[:, torch.from_numpy(cut.columns).to(tensor.device)]
    return result


def shrink_graph(graph: Graph, channels: Channels, keep: Keep) -> Graph:
    """Return the captured graph with only the labels in `keep`."""
    state, operators = dict(graph.state), []
    for operator in graph.operators:
        cut = _cut(operator, graph, channels, keep)
        if cut is not None:
            for key in _keys(operator):
                state[key] = _sliced(graph.state[key], cut, key == operator.weight)
            if operator.traits.window and operator.traits.weighted:
                operator = dataclasses.replace(
                    operator, attributes={**operator.attributes, "groups": cut.groups}
                )
        operators.append(operator)
    shapes = dict(graph.shapes)
    for name, labels in channels.labels.items():
        sizes, place = list(shapes[name]), graph.layout(name).channel
        sizes[place] = int(keep[labels].sum())
        shapes[name] = tuple(sizes)
    operators = [
        dataclasses.replace(o, attributes={**o.attributes, "shape": shapes[o.output]})
        if "shape" in o.attributes
        else o
        for o in operators
    ]
    return dataclasses.replace(graph, operators=tuple(operators), shapes=shapes, state=state)


def _shrunk(module: nn.Module, graph: Graph, channels: Channels, keep: Keep) -> nn.Module:
    small = copy.deepcopy(module)
    original = named_tensors(module)
    cut_keys: set[str] = set()
    for operator in graph.operators:
        cut = _cut(operator, graph, channels, keep)
        for key in _keys(operator) if cut is not None else ():
            if cut is not None and key in original and key not in cut_keys:
                cut_keys.add(key)
                _replace(small, key, _sliced(original[key].detach(), cut, key == operator.weight), cut)
    _verify(module, small, graph)
    return small


def _replace(module: nn.Module, key: str, value: Tensor, cut: _Cut) -> None:
    path, _, name = key.rpartition(".")
    owner = module.get_submodule(path)
    old = getattr(owner, name)
    if isinstance(old, nn.Parameter):
        setattr(owner, name, nn.Parameter(value.clone(), requires_grad=old.requires_grad))
    else:
        owner.register_buffer(name, value.clone())
    if isinstance(owner, nn.Conv1d | nn.Conv2d) and name == "weight":
        owner.out_channels, owner.groups = len(value), cut.groups or 1
        owner.in_channels = value.shape[1] * owner.groups
    elif isinstance(owner, nn.Linear) and name == "weight":
        owner.out_features, owner.in_features = value.shape
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
