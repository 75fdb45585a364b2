"""Memory layout of a network for the C kernels: views, in-place operation and scratch.

Tensors are stored channels last (see `sparsemod.layouts`). Therefore:

- A view shares its input's memory where the bytes are the same. A flatten also shares it where the order does not matter to its
  readers: linear layers, whose weights are permuted to match (also behind activations). Elsewhere the view moves bytes.
- Every output goes to the caller's memory; a later layer may read it there. An output that is a view of an input or of another output
  is copied at the end.
- Where a tensor has 16-bit elements, all sizes are whole words, so that every address is one.
- The memory rule of a kind (`sparsemod.arena.memory`) gives the scratch of its kernel, and whether its output may overwrite an input.
"""

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from sparsemod.arena.chains import Chain, Fused, chain
from sparsemod.arena.memory import MEMORY, Node
from sparsemod.arena.problem import BufferProblem, Step
from sparsemod.errors import InvalidInput
from sparsemod.layouts import Shape, Tensors


@dataclass(frozen=True)
class Layout:
    """The memory layout of a network.

    `nodes`: the nodes whose kernels run. `outside`: buffer -> the output in whose memory it lies. `copied`: outputs that are copied at
    the end, because their bytes are those of an input or of another output. `buffer_of`: tensor -> buffer. `order_of`: vector that holds a flattened tensor's elements
    channels last -> that tensor's image (channels, rows, columns). `problem`: the planner's problem, with one step per node of
    `nodes`, named by index. `chains`: step -> the layers that run together there; its node is the last of them."""

    nodes: tuple[Node, ...]
    buffer_of: Mapping[str, str]
    order_of: Mapping[str, Shape]
    problem: BufferProblem
    outside: Mapping[str, str]
    copied: tuple[str, ...]
    chains: Mapping[int, Chain] = field(default_factory=dict)

    def nodes_of(self, step: int) -> tuple[Node, ...]:
        """Return the nodes of a step: several where they run together."""
        return (
            tuple(part.node for part in self.chains[step].parts)
            if step in self.chains
            else (self.nodes[step],)
        )


def layout(
    nodes: Sequence[Node],
    tensors: Tensors,
    sources: tuple[str, ...],
    results: tuple[str, ...],
    core: str = "",
    fused: Sequence[Fused] = (),
) -> Layout:
    """Return the memory layout of a network with inputs `sources` and outputs `results`, without the nodes that no output needs.

    `core`: the core whose kernels run; "": those of any core. `fused`: the layers that run together.

    Raises Unsupported for a kind without a rule, InvalidInput for layers that cannot run together.
    """
    useful = _useful(nodes, results)
    buffer_of, step_nodes = {source: source for source in sources}, list[Node]()
    order_of: dict[str, Shape] = {}
    for node in useful:
        first = node.inputs[0]
        if node.traits.view and (view := _view(node, useful, tensors, order_of, results)) is not None:
            buffer_of[node.output] = buffer_of[first]
            if view:
                order_of[node.output] = view
            continue
        if _is_elementwise(node) and first in order_of:
            order_of[node.output] = order_of[first]
        buffer_of[node.output] = node.output
        step_nodes.append(node)
    read_by = {name: [n.name for n in useful if name in n.inputs] for n in useful for name in n.inputs}
    step_nodes, chains = _fused(step_nodes, tensors, fused, read_by, results, core)
    outside: dict[str, str] = {}
    for result in results:
        if buffer_of[result] not in sources:
            outside.setdefault(buffer_of[result], result)
    copied = tuple(name for name in results if outside.get(buffer_of[name]) != name)
    between = {part.node.output for each in chains.values() for part in each.parts[:-1]}
    buffer_of = {name: buffer for name, buffer in buffer_of.items() if name not in between}
    every = [
        name for i, n in enumerate(step_nodes) for name in (chains[i].inputs if i in chains else n.inputs)
    ]
    read = {buffer_of[name] for name in every}
    steps = tuple(
        _chain_step(i, chains[i], tensors, buffer_of, outside, read)
        if i in chains
        else _step(i, n, tensors, buffer_of, outside, read, core)
        for i, n in enumerate(step_nodes)
    )
    sizes = {
        buffer_of[name]: 0 if buffer_of[name] in outside else _aligned(tensors.bytes(name), tensors)
        for name in buffer_of
        if buffer_of[name] not in outside or buffer_of[name] in read
    }
    problem = BufferProblem(sizes, steps, sources)
    return Layout(tuple(step_nodes), buffer_of, order_of, problem, outside, copied, chains)


def _fused(
    nodes: Sequence[Node],
    tensors: Tensors,
    fused: Sequence[Fused],
    read_by: Mapping[str, Sequence[str]],
    results: Collection[str],
    core: str,
) -> tuple[list[Node], dict[int, Chain]]:
    """Return the steps' nodes and the chains by step. Raises InvalidInput for layers that cannot run together."""
    places = {node.name: index for index, node in enumerate(nodes)}
    chain_at: dict[int, Chain] = {}
    taken: set[int] = set()
    for each in fused:
        at = [places.get(name, -1) for name in each.layers]
        found = None
        if at and at[0] >= 0 and at == list(range(at[0], at[0] + len(at))) and taken.isdisjoint(at):
            part = nodes[at[0] : at[0] + len(at)]
            apart = apart_from(part, read_by, results)
            found = chain(part, tensors, each.rows, core) if apart else None
        if found is None:
            allowed = (
                "consecutive layers with rows, of which each reads the one before and no other layer reads one between, "
                "and rows that divide those of the last output"
            )
            raise InvalidInput("fused", (each.layers, each.rows), allowed)
        chain_at[at[0]] = found
        taken |= set(at)
    step_nodes: list[Node] = []
    chains: dict[int, Chain] = {}
    index = 0
    while index < len(nodes):
        length = 1
        if index in chain_at:
            chains[len(step_nodes)] = chain_at[index]
            length = len(chain_at[index].parts)
        step_nodes.append(nodes[index + length - 1])
        index += length
    return step_nodes, chains


def apart_from(nodes: Sequence[Node], read_by: Mapping[str, Sequence[str]], results: Collection[str]) -> bool:
    """Whether each of these layers but the last is read by the next one alone."""
    return all(
        list(read_by.get(node.output, ())) == [after.name] and node.output not in results
        for node, after in itertools.pairwise(nodes)
    )


def _chain_step(
    index: int,
    found: Chain,
    tensors: Tensors,
    buffer_of: Mapping[str, str],
    outside: Collection[str],
    read: Collection[str],
) -> Step:
    """Return the step of layers that run together."""
    made = buffer_of[found.output]
    reads = tuple(dict.fromkeys(buffer_of[name] for name in found.inputs))
    free: dict[str, int] = {}
    if made not in outside:
        for name, distance in found.distances.items():
            if buffer_of[name] not in outside:
                free[buffer_of[name]] = max(free.get(buffer_of[name], 0), _aligned(distance, tensors))
    writes = None if made in outside and made not in read else made
    return Step(str(index), reads, writes, free, _aligned(found.scratch, tensors))


def _useful(nodes: Sequence[Node], results: tuple[str, ...]) -> list[Node]:
    tensors, useful = set(results), []
    for node in reversed(nodes):
        if node.output in tensors:
            useful.append(node)
            tensors.update(node.inputs)
    return useful[::-1]


def _view(
    node: Node,
    nodes: Sequence[Node],
    tensors: Tensors,
    order_of: Mapping[str, Shape],
    results: tuple[str, ...],
) -> Shape | None:
    """Return () for a view in the usual order, the image for a vector that holds it channels last, and None for a node that is no view."""
    source, target = node.inputs[0], node.output
    if source in order_of:
        return order_of[source]
    if node.traits.same_image:
        return ()
    if not tensors.moves(source) and not tensors.moves(target):
        return ()
    same = tensors.layout(source).channel == tensors.layout(target).channel == 0
    if same and tensors.image(source)[0] == tensors.image(target)[0]:
        return ()  # both channels last, with the same channels
    return tensors.image(source) if _any_order(target, nodes, tensors, results) else None


def _any_order(tensor: str, nodes: Sequence[Node], tensors: Tensors, results: tuple[str, ...]) -> bool:
    """Whether all readers of a vector accept its elements in any order."""
    if tensor in results or len(tensors.shapes[tensor]) != 1:
        return False
    readers = [node for node in nodes if tensor in node.inputs]
    return all(
        node.traits.any_order
        or ((node.traits.view or _is_elementwise(node)) and _any_order(node.output, nodes, tensors, results))
        for node in readers
    )


def _is_elementwise(node: Node) -> bool:
    """Whether each output element depends only on the input element at the same position."""
    return node.traits.elementwise and node.traits.inputs == 1


def _step(
    index: int,
    node: Node,
    tensors: Tensors,
    buffer_of: Mapping[str, str],
    outside: Collection[str],
    read: Collection[str],
    core: str,
) -> Step:
    """Return a step; a result in the caller's memory is a buffer only where a later step reads it."""
    reads, made = tuple(buffer_of[name] for name in node.inputs), buffer_of[node.output]
    writes = None if made in outside and made not in read else made
    needs = MEMORY.rule(node.kind, node.name)(node, tensors)
    distance = needs.overlap_on(core)
    free: dict[str, int] = {}
    if distance is not None and made not in outside:
        free = {name: _aligned(distance, tensors) for name in reads if name not in outside}
    return Step(str(index), reads, writes, free, _aligned(needs.scratch_on(core), tensors))


def _aligned(size: int, tensors: Tensors) -> int:
    return (size + 3) // 4 * 4 if tensors.wide else size
