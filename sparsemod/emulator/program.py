"""Convert an integer network's C project to a program for the emulator."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sparsemod.quantization import IntegerNetwork

Int8 = NDArray[np.int8]


@dataclass(frozen=True)
class Program:
    """The C sources of a network.

    `kernels`: files that do not depend on the network. `network`: its own files. `layers`: names in order of
    execution. `inputs`, `outputs`: elements per sample. `arena`: bytes. `constants`: bytes of weights, biases
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

_READ = "(uint8_t)input[0] | (uint8_t)input[1] << 8"

_WITH_LENGTH: dict[str, str | bytes] = {
    "network.c": (
        '#include "model.h"\nvoid network_run(const int8_t *input, int8_t *output);\n'
        "void network_run(const int8_t *input, int8_t *output)\n{\n"
        f"    model_run(input + {_LENGTH}, {_READ}, output);\n}}\n"
    )
}


def flat_inputs(network: "IntegerNetwork", images: Int8, lengths: Any = None) -> Int8:
    """Return the samples as the program reads them: (N, bytes), each after its length if the network uses lengths."""
    flat = network.tensors[network.input].to_memory(images).reshape(len(images), -1)
    steps = network.checked_lengths(len(images), lengths)
    if steps is None:
        return flat
    stored = steps.astype("<i4").view(np.int8).reshape(len(images), _LENGTH)
    return np.concatenate([stored, flat], axis=1)


def program(network: "IntegerNetwork") -> Program:
    """Generate the C project, with its kernels separate.

    Raises Unsupported for a layer without a C kernel.
    """
    from sparsemod.export.c import generate, kernel_sources

    project = generate(network, name="model" if network.uses_lengths else "network")
    kernels = {f"kernels/{name}": content for name, content in kernel_sources().items()}
    return Program(
        kernels=kernels,
        network=project.assembled() | (_WITH_LENGTH if network.uses_lengths else {}),
        layers=tuple(layer.name for layer in project.layers),
        constants=project.data_bytes,
        inputs=int(np.prod(network.input_shape)) + (_LENGTH if network.uses_lengths else 0),
        outputs=int(np.prod(network.tensors[network.output].shape)),
        arena=project.arena.size,
    )


def many(
    cases: "Sequence[tuple[IntegerNetwork, Int8] | tuple[IntegerNetwork, Int8, Any]]",
) -> tuple[Program, Int8, list[tuple[int, int]]]:
    """Combine several networks in one program; the first two bytes of an input select the network.

    Also returns the inputs of all networks, padded to one size, and for each network (index of its first
    input, its output size).
    """
    from sparsemod.export.c import generate, kernel_sources

    projects = [generate(case[0], name=f"net{index}") for index, case in enumerate(cases)]
    own = {path: content for project in projects for path, content in project.assembled().items()}
    flat = [flat_inputs(*case) for case in cases]
    sizes = [int(np.prod(network.tensors[network.output].shape)) for network, *_ in cases]
    inputs = 4 + max(images.shape[1] for images in flat)
    rows: list[Int8] = []
    places: list[tuple[int, int]] = []
    for index, images in enumerate(flat):
        padded = np.zeros((len(images), inputs), np.int8)
        padded[:, :2] = np.frombuffer(np.uint16(index).tobytes(), np.int8)
        padded[:, 4 : 4 + images.shape[1]] = images
        places.append((sum(len(row) for row in rows), sizes[index]))
        rows.append(padded)
    includes = "".join(f'#include "net{index}.h"\n' for index in range(len(cases)))
    runs = [
        f"static void run{index}(const int8_t *input, int8_t *output)\n{{\n    "
        + (
            f"net{index}_run(input + {_LENGTH}, {_READ}, output)"
            if case[0].uses_lengths
            else f"net{index}_run(input, output)"
        )
        + ";\n}\n"
        for index, case in enumerate(cases)
    ]
    table = ", ".join(f"run{index}" for index in range(len(cases)))
    own["network.c"] = (
        f"#include <stdint.h>\n{includes}{''.join(runs)}"
        f"static void (*const table[])(const int8_t *, int8_t *) = {{{table}}};\n"
        "void network_run(const int8_t *input, int8_t *output);\n"
        "void network_run(const int8_t *input, int8_t *output)\n{\n"
        "    table[(uint8_t)input[0] + 256 * (uint8_t)input[1]](input + 4, output);\n}\n"
    )
    kernels = {f"kernels/{name}": content for name, content in kernel_sources().items()}
    program = Program(kernels, own, (), inputs, max(sizes), 0)
    return program, np.concatenate(rows), places
