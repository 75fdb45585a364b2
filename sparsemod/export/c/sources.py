"""Generators of the C files: header, network and weights."""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sparsemod.arena import Node
from sparsemod.decoding import Decoding
from sparsemod.export.c import text
from sparsemod.export.c.arena import ArenaPlan
from sparsemod.export.c.layers import Array, Emitted
from sparsemod.export.c.rows import ROWS_FUNCTIONS, Grouped, RowsCode
from sparsemod.export.c.streaming import Streaming
from sparsemod.layouts import Shape, TensorLayout
from sparsemod.quantization.integer_network import IntegerNetwork
from sparsemod.quantization.raw_samples import InputNormalization
from sparsemod.templates import render


@dataclass(frozen=True)
class Parts:
    """The input of the file generators; nodes, identifiers and emitted C in execution order. `steps`: the same nodes, those together
    that run together."""

    name: str
    network: IntegerNetwork
    arena: ArenaPlan
    nodes: Sequence[Node]
    identifiers: tuple[str, ...]
    emitted: tuple[Emitted, ...]
    steps: tuple[Grouped, ...]
    streaming: Streaming | None = None
    no_streaming: str = ""

    @property
    def codes(self) -> tuple[Emitted, ...]:
        """The C code of the layers of the window form, and of the streaming form."""
        steps = () if self.streaming is None else tuple(layer.code for layer in self.streaming.layers)
        return (*self.emitted, *steps)

    @property
    def macro(self) -> str:
        """The prefix of the macros."""
        return self.name.upper()


def filled(template: str, **values: Any) -> str:
    """Return a template of this package, filled with `values`."""
    return render("sparsemod.export.c", template, **values)


def header(parts: Parts) -> str:
    """Return NAME.h: sizes and the interface."""
    return filled(
        "network.h", **common(parts), arena_size=parts.arena.size, normalization=normalization(parts.network)
    )


def common(parts: Parts) -> dict[str, Any]:
    """Return the values that several templates share."""
    network = parts.network
    inputs, outputs = _inputs(parts), _outputs(parts)
    return {
        "name": parts.name,
        "macro": parts.macro,
        "several": network.several,
        "inputs": inputs,
        "outputs": outputs,
        "input": inputs[0],
        "output": outputs[0],
        "kind": network.kind,
        "positions": math.prod(network.tensors[network.output].shape[1:]),
        "threshold": threshold(network.decoding),
        "classes": network.classes,
        "lengths": network.uses_lengths,
        "steps": network.steps,
        "streaming": parts.streaming,
        "no_streaming": parts.no_streaming,
    }


def _inputs(parts: Parts) -> list[dict[str, Any]]:
    names = [(name, name) for name in parts.network.inputs]
    return _described(parts, "input", names)


def _outputs(parts: Parts) -> list[dict[str, Any]]:
    return _described(parts, "output", list(parts.network.outputs.items()))


def _described(parts: Parts, word: str, names: list[tuple[str, str]]) -> list[dict[str, Any]]:
    """Return the facts about inputs or outputs; `argument` is the name of the pointer to one, `macro` the prefix of its macros."""
    found: list[dict[str, Any]] = []
    for number, (name, tensor) in enumerate(names):
        several, macro = len(names) > 1, f"{parts.macro}_{word.upper()}"
        taken = {each["argument"] for each in found}
        argument = f"{word}_{text.identifier(name.removeprefix(f'{word}_'))}" if several else word
        while argument in taken:
            argument += f"_{number}"
        found.append(
            {
                **_tensor(parts.network, tensor), "name": text.comment(name), "number": number, "argument": argument, "tensor": tensor,
                "macro": f"{macro}_{number}" if several else macro, "place": _input_place(parts, tensor),
            }
        )  # fmt: skip
    return found


def _tensor(network: IntegerNetwork, name: str) -> dict[str, Any]:
    tensor = network.tensors[name]
    words = {"height": "row", "width": "column", "length": "position", "channels": "channel"}
    axes = (tensor.axes.axes[axis] for axis in tensor.axes.memory)
    return {
        "shape": text.shape(tensor),
        "channels_last": text.channels_last(tensor),
        "axes": ", ".join(words.get(axis, axis) for axis in axes),
        "size": math.prod(tensor.shape),
        "scale": text.real(tensor.scale),
        "type": f"int{tensor.bits}_t",
        "word": f"int{tensor.bits}",
        "lowest": -(1 << (tensor.bits - 1)),
        "highest": (1 << (tensor.bits - 1)) - 1,
        "reach": text.real(2.0 ** (tensor.bits + 1)),
        "zero_point": tensor.zero_point,
    }


def threshold(decoding: Decoding | None) -> str:
    """Return the score above which a sample is an anomaly, as a C constant; "" without one."""
    value = None if decoding is None else decoding.threshold
    return "" if value is None else text.real(value)


def place_of(shape: Shape, layout: TensorLayout, output_shape: Shape) -> str:
    """Return the index of input number i in the order of the outputs, as a C expression; `shape` and `layout` are the input's."""
    if len(output_shape) > 1 or not layout.moves(shape):
        return "i"  # the same order in memory
    positions = math.prod(shape[1:])
    return f"(i % {positions}) * {shape[0]} + i / {positions}"


def normalization(network: IntegerNetwork) -> list[str]:
    """Return the description of a valid sample, in a few lines."""
    return normalization_lines(network.normalization, bool(network.tensors[network.input].axes.positions))


def normalization_lines(constants: InputNormalization | None, positions: bool) -> list[str]:
    """Return the description of a valid sample; `positions`: whether it has channels rather than features."""
    if constants is None:
        return [
            "Samples must be normalized as in training: this network holds no constants of a normalization."
        ]
    each = "channel" if positions else "feature"
    return [
        f"Samples are raw, as in the dataset. Normalization ({text.comment(constants.method)}) is part of the function: (sample - offset) / scale.",
        *_constants("offset", constants.offset, each),
        *_constants("scale", constants.scale, each),
    ]


def _constants(word: str, values: tuple[float, ...], each: str) -> list[str]:
    if len(values) == 1:
        return [f"{word} {values[0]:.9g}"]
    first_values = ", ".join(f"{value:.6g}" for value in values[:8])
    return [f"{word} of each {each}: {first_values}{', ...' if len(values) > 8 else ''}"]


def body(parts: Parts) -> str:
    """Return NAME.c: the arena, the kernel calls in order, and the functions around them."""
    network, steps = parts.network, _steps(parts)
    return filled(
        "network.c",
        **common(parts),
        first_copies=[copy for copy in _copies(parts) if copy["given"]],
        last_copies=[copy for copy in _copies(parts) if not copy["given"]],
        layers=steps,
        rows={
            name for name in ROWS_FUNCTIONS for step in steps if any(name in line for line in step["calls"])
        },
        normalization=normalization_tables(network.normalization, network.input_shape),
        labels=[text.string(label) for label in network.classes],
        place=place_of(network.input_shape, network.input_layout, network.output_shape),
        values=value_tables(network.decoding),
    )


def value_tables(decoding: Decoding | None) -> dict[str, str]:
    """Return the constants that turn outputs into values, as C text."""
    if decoding is None or decoding.targets != "values":
        return {}
    tables = {"scale": decoding.scale, "offset": decoding.offset}
    return {word: text.rows(text.real(value) for value in values) for word, values in tables.items()}


def normalization_tables(
    constants: InputNormalization | None, shape: tuple[int, ...]
) -> dict[str, Any] | None:
    """Return the constants with which C code converts a sample of `shape` exactly like InputNormalization.apply."""
    if constants is None:
        return None
    count = len(constants.offset)
    whole = count == math.prod(shape)
    tables = {"offset": constants.offset, "scale": constants.scale}
    return {
        "count": count,
        "place": "i" if whole and count > 1 else "channel" if count > 1 else "0",
        "tables": {
            word: text.rows(text.double(value) for value in values) for word, values in tables.items()
        },
    }


def _steps(parts: Parts) -> list[dict[str, Any]]:
    """Return the calls of each step, its title, and the index of its last layer."""
    found, first = [], 0
    for step in parts.steps:
        indices = range(first, first + len(step.nodes))
        scratch = parts.arena.plan.scratch.get(str(step.index))
        if step.chain is None:
            place = "" if scratch is None else _place(scratch)
            lines = _calls(parts, first, {"scratch": place})
        else:
            addresses = {name: _address(parts, name) for name in (*step.chain.inputs, step.chain.output)}
            zeros = {name: tensor.zero_point for name, tensor in parts.network.tensors.items()}
            holes = [functools.partial(_calls, parts, index) for index in indices]
            lines = RowsCode(step.chain, addresses, scratch or 0, zeros, holes).lines()
        titles = [_title(parts, index) for index in indices]
        found.append(
            {"index": indices[-1], "titles": titles, "calls": lines, "fused": step.chain is not None}
        )
        first = indices.stop
    return found


def _title(parts: Parts, index: int) -> str:
    node, network = parts.nodes[index], parts.network
    shapes = [text.shape(network.tensors[n]) for n in node.inputs]
    sizes = " and ".join(dict.fromkeys(shapes)) if len(shapes) < 3 else f"{len(shapes)} tensors"
    made = text.shape(network.tensors[node.output])
    return f"{index}. {text.comment(node.name)!r}: {parts.emitted[index].title}. {sizes} -> {made}"


def _calls(parts: Parts, index: int, holes: Mapping[str, str]) -> list[str]:
    """Return the calls of a layer; `holes` has the addresses that are not those of its tensors."""
    node, emitted = parts.nodes[index], parts.emitted[index]
    if "out" not in holes:
        holes = {f"in{i}": _address(parts, n) for i, n in enumerate(node.inputs)} | {
            "out": _address(parts, node.output),
            **holes,
        }
    calls = [call.format(**holes) for call in emitted.calls]
    if emitted.special is not None:
        special = [call.format(**holes) for call in emitted.special.calls]
        calls = [f"#if {emitted.special.condition}", *special, "#else", *calls, "#endif"]
    return calls


def _address(parts: Parts, tensor: str) -> str:
    """Return a tensor's address as C: a pointer of the caller, or a place in the arena."""
    layout = parts.arena.layout
    buffer = layout.buffer_of[tensor]
    given = {each["tensor"]: str(each["argument"]) for each in _inputs(parts)}
    if buffer in given:
        return given[buffer]
    if buffer in layout.outside:
        made = {each["tensor"]: str(each["argument"]) for each in _outputs(parts)}
        return made[layout.outside[buffer]]
    return _place(parts.arena.plan.offsets[buffer])


def output_addresses(parts: Parts) -> tuple[str, ...]:
    """Return the address of each layer's output when its kernel has run, as an expression inside NAME_run."""
    return tuple(_address(parts, node.output) for node in parts.nodes)


def _copies(parts: Parts) -> list[dict[str, Any]]:
    """Return the copies of outputs that are views: those of inputs (`given`), before later layers use the inputs' bytes, and the others."""
    layout, made = parts.arena.layout, {each["tensor"]: each for each in _outputs(parts)}
    return [
        {
            "output": made[name]["argument"], "size": f"{made[name]['macro']}_SIZE", "source": _address(parts, name),
            "given": layout.buffer_of[name] in parts.network.inputs,
        }
        for name in layout.copied
    ]  # fmt: skip


def _input_place(parts: Parts, tensor: str) -> str:
    place = _place(parts.arena.offsets.get(tensor, 0))
    return f"(int16_t *)(void *)({place})" if parts.network.tensors[tensor].bits == 16 else place


def _place(offset: int) -> str:
    return f"arena.bytes + {offset}" if offset else "arena.bytes"


_TYPES = {
    "int8_t": "<i1",
    "uint8_t": "<u1",
    "int16_t": "<i2",
    "uint16_t": "<u2",
    "int32_t": "<i4",
    "uint32_t": "<u4",
    "float": "<f4",
}


def unshared(layers: Sequence[Emitted]) -> list[Emitted]:
    """Return the layers without the arrays that an earlier layer has."""
    known: set[str] = set()
    found = []
    for emitted in layers:
        own = {array.name: array for array in emitted.arrays if array.name not in known}
        known |= set(own)
        found.append(replace(emitted, arrays=tuple(own.values())))
    return found


def weights(parts: Parts, apart: bool = False) -> str:
    """Return NAME.weights.h: the layers' constants, for flash. With `apart` it only declares the arrays: see `assembler`."""
    titled = [
        (f"{text.comment(node.name)!r}: {emitted.title}", emitted)
        for node, emitted in zip(parts.nodes, parts.emitted, strict=True)
    ]
    for layer in parts.streaming.layers if parts.streaming else ():
        titled.append((f"{text.comment(layer.name)!r}, one step: {layer.code.title}", layer.code))
    always = parts.streaming is not None
    headers = {emitted.special.header.removesuffix(".h") for _, emitted in titled if emitted.special}
    header = max(headers, default="nn")
    return filled("weights.h", name=parts.name, layers=constants_of(titled, apart, always), kernels=header)


def constants_of(
    titled: Sequence[tuple[str, Emitted]], apart: bool = False, always: bool = False
) -> list[dict[str, str]]:
    """Return the values of weights.h: of each (title, layer) the arrays and the structs that point to them; see `_constants_of`."""
    return [
        {
            "title": title,
            **_constants_of(emitted, apart, always),
        }
        for title, emitted in titled
        if emitted.constants or emitted.arrays
    ]


def _constants_of(emitted: Emitted, apart: bool, always: bool) -> dict[str, str]:
    """Return the text of a layer's arrays and of its other constants; `always`: the plain kernel's even beside another kernel's."""
    arrays = "".join(_array(array, apart) for array in emitted.arrays)
    special = emitted.special
    if special is None:
        return {"arrays": arrays, "constants": emitted.constants}
    own = "".join(_array(array, apart) for array in special.arrays)
    if always:
        arrays = f"#if {special.condition}\n{own}{special.constants}#endif\n{arrays}"
        return {"arrays": arrays, "constants": emitted.constants}
    return {
        "arrays": f"#if {special.condition}\n{own}{special.constants}#else\n{arrays}",
        "constants": f"{emitted.constants}#endif\n",
    }


def _array(array: Array, apart: bool) -> str:
    if apart:
        return f"extern const {array.kind} {array.name}[{array.values.size}];\n"
    return text.array(array.kind, array.name, array.values)


def assembler(name: str, codes: Sequence[Emitted]) -> tuple[str, bytes]:
    """Return GNU assembler code that defines the layers' arrays, and the file NAME.bin that it includes, for little-endian cores.

    A compiler needs seconds for a million numbers as text; the assembler copies the bytes.
    """
    lines, content = [], bytearray()
    special = (array for emitted in codes if emitted.special for array in emitted.special.arrays)
    for array in (*(array for emitted in codes for array in emitted.arrays), *special):
        values = array.values.astype(_TYPES[array.kind]).tobytes()
        lines += [
            f'    .section .rodata.{array.name},"a",%progbits',
            "    .balign 4",
            f"    .global {array.name}",
            f"    .type {array.name}, %object",
            f"    .size {array.name}, {len(values)}",
            f"{array.name}:",
            f'    .incbin "{name}.bin", {len(content)}, {len(values)}',
        ]
        content += values
    return "\n".join(lines) + "\n", bytes(content)
