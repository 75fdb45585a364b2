"""An integer network's C project as a program for the emulator, and its tensors' order in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sparsemod.quantization import IntegerNetwork

Int8 = NDArray[np.int8]


@dataclass(frozen=True)
class Program:
    """C sources of a network: `kernels` independent of it, `network` its own files, `layers` the names in the order of execution. `constants`:
    the bytes of its weights, biases and scales, which flash must hold at least."""

    kernels: Mapping[str, str]
    network: Mapping[str, str | bytes]
    layers: tuple[str, ...]
    inputs: int
    outputs: int
    arena: int
    constants: int = 0


def program(network: "IntegerNetwork") -> Program:
    """The C project, its kernels apart. Raises Unsupported for a layer without a C kernel."""
    from sparsemod.export.c import generate, kernel_sources

    made = generate(network, name="network")
    kernels = {f"kernels/{name}": content for name, content in kernel_sources().items()}
    return Program(
        kernels=kernels,
        network=made.assembled(),
        layers=tuple(layer.name for layer in made.layers),
        constants=made.data_bytes,
        inputs=int(np.prod(network.input_shape)),
        outputs=int(np.prod(network.tensors[network.output].shape)),
        arena=made.arena.size,
    )


def many(
    cases: "Sequence[tuple[IntegerNetwork, Int8]]",
) -> tuple[Program, Int8, list[tuple[int, int]]]:
    """Several networks as one program, whose inputs begin with two bytes that choose one.

    Also the inputs of all of them, padded to one size, and per network (its first input, its output size).
    """
    from sparsemod.export.c import generate, kernel_sources

    made = [generate(network, name=f"net{index}") for index, (network, _) in enumerate(cases)]
    own = {path: content for project in made for path, content in project.assembled().items()}
    flat = [
        network.tensors[network.input].to_memory(images).reshape(len(images), -1) for network, images in cases
    ]
    sizes = [int(np.prod(network.tensors[network.output].shape)) for network, _ in cases]
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
    table = ", ".join(f"net{index}_run" for index in range(len(cases)))
    own["network.c"] = (
        f"#include <stdint.h>\n{includes}"
        f"static void (*const table[])(const int8_t *, int8_t *) = {{{table}}};\n"
        "void network_run(const int8_t *input, int8_t *output);\n"
        "void network_run(const int8_t *input, int8_t *output)\n{\n"
        "    table[(uint8_t)input[0] + 256 * (uint8_t)input[1]](input + 4, output);\n}\n"
    )
    kernels = {f"kernels/{name}": content for name, content in kernel_sources().items()}
    program = Program(kernels, own, (), inputs, max(sizes), 0)
    return program, np.concatenate(rows), places
