"""An integer network's C project as a program for the emulator, and its tensors' order in memory."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sparsemod.targets.emulator.emulator import Program

if TYPE_CHECKING:
    from sparsemod.quantization import IntegerNetwork

Int8 = NDArray[np.int8]


def program(network: "IntegerNetwork") -> Program:
    """The C project, its kernels apart. Raises Unsupported for a layer without a C kernel."""
    from sparsemod.export.c import generate, kernel_sources

    made = generate(network, name="network")
    own = {path: made.files[path] for path in made.files if path.startswith("network") and "/" not in path}
    kernels = {f"kernels/{name}": content for name, content in kernel_sources().items()}
    return Program(
        kernels=kernels,
        network=own,
        layers=tuple(layer.name for layer in made.layers),
        inputs=int(np.prod(network.input_shape)),
        outputs=int(np.prod(network.tensors[network.output].shape)),
        arena=made.arena.size,
    )


def to_channels_last(images: Int8) -> Int8:
    """(N, C, H, W) or (N, F) as the C network reads them: (N, elements), channels last."""
    last = images.transpose(0, 2, 3, 1) if images.ndim == 4 else images
    return np.ascontiguousarray(last).reshape(len(images), -1)


def from_channels_last(outputs: Int8, shape: tuple[int, ...]) -> Int8:
    """(N, elements) as the C network writes them, in the interpreter's order (N, *shape)."""
    if len(shape) != 3:
        return outputs.reshape(-1, *shape)
    channels, rows, columns = shape
    return np.ascontiguousarray(outputs.reshape(-1, rows, columns, channels).transpose(0, 3, 1, 2))
