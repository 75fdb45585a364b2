"""Float execution of a graph: the reference for captures and passes, and the source of calibration statistics."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from sparsemod.errors import InvalidInput
from sparsemod.graph.operators import Graph, Operator
from sparsemod.kinds import Stage

FloatRule = Callable[[Graph, Operator, list[Tensor]], Tensor]

FLOAT: Stage[FloatRule] = Stage("the float interpreter", builtin=("sparsemod.graph.rules @FLOAT",))
"""Float rules by kind: (graph, operator, inputs (N, *shape)) -> output, before a fused activation."""


def run_float(
    graph: Graph,
    x: Tensor,
    observe: Callable[[str, Tensor], None] | None = None,
    lengths: Tensor | None = None,
    run: "Callable[[Graph, Operator, list[Tensor], Tensor | None], Tensor] | None" = None,
) -> Tensor:
    """Return the only output (N, *shape) of a graph for its only input `x` (N, *input shape); see `run_float_named`."""
    if graph.several:
        raise InvalidInput("graph", (graph.inputs, tuple(graph.outputs)), "one input and one output")
    return run_float_named(graph, {graph.input: x}, observe, lengths, run)["output"]


@torch.no_grad()
def run_float_named(
    graph: Graph,
    inputs: Mapping[str, Tensor],
    observe: Callable[[str, Tensor], None] | None = None,
    lengths: Tensor | None = None,
    run: "Callable[[Graph, Operator, list[Tensor], Tensor | None], Tensor] | None" = None,
) -> dict[str, Tensor]:
    """Return the graph's outputs (N, *shape) by name, for inputs (N, *input shape) by name.

    `lengths` int64 (N,): the valid steps of each sample, for a graph that uses them; without it every step is valid.
    `observe(name, tensor)` is called with the inputs and every operator's output. `run` replaces `step`, which runs one operator. Tensors are freed after their last use. Raises
    InvalidInput for inputs of other names or shapes, and for different numbers of samples.
    """
    check_inputs(graph.inputs, {name: tuple(x.shape) for name, x in inputs.items()}, graph.shapes)
    last = {name: index for index, operator in enumerate(graph.operators) for name in operator.inputs}
    values = dict(inputs)
    if graph.uses_lengths:
        lengths = full_lengths(len(values[graph.input]), steps_of(graph), lengths)
    if observe is not None:
        for name in graph.inputs:
            observe(name, values[name])
    outputs = graph.outputs
    for index, operator in enumerate(graph.operators):
        values[operator.output] = (run or step)(
            graph, operator, [values[name] for name in operator.inputs], lengths
        )
        if observe is not None:
            observe(operator.output, values[operator.output])
        for name in operator.inputs:
            if last[name] == index and name not in outputs.values():
                values.pop(name, None)
    return {name: values[tensor] for name, tensor in outputs.items()}


def check_inputs(
    names: Sequence[str], given: Mapping[str, tuple[int, ...]], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """Raise InvalidInput unless `given` has a shape (N, *shape) for each name, with one number N of samples."""
    if set(given) != set(names):
        raise InvalidInput("inputs", sorted(given), f"exactly {', '.join(names)}")
    for name, shape in given.items():
        if shape[1:] != shapes[name]:
            field = "x" if len(names) == 1 else f"inputs.{name}"
            raise InvalidInput(field, shape, f"shape (N, {', '.join(map(str, shapes[name]))})")
    if len({shape[0] for shape in given.values()}) > 1:
        counts = {name: shape[0] for name, shape in given.items()}
        raise InvalidInput("inputs", counts, "the same number of samples of each")


def steps_of(graph: Graph) -> int:
    """Return the number of steps of a sample, whose first ones may be the only valid ones."""
    return graph.image(graph.input)[2]


def full_lengths(count: int, steps: int, lengths: Tensor | None) -> Tensor:
    """Return the valid steps of `count` samples of `steps` steps, all of them without `lengths`.

    Raises InvalidInput unless `lengths` (N,) are whole numbers from 1 to `steps`.
    """
    if lengths is None:
        return torch.full((count,), steps)
    if tuple(lengths.shape) != (count,) or lengths.is_floating_point():
        raise InvalidInput("lengths", (str(lengths.dtype), tuple(lengths.shape)), f"{count} whole numbers")
    if count and not 1 <= int(lengths.min()) <= int(lengths.max()) <= steps:
        raise InvalidInput("lengths", (int(lengths.min()), int(lengths.max())), f"1 to {steps}")
    return lengths.long().cpu()


def step(graph: Graph, operator: Operator, inputs: list[Tensor], lengths: Tensor | None = None) -> Tensor:
    """Run one operator on tensors with a batch axis. Raises Unsupported for a kind without a float rule.

    An operator with lengths gets them as its last input."""
    if operator.attributes.get("lengths") and lengths is not None:
        inputs = [*inputs, lengths]
    result = FLOAT.rule(operator.kind, operator.name)(graph, operator, inputs)
    if operator.traits.window:  # rules may return a sequence as an image of height 1
        result = result.reshape(len(result), *graph.shapes[operator.output])
    return activate(result, operator.attributes.get("activation"))


def as_image(graph: Graph, operator: Operator, x: Tensor) -> Tensor:
    """Return the first input (N, *shape) of an operator as images (N, C, H, W)."""
    layout = graph.layout(operator.inputs[0])
    return x.movedim(layout.channel + 1, 1).reshape(len(x), *layout.image(tuple(x.shape[1:])))


def activate(x: Tensor, activation: str | None) -> Tensor:
    """Apply a fused activation: None, "relu" or "relu6"."""
    if activation is None:
        return x
    return functional.relu(x) if activation == "relu" else functional.relu6(x)
