"""From a captured graph to the one that is deployed: batch norm folded, activations fused.

Each pass says what it needs and what it guarantees; all of them keep the outputs (within rounding) and the order of execution, and what they
do depends on the structure alone, never on the values of weights: a network costs the same before and after training.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from sparsemod.errors import Unsupported
from sparsemod.graph.operators import Graph, Operator
from sparsemod.kinds import Kind
from sparsemod.layouts import layout
from sparsemod.stage_errors import stage_errors


@stage_errors("deployment")
def deployed(graph: Graph) -> Graph:
    """The graph as it is deployed: no batch norm, and relu / relu6 as `activation` of conv, linear and add where nothing else reads their result.

    Guarantees: the same outputs within float rounding; conv, linear and add have an `activation` attribute. A graph that is deployed
    already is returned unchanged in content.
    """
    work = _Work(graph)
    _fold_backward(work)
    _fold_forward(work)
    _replace_batch_norms(work)
    _fuse_activations(work)
    return work.graph()


class _Work:
    """A graph being rewritten."""

    def __init__(self, graph: Graph) -> None:
        self.source = graph
        self.operators = [
            replace(o, attributes={"activation": None, **o.attributes}) if o.traits.fuses_activation else o
            for o in graph.operators
        ]
        self.shapes, self.state, self.layouts = dict(graph.shapes), dict(graph.state), dict(graph.layouts)
        self.output = graph.output

    def graph(self) -> Graph:
        tensors = {self.source.input, *(o.output for o in self.operators)}
        keys = {key for o in self.operators for key in o.keys}
        return Graph(
            self.source.input, self.output, tuple(self.operators),
            {name: shape for name, shape in self.shapes.items() if name in tensors},
            {key: held for key, held in self.state.items() if key in keys},
            {name: layout for name, layout in self.layouts.items() if name in tensors},
        )  # fmt: skip

    def each(self, wanted: Callable[[Kind], object]) -> Iterator[Operator]:
        """The operators whose kind is `wanted`, each as it is when its turn comes: a pass may rewrite what follows."""
        for name in [o.name for o in self.operators if wanted(o.traits)]:
            yield next(o for o in self.operators if o.name == name)

    def producer(self, name: str) -> Operator | None:
        return next((o for o in self.operators if o.output == name), None)

    def sole_user(self, name: str) -> Operator | None:
        """The only reader of a tensor, None when there are several, or it is the network's output."""
        readers = [o for o in self.operators if name in o.inputs]
        return readers[0] if len(readers) == 1 and name != self.output else None

    def put(self, old: Operator, new: Operator) -> None:
        self.operators[self.operators.index(old)] = new

    def drop(self, operator: Operator) -> None:
        """Remove an operator; its readers read its input instead."""
        self.operators.remove(operator)
        (source,) = operator.inputs
        self.operators = [
            replace(o, inputs=tuple(source if n == operator.output else n for n in o.inputs))
            if operator.output in o.inputs
            else o
            for o in self.operators
        ]
        if self.output == operator.output:
            self.output = source

    def weighted(self, operator: Operator, weight: Tensor, bias: Tensor, **changes: Any) -> Operator:
        """`operator` with weights of its own; a parameter that other operators share stays as it is."""
        others = {key for o in self.operators if o.name != operator.name for key in o.keys}
        keys = []
        for role, tensor in (("weight", weight), ("bias", bias)):
            key = f"{operator.name}.{role}"
            while key in others:
                key += "_"
            self.state[key] = tensor
            keys.append(key)
        return replace(operator, weight=keys[0], bias=keys[1], **changes)


def _affine(work: _Work, norm: Operator) -> tuple[Tensor, Tensor]:
    """Batch norm as scale and shift per channel, float64."""
    state = work.state
    variance = state[norm.attributes["variance"]].double()
    scale = torch.rsqrt(variance + norm.attributes["epsilon"])
    if norm.weight is not None:
        scale = scale * state[norm.weight].double()
    shift = -state[norm.attributes["mean"]].double() * scale
    if norm.bias is not None:
        shift = shift + state[norm.bias].double()
    return scale, shift


def _double(work: _Work, operator: Operator) -> tuple[Tensor, Tensor]:
    """Weight and bias (zeros where there is none), float64."""
    weight = work.state[str(operator.weight)].double()
    bias = work.state[operator.bias].double() if operator.bias else weight.new_zeros(len(weight))
    return weight, bias


def _fold_backward(work: _Work) -> None:
    """Needs a batch norm that alone reads a conv or linear without activation. Scales that one's filters: w' = w s, b' = b s + t."""
    for norm in work.each(lambda kind: kind.affine):
        before = work.producer(norm.inputs[0])
        if before is None or not before.traits.takes_affine or before.attributes["activation"]:
            continue
        if work.sole_user(before.output) is None:
            continue
        (scale, shift), (weight, bias) = _affine(work, norm), _double(work, before)
        kind = work.state[str(before.weight)].dtype
        scaled = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
        work.put(before, work.weighted(before, scaled.to(kind), (bias * scale + shift).to(kind)))
        work.drop(norm)


def _fold_forward(work: _Work) -> None:
    """Needs a batch norm that a linear or an unpadded conv alone reads. Scales that one's inputs: w' = w s, b' = b + sum w t."""
    for norm in work.each(lambda kind: kind.affine):
        after = work.sole_user(norm.output)
        if after is None or not after.traits.takes_affine or any(after.window.padding):
            continue
        (scale, shift), (weight, bias) = _affine(work, norm), _double(work, after)
        kind = work.state[str(after.weight)].dtype
        groups = after.window.groups
        # Inputs of each output channel: those of its group.
        per_output = [
            v.reshape(groups, 1, -1).expand(-1, len(weight) // groups, -1).flatten(0, 1)
            for v in (scale, shift)
        ]
        shaped = [v.reshape(*v.shape, *[1] * (weight.ndim - 2)) for v in per_output]
        moved = bias + (weight * shaped[1]).flatten(1).sum(1)
        work.put(after, work.weighted(after, (weight * shaped[0]).to(kind), moved.to(kind)))
        work.drop(norm)


def _replace_batch_norms(work: _Work) -> None:
    """Needs a batch norm that nothing could take in. Makes it a depthwise 1 x 1 conv, or on vectors a linear with a diagonal matrix."""
    for norm in work.each(lambda kind: kind.affine):
        scale, shift = _affine(work, norm)
        kind = work.state[norm.attributes["mean"]].dtype
        channels = len(scale)
        axes = layout(work.layouts.get(norm.output), work.shapes[norm.output])
        if axes.channel != 0:
            raise Unsupported(
                norm.kind, norm.name, "deployment", hint=f"layout {axes.name}, not channels first"
            )
        positions = len(axes.positions)
        if positions:
            attributes: dict[str, Any] = {
                "kernel": (1, 1), "stride": (1, 1), "padding": (0, 0, 0, 0), "dilation": (1, 1), "groups": channels, "parameter": None, "activation": None,
            }  # fmt: skip
            weight = scale.reshape(channels, 1, *[1] * positions)
        else:
            attributes, weight = {"parameter": None, "activation": None}, torch.diag(scale)
        new = work.weighted(
            norm,
            weight.to(kind),
            shift.to(kind),
            kind="conv" if positions else "linear",
            attributes=attributes,
        )
        work.put(norm, new)


def _fuse_activations(work: _Work) -> None:
    """Needs a relu or relu6 that alone reads a conv, linear or add, with nothing but max pools and flattens between, each read by the next alone.

    Becomes `activation` of the former, which gives the same outputs because pooling keeps the order; twice relu is relu, with a relu6 it is relu6.
    """
    for clip in work.each(lambda kind: kind.activation):
        while (pool := _movable(work, clip)) is not None:
            # The tensors' names stay, so that the readers of the last one need no change.
            work.shapes[pool.output] = work.shapes[pool.inputs[0]]
            work.layouts.pop(pool.output, None)
            if pool.inputs[0] in work.layouts:
                work.layouts[pool.output] = work.layouts[pool.inputs[0]]
            first = replace(clip, inputs=pool.inputs, output=pool.output)
            work.put(clip, replace(pool, inputs=(pool.output,), output=clip.output))
            work.put(pool, first)
            clip = first
        before = work.producer(clip.inputs[0])
        if before is None or not before.traits.fuses_activation or work.sole_user(before.output) is None:
            continue
        six = "relu6" in (clip.traits.activation, before.attributes["activation"])
        work.put(
            before,
            replace(before, attributes={**before.attributes, "activation": "relu6" if six else "relu"}),
        )
        work.drop(clip)


def _movable(work: _Work, clip: Operator) -> Operator | None:
    """The operator that `clip` should swap places with, None when it stays."""
    before = work.producer(clip.inputs[0])
    source = before
    while source is not None and _passes(source) and work.sole_user(source.output):
        source = work.producer(source.inputs[0])
    fusible = (
        source is not None and source.traits.fuses_activation and work.sole_user(source.output) is not None
    )
    return before if fusible and before is not source else None


def _passes(operator: Operator) -> bool:
    """Whether an activation may move in front of it."""
    return operator.traits.clamps_early and operator.traits.activation is None
