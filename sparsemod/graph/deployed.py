"""Passes from a captured graph to the deployed graph: fold batch norm, fuse activations.

Each pass documents its needs and guarantees. All passes keep the outputs (within rounding) and the order of execution. They depend
on the structure alone, never on the values of weights, so a network costs the same before and after training.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from sparsemod.errors import Unsupported
from sparsemod.graph.operators import Graph, Operator
from sparsemod.graph.tables import merge_affines, merge_pairs, merge_tables
from sparsemod.kinds import Kind
from sparsemod.layouts import layout
from sparsemod.stage_errors import stage_errors


@stage_errors("deployment")
def deployed(graph: Graph) -> Graph:
    """Return the deployed graph: no batch norm, and relu / relu6 fused as `activation` into conv, linear and add.

    An activation is fused where nothing else reads the operator's result. Guarantees: the same outputs within float rounding; conv,
    linear and add have an `activation` attribute. An already deployed graph keeps its content.
    """
    work = _Work(graph)
    merge_pairs(work)
    merge_affines(work)
    _fold_factors(work)
    _merge_constants(work)
    _fold_backward(work)
    _fold_forward(work)
    merge_tables(work, activations=False)
    _replace_batch_norms(work)
    _fuse_activations(work)
    merge_tables(work, activations=True)
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
        self.outputs = [graph.output, *graph.other_outputs]

    def graph(self) -> Graph:
        tensors = {*self.source.inputs, *(o.output for o in self.operators)}
        keys = {key for o in self.operators for key in o.keys}
        return Graph(
            self.source.input, self.outputs[0], tuple(self.operators),
            {name: shape for name, shape in self.shapes.items() if name in tensors},
            {key: tensor for key, tensor in self.state.items() if key in keys},
            {name: layout for name, layout in self.layouts.items() if name in tensors},
            self.source.other_inputs, tuple(self.outputs[1:]), self.source.output_names,
        )  # fmt: skip

    def each(self, matches: Callable[[Kind], object]) -> Iterator[Operator]:
        """Iterate over the operators whose kind `matches`, each in its current state: a pass may rewrite later operators."""
        for name in [o.name for o in self.operators if matches(o.traits)]:
            yield next(o for o in self.operators if o.name == name)

    def producer(self, name: str) -> Operator | None:
        return next((o for o in self.operators if o.output == name), None)

    def sole_user(self, name: str) -> Operator | None:
        """Return the only reader of a tensor; None when it has several readers or is the network's output."""
        readers = [o for o in self.operators if name in o.inputs]
        return readers[0] if len(readers) == 1 and name not in self.outputs else None

    def discard(self) -> None:
        """Remove the operators that the network's outputs do not need."""
        wanted, kept = set(self.outputs), []
        for operator in reversed(self.operators):
            if operator.output in wanted:
                kept.append(operator)
                wanted.update(operator.inputs)
        self.operators = kept[::-1]

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
        self.outputs = [source if name == operator.output else name for name in self.outputs]

    def weighted(self, operator: Operator, weight: Tensor, bias: Tensor, **changes: Any) -> Operator:
        """Return `operator` with new weights; parameters shared with other operators stay unchanged."""
        used_elsewhere = {key for o in self.operators if o.name != operator.name for key in o.keys}
        keys = []
        for role, tensor in (("weight", weight), ("bias", bias)):
            key = f"{operator.name}.{role}"
            while key in used_elsewhere:
                key += "_"
            self.state[key] = tensor
            keys.append(key)
        return replace(operator, weight=keys[0], bias=keys[1], **changes)


def _affine(work: _Work, norm: Operator) -> tuple[Tensor, Tensor]:
    """Return batch norm or affine as scale and shift per channel, float64."""
    state = work.state
    if "variance" not in norm.attributes:
        return state[str(norm.weight)].double(), state[str(norm.bias)].double()
    variance = state[norm.attributes["variance"]].double()
    scale = torch.rsqrt(variance + norm.attributes["epsilon"])
    if norm.weight is not None:
        scale = scale * state[norm.weight].double()
    shift = -state[norm.attributes["mean"]].double() * scale
    if norm.bias is not None:
        shift = shift + state[norm.bias].double()
    return scale, shift


def _double(work: _Work, operator: Operator) -> tuple[Tensor, Tensor]:
    """Return weight and bias in float64; an absent bias is zeros."""
    weight = work.state[str(operator.weight)].double()
    bias = work.state[operator.bias].double() if operator.bias else weight.new_zeros(len(weight))
    return weight, bias


def _fold_factors(work: _Work) -> None:
    """Fold a factor of all elements into the product before it. Needs: the factor is its only reader."""
    for scaling in work.each(lambda kind: kind.affine):
        before = work.producer(scaling.inputs[0])
        uniform = scaling.attributes.get("uniform")
        if before is None or not before.traits.takes_factor or work.sole_user(before.output) is None:
            continue
        if uniform is None or uniform[1] != 0.0:
            continue
        factor = before.attributes["factor"] * uniform[0]
        work.put(before, replace(before, attributes={**before.attributes, "factor": factor}))
        work.drop(scaling)


def _merge_constants(work: _Work) -> None:
    """Merge sums with constants that follow each other. Needs: the second one is the only reader, without an activation between them."""
    for second in work.each(lambda kind: kind.adds_constant):
        first = work.producer(second.inputs[0])
        if first is None or not first.traits.adds_constant or work.sole_user(first.output) is None:
            continue
        if first.attributes.get("activation"):
            continue
        total = work.state[str(first.weight)] + work.state[str(second.weight)]
        merged = replace(work.weighted(second, total, total), bias=None, inputs=first.inputs)
        work.put(second, merged)
        work.operators.remove(first)


def _fold_backward(work: _Work) -> None:
    """Fold a batch norm into the conv or linear before it, by scaling the filters: w' = w s, b' = b s + t.

    Needs: the conv or linear has no activation, and the batch norm is its only reader."""
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
    """Fold a batch norm into the layer after it, by scaling the layer's inputs: w' = w s, b' = b + sum w t.

    Needs: a linear or an unpadded conv is the only reader of the batch norm."""
    for norm in work.each(lambda kind: kind.affine):
        after = work.sole_user(norm.output)
        if after is None or not after.traits.takes_affine or any(after.window.padding):
            continue
        (scale, shift), (weight, bias) = _affine(work, norm), _double(work, after)
        kind = work.state[str(after.weight)].dtype
        groups = after.window.groups
        # The inputs of an output channel are those of its group.
        per_output = [
            v.reshape(groups, 1, -1).expand(-1, len(weight) // groups, -1).flatten(0, 1)
            for v in (scale, shift)
        ]
        shaped = [v.reshape(*v.shape, *[1] * (weight.ndim - 2)) for v in per_output]
        moved = bias + (weight * shaped[1]).flatten(1).sum(1)
        work.put(after, work.weighted(after, (weight * shaped[0]).to(kind), moved.to(kind)))
        work.drop(norm)


def _replace_batch_norms(work: _Work) -> None:
    """Replace a batch norm that could not be folded by a depthwise 1 x 1 conv, or on vectors by a linear with a diagonal matrix."""
    for norm in work.each(lambda kind: kind.affine):
        scale, shift = _affine(work, norm)
        kind = work.state[next(key for key in norm.keys)].dtype
        channels = len(scale)
        axes = layout(work.layouts.get(norm.output), work.shapes[norm.output])
        if axes.name == "time-features":
            norm = _turned(work, norm)
        elif axes.channel != 0:
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


def _turned(work: _Work, norm: Operator) -> Operator:
    """Put transposes, which are views, around a batch norm on steps of features; return the batch norm on channels first."""
    steps, features = work.shapes[norm.output]
    before, after = f"{norm.output}.turned", f"{norm.output}.scaled"
    for name in (before, after):
        work.shapes[name] = (features, steps)
    turned = replace(norm, inputs=(before,), output=after)
    at = work.operators.index(norm)
    work.operators[at : at + 1] = [
        Operator(f"{norm.name}.turned", "transpose", norm.inputs, before),
        turned,
        Operator(f"{norm.name}.steps", "transpose", (after,), norm.output),
    ]
    return turned


def _fuse_activations(work: _Work) -> None:
    """Fuse a relu or relu6 as `activation` into the conv, linear or add before it.

    Needs: only max pools and flattens between the two, each tensor read by the next operator alone. The outputs stay the same because
    pooling keeps the order. Two relus fuse to relu, a relu and a relu6 to relu6.
    """
    for clip in work.each(lambda kind: kind.activation):
        while (pool := _swap_partner(work, clip)) is not None:
            # The tensors keep their names, so the readers of the last one need no change.
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


def _swap_partner(work: _Work, clip: Operator) -> Operator | None:
    """Return the operator that `clip` should swap places with, None when `clip` stays."""
    before = work.producer(clip.inputs[0])
    source = before
    while source is not None and _lets_activation_pass(source) and work.sole_user(source.output):
        source = work.producer(source.inputs[0])
    fusible = (
        source is not None and source.traits.fuses_activation and work.sole_user(source.output) is not None
    )
    return before if fusible and before is not source else None


def _lets_activation_pass(operator: Operator) -> bool:
    """Whether an activation may move in front of it."""
    return operator.traits.clamps_early and operator.traits.activation is None
