"""Convert an integer network's C project to a program for the emulator."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sparsemod.export.c import CProject
    from sparsemod.quantization import IntegerNetwork

Int8 = NDArray[np.int8]


@dataclass(frozen=True)
class Program:
    """The C sources of a network.

    `kernels`: files that do not depend on the network. `network`: its own files. `layers`: names in order of
    execution, of layers that run together the last one. `inputs`, `outputs`: elements per sample. `arena`: bytes. `constants`: bytes of weights, biases
    and scales, a lower bound on flash.
    """

    kernels: Mapping[str, str]
    network: Mapping[str, str | bytes]
    layers: tuple[str, ...]
    inputs: int
    outputs: int
    arena: int
    constants: int = 0


_LENGTH = 4
"""Bytes before a sample that hold its number of valid steps, for a network that uses it."""

READ_LENGTH = "(uint8_t)input[0] | (uint8_t)input[1] << 8"


def head(uses_lengths: bool) -> int:
    """Return the bytes before a sample."""
    return _LENGTH if uses_lengths else 0


def flat_inputs(network: "IntegerNetwork", inputs: Mapping[str, Int8], lengths: Any = None) -> Int8:
    """Return the samples as the program reads them: (N, bytes of all inputs), each after its length if the network uses lengths."""
    from sparsemod.quantization.packing import packed

    flat = packed(network, inputs)
    steps = network.checked_lengths(len(flat), lengths)
    if steps is None:
        return flat
    stored = steps.astype("<i4").view(np.int8).reshape(len(flat), _LENGTH)
    return np.concatenate([stored, flat], axis=1)


def program(network: "IntegerNetwork", core: str | None = None) -> Program:
    """Generate the C project, with its kernels separate, for the kernels of `core` (default: the network's).

    Raises Unsupported for a layer without a C kernel.
    """
    return program_of(network, project_of(network, core))


def _wrapped(network: "IntegerNetwork") -> bool:
    return network.several or network.uses_lengths or bool(network.named.wide)


def project_of(network: "IntegerNetwork", core: str | None = None) -> "CProject":
    """Return the C project from which `program_of` makes a program; arguments and errors as in `program`."""
    from sparsemod.export.c import generate

    return generate(network, name=MODEL if _wrapped(network) else "network", core=core)


def program_of(network: "IntegerNetwork", project: "CProject") -> Program:
    """Return the program of a network's C project, see `project_of`."""
    from sparsemod.export.c import kernel_sources

    own = dict(project.assembled())
    if _wrapped(network):
        own["network.c"] = f'#include "{MODEL}.h"\n{entry("network_run")}{_call(MODEL, network)}'
    kernels = {f"kernels/{name}": content for name, content in kernel_sources().items()}
    return Program(
        kernels=kernels,
        network=own,
        layers=tuple(layer.name for layer in project.layers if layer.fused in ("", layer.name)),
        constants=project.data_bytes,
        inputs=head(network.uses_lengths) + sum(network.named.bytes(name) for name in network.inputs),
        outputs=_output_size(network),
        arena=project.arena.size,
    )


MODEL = "model"
"""The name of a network with lengths, 16-bit samples, or several inputs or outputs; `network_run` calls it with pointers into one input and one output."""


def _output_size(network: "IntegerNetwork") -> int:
    return sum(network.tensors[name].elements for name in network.outputs.values())


def entry(name: str) -> str:
    """Return the head of a function with one input, in which all inputs follow each other, and one output of that kind."""
    declared = "" if name != "network_run" else f"void {name}(const int8_t *input, int8_t *output);\n"
    return f"{declared}void {name}(const int8_t *input, int8_t *output)\n"


def _call(name: str, network: "IntegerNetwork") -> str:
    """Return the body of that function: a call of the model `name`."""
    pointers, start = [], head(network.uses_lengths)
    for tensor in network.inputs:
        place = f"input + {start}"
        wide = tensor in network.named.wide
        pointers.append(f"(const int16_t *)(const void *)({place})" if wide else place)
        start += network.named.bytes(tensor)
    if network.uses_lengths:
        pointers.append(READ_LENGTH)
    start = 0
    for tensor in network.outputs.values():
        pointers.append(f"output + {start}")
        start += network.tensors[tensor].elements
    return f"{{\n    {name}_run({', '.join(pointers)});\n}}\n"


def many(
    cases: "Sequence[tuple[IntegerNetwork, Mapping[str, Int8]] | tuple[IntegerNetwork, Mapping[str, Int8], Any]]",
    core: str | None = None,
) -> tuple[Program, Int8, list[tuple[int, int]]]:
    """Combine several networks, each with its inputs by name, in one program; the first two bytes of an input select the network.

    Also returns the inputs of all networks, padded to one size, and for each network (index of its first
    input, its output size).
    """
    from sparsemod.export.c import generate, kernel_sources

    projects = [generate(case[0], name=f"net{index}", core=core) for index, case in enumerate(cases)]
    own = {path: content for project in projects for path, content in project.assembled().items()}
    flat = [flat_inputs(*case) for case in cases]
    sizes = [_output_size(case[0]) for case in cases]
    inputs = 4 + (max(images.shape[1] for images in flat) + 3) // 4 * 4
    rows: list[Int8] = []
    places: list[tuple[int, int]] = []
    for index, images in enumerate(flat):
        padded = np.zeros((len(images), inputs), np.int8)
        padded[:, :2] = np.frombuffer(np.uint16(index).tobytes(), np.int8)
        padded[:, 4 : 4 + images.shape[1]] = images
        places.append((sum(len(row) for row in rows), sizes[index]))
        rows.append(padded)
    includes = "".join(f'#include "net{index}.h"\n' for index in range(len(cases)))
    entries = [f"net{index}_entry" for index in range(len(cases))]
    table = ", ".join(entries)
    whole = "".join(
        f"static {entry(name)}{_call(f'net{index}', case[0])}"
        for index, (name, case) in enumerate(zip(entries, cases, strict=True))
    )
    own["network.c"] = (
        f"#include <stdint.h>\n{includes}{whole}"
        f"static void (*const table[])(const int8_t *, int8_t *) = {{{table}}};\n"
        "void network_run(const int8_t *input, int8_t *output);\n"
        "void network_run(const int8_t *input, int8_t *output)\n{\n"
        "    table[(uint8_t)input[0] + 256 * (uint8_t)input[1]](input + 4, output);\n}\n"
    )
    kernels = {f"kernels/{name}": content for name, content in kernel_sources().items()}
    program = Program(kernels, own, (), inputs, max(sizes), 0)
    return program, np.concatenate(rows), places
