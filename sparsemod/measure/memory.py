"""Working memory: bytes of int8 activations that are alive together, over the execution order.

Each element takes one byte, 16-bit samples take two. A tensor is alive from the operator that computes it to its last reader; the network's inputs are alive from
the start, and its outputs until the end. The inputs and the output of an operator are alive together. Two exceptions:

- flatten and other views: the output uses the input's buffer;
- a relu or relu6 that is not fused works in place when no later operator reads its input, except on a network's input, which belongs
  to the caller.

Add does not work in place. Not counted: column buffers and stack of kernels, alignment, and fragmentation of the arena.

SpArSe's two models (Fedorov et al., "SpArSe: Sparse Architecture Search for CNNs on Resource-Constrained Microcontrollers", 2019) look at
one layer at a time: `sparse_model_1` is the largest sum of a layer's input and weights, `sparse_model_2` of its input and output.
"""

from dataclasses import dataclass

from sparsemod.graph import Graph


@dataclass(frozen=True)
class Moment:
    """Live memory while `operator` runs: total `bytes`, and `without_input` for those without the network's input.

    `tensors` names one tensor per buffer."""

    operator: str
    bytes: int
    without_input: int
    tensors: tuple[str, ...]


@dataclass(eq=False)
class _Buffer:
    name: str
    size: int
    first: int
    last: int


def timeline(graph: Graph) -> tuple[Moment, ...]:
    """Return one moment per operator in execution order, without views."""
    buffers = _buffers(graph)
    moments = []
    for index, operator in enumerate(graph.operators):
        if operator.traits.view:
            continue
        alive = [b for b in buffers if b.first <= index <= b.last]
        total = sum(b.size for b in alive)
        input_bytes = sum(b.size for b in alive if b.name in graph.inputs)
        moments.append(Moment(operator.name, total, total - input_bytes, tuple(b.name for b in alive)))
    return tuple(moments)


def _buffers(graph: Graph) -> list[_Buffer]:
    reads: dict[str, int] = {}
    for index, operator in enumerate(graph.operators):
        reads.update(dict.fromkeys(operator.inputs, index))
    reads.update(dict.fromkeys(graph.outputs.values(), len(graph.operators)))

    buffers = [_Buffer(name, graph.tensors.bytes(name), 0, reads.get(name, 0)) for name in graph.inputs]
    given = tuple(buffers)
    buffer_of = {buffer.name: buffer for buffer in buffers}
    for index, operator in enumerate(graph.operators):
        source = buffer_of[operator.inputs[0]]
        # `last` includes the readers of every tensor so far in the buffer, including views.
        free = source.last <= index and source not in given
        if operator.traits.view or (operator.traits.in_place and free):
            buffer = source
        else:
            buffer = _Buffer(operator.output, graph.tensors.bytes(operator.output), index, index)
            buffers.append(buffer)
        buffer.last = max(buffer.last, reads.get(operator.output, index))
        buffer_of[operator.output] = buffer
    return buffers


def peak(graph: Graph, *, with_input: bool = True) -> int:
    """Return the largest number of bytes alive together, with or without the network's input."""
    moments = timeline(graph)
    if not moments:
        return sum(map(graph.tensors.bytes, graph.inputs)) if with_input else 0
    return max(moment.bytes if with_input else moment.without_input for moment in moments)


def sparse_model_1(graph: Graph) -> int:
    """Return SpArSe's first model: the largest sum of a conv or linear layer's inputs and its weights (int8, all stored), in bytes."""
    sums = [
        sum(graph.tensors.bytes(name) for name in o.inputs) + graph.state[o.weight].numel()
        for o in graph.operators
        if o.weight is not None
    ]
    return max(sums, default=0)


def sparse_model_2(graph: Graph) -> int:
    """Return SpArSe's second model: the largest sum of an operator's inputs and output in bytes, without views and in-place activations."""
    sums = [
        sum(graph.tensors.bytes(name) for name in dict.fromkeys(o.inputs)) + graph.tensors.bytes(o.output)
        for o in graph.operators
        if not (o.traits.view or o.traits.in_place)
    ]
    return max(sums, default=0)
