"""Generators of a dynamically quantized network's C files."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sparsemod.arena import Node
from sparsemod.export.c import sources as integer_sources
from sparsemod.export.c import text
from sparsemod.export.c.arena import ArenaPlan
from sparsemod.export.c.layers import Emitted
from sparsemod.export.c.pages import label_cell
from sparsemod.quantization.dynamic_network import DynamicNetwork
from sparsemod.templates import render


@dataclass(frozen=True)
class Parts:
    """The input of the file generators; nodes, identifiers and emitted C in execution order."""

    name: str
    network: DynamicNetwork
    arena: ArenaPlan
    nodes: Sequence[Node]
    emitted: tuple[Emitted, ...]

    @property
    def titled(self) -> list[tuple[str, Emitted]]:
        """The layers with their titles."""
        return [
            (f"{text.comment(node.name)!r}: {emitted.title}", emitted)
            for node, emitted in zip(self.nodes, self.emitted, strict=True)
        ]


def filled(template: str, **values: Any) -> str:
    """Return a template of this package, filled with `values`."""
    return render("sparsemod.export.c.dynamic", template, **values)


def common(parts: Parts) -> dict[str, Any]:
    """Return the values that several templates share."""
    network, graph = parts.network, parts.network.graph
    constants = network.normalization
    lines = integer_sources.normalization_lines(constants, bool(graph.layout(graph.input).positions))
    return {
        "name": parts.name,
        "macro": parts.name.upper(),
        "input": _tensor(parts, graph.input),
        "output": _tensor(parts, graph.output),
        "kind": network.kind,
        "positions": math.prod(graph.shapes[graph.output][1:]),
        "threshold": integer_sources.threshold(network.decoding),
        "pair": integer_sources.place_of(network.input_shape, network.input_layout, network.output_shape),
        "lengths": graph.uses_lengths,
        "steps": graph.image(graph.input)[2],
        "classes": [label_cell(label) for label in network.classes],
        "labels": [text.string(label) for label in network.classes],
        "normalization": lines,
        "arena_size": parts.arena.size,
    }


def _tensor(parts: Parts, name: str) -> dict[str, Any]:
    graph = parts.network.graph
    shape, layout = graph.shapes[name], graph.layout(name)
    words = {"height": "row", "width": "column", "length": "position", "channels": "channel"}
    axes = (layout.axes[axis] for axis in layout.memory)
    return {
        "shape": _shape(parts, name),
        "channels_last": layout.memory != tuple(range(len(shape))),
        "axes": ", ".join(words.get(axis, axis) for axis in axes),
        "size": math.prod(shape),
        "place": _place(parts.arena.offsets.get(name, 0)),
    }


def _shape(parts: Parts, name: str) -> str:
    graph = parts.network.graph
    return " x ".join(str(graph.shapes[name][axis]) for axis in graph.layout(name).memory)


def header(parts: Parts) -> str:
    """Return NAME.h: sizes and the interface."""
    return filled("network.h", **common(parts))


def body(parts: Parts) -> str:
    """Return NAME.c: the arena, the kernel calls in order, and the functions around them."""
    network = parts.network
    values = {**common(parts), "layers": [_layer(parts, index) for index in range(len(parts.nodes))]}
    output = network.graph.output
    return filled(
        "network.c",
        **values,
        copied=_address(parts, output) if output in parts.arena.layout.copied else "",
        constants=integer_sources.normalization_tables(network.normalization, network.input_shape),
        values=integer_sources.value_tables(network.decoding),
    )


def _layer(parts: Parts, index: int) -> dict[str, Any]:
    node, emitted = parts.nodes[index], parts.emitted[index]
    shapes = [_shape(parts, name) for name in node.inputs]
    sizes = " and ".join(dict.fromkeys(shapes)) if len(shapes) < 3 else f"{len(shapes)} tensors"
    scratch = parts.arena.plan.scratch.get(str(parts.arena.layout.nodes.index(node)))
    holes = {f"in{i}": _address(parts, name) for i, name in enumerate(node.inputs)}
    holes["out"] = _address(parts, node.output)
    holes["scratch"] = "" if scratch is None else f"arena.bytes + {scratch}"
    title = f"{emitted.title}. {sizes} -> {_shape(parts, node.output)}"
    return {
        "index": index,
        "title": f"{text.comment(node.name)!r}: {title}",
        "calls": [call.format(**holes) for call in emitted.calls],
    }


def _address(parts: Parts, tensor: str) -> str:
    """Return a tensor's address as C: a pointer of the caller, or a place in the arena."""
    layout = parts.arena.layout
    buffer = layout.buffer_of[tensor]
    if buffer == parts.network.graph.input:
        return "input"
    return "output" if buffer in layout.outside else _place(parts.arena.plan.offsets[buffer])


def _place(offset: int) -> str:
    return f"arena.numbers + {offset // 4}" if offset else "arena.numbers"


def weights(parts: Parts, apart: bool = False) -> str:
    """Return NAME.weights.h: the layers' constants, for flash. With `apart` it only declares the arrays."""
    layers = integer_sources.constants_of(parts.titled, apart)
    return integer_sources.filled("weights.h", name=parts.name, layers=layers, kernels="nd")
