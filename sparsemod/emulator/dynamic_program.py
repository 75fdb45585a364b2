"""Convert a dynamically quantized network's C project to a program for the emulator."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.emulator.program import MODEL, READ_LENGTH, Program, entry, head

if TYPE_CHECKING:
    from sparsemod.quantization.dynamic_network import DynamicNetwork

_FLOAT = 4


def dynamic_program(network: "DynamicNetwork") -> Program:
    """Generate the C project, with its kernels separate. The program's inputs and outputs are the bytes of floats.

    Raises Unsupported for an operator without a C kernel.
    """
    from sparsemod.export.c.dynamic import generate, kernel_sources

    project, graph = generate(network, name=MODEL), network.graph
    pointers = [
        f"(const float *)(const void *)(input + {head(graph.uses_lengths)})",
        "(float *)(void *)output",
    ]
    if graph.uses_lengths:
        pointers.insert(1, READ_LENGTH)
    call = f"{{\n    {MODEL}_run({', '.join(pointers)});\n}}\n"
    own = {**project.assembled(), "network.c": f'#include "{MODEL}.h"\n{entry("network_run")}{call}'}
    return Program(
        kernels={f"kernels/{name}": content for name, content in kernel_sources().items()},
        network=own,
        layers=tuple(layer.name for layer in project.layers),
        constants=project.data_bytes,
        inputs=head(graph.uses_lengths) + _FLOAT * graph.elements(graph.input),
        outputs=_FLOAT * graph.elements(graph.output),
        arena=project.arena.size,
    )


def packed_samples(network: "DynamicNetwork", samples: Any, lengths: Any = None) -> NDArray[np.int8]:
    """Return float samples (N, *input shape) as the program reads them: (N, bytes), each after its length if the network uses lengths."""
    from sparsemod.export.c.dynamic.host import packed

    values = np.asarray(samples, np.float32)
    return np.frombuffer(packed(network, values, lengths), np.int8).reshape(len(values), -1)


def unpacked_outputs(network: "DynamicNetwork", outputs: NDArray[np.int8]) -> NDArray[np.float32]:
    """Return the outputs (N, *output shape) of the program's bytes (N, bytes)."""
    from sparsemod.export.c.dynamic.host import unpacked

    return unpacked(network, np.ascontiguousarray(outputs).tobytes(), len(outputs))
