"""The arena of a network's C project, planned by `sparsemod.arena`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sparsemod.arena import BufferPlan, Fused, Layout, Node, layout
from sparsemod.arena import plan as plan_arena
from sparsemod.quantization.integer_network import IntegerNetwork
from sparsemod.quantization.layers import Layer


@dataclass(frozen=True)
class ArenaPlan:
    """A planned arena. `size`: bytes of the static array that the project links, with the input, without the output (the caller's memory).

    `offsets` of tensors in the arena (a view has its source's offset), `order` of the layers by name (of layers that run together
    the last one), `timeline` of (layer, live bytes). `lost`: bytes lost to fragmentation; `exact`: whether no other order of the layers needs less.
    """

    size: int
    offsets: Mapping[str, int]
    order: tuple[str, ...]
    timeline: tuple[tuple[str, int], ...]
    lost: int
    exact: bool
    layout: Layout
    plan: BufferPlan


def plan(network: IntegerNetwork, core: str | None = None, fused: Sequence[Fused] | None = None) -> ArenaPlan:
    """Plan the addresses of a network's tensors and the order of its layers, for the kernels of `core` and with the layers `fused` that
    run together (defaults: the network's).

    Raises Unsupported for kinds without a memory rule, InvalidInput for layers that cannot run together.
    """
    nodes = [node(layer) for layer in network.layers]
    core = network.core if core is None else core
    outputs = tuple(network.outputs.values())
    fused = network.fused if fused is None else fused
    arena_layout = layout(nodes, network.named, network.inputs, outputs, core, fused)
    arena_plan = plan_arena(arena_layout.problem)
    offsets = {
        name: arena_plan.offsets[buffer]
        for name, buffer in arena_layout.buffer_of.items()
        if buffer in arena_plan.offsets and buffer not in arena_layout.outside
    }
    names = tuple(arena_layout.nodes[index].name for index in arena_plan.order)
    moments = tuple(
        (arena_layout.nodes[index].name, moment.bytes)
        for index, moment in zip(arena_plan.order, arena_plan.timeline, strict=True)
    )
    return ArenaPlan(
        arena_plan.size, offsets, names, moments, arena_plan.lost, arena_plan.exact, arena_layout, arena_plan
    )


def node(layer: Layer) -> Node:
    """Convert a layer to the planner's node."""
    return Node(layer.name, layer.kind, layer.inputs, layer.output, layer.window, layer.attributes)
