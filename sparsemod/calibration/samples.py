"""Random networks with what the emulated core measured of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from sparsemod.calibration.networks import MACS, random_network
from sparsemod.emulator import Emulation, Emulator
from sparsemod.errors import BuildError, InvalidInput
from sparsemod.graph import Graph, capture, deployed
from sparsemod.graph.macs import macs
from sparsemod.measure.predicted import constants
from sparsemod.measure.work import Work, works
from sparsemod.quantization import IntegerNetwork
from sparsemod.quantization.static import quantize_static


@dataclass(frozen=True)
class Sample:
    """A network's graph, the work of its layers, the bytes of its constants, and the measurement."""

    graph: Graph
    works: tuple[Work, ...]
    constants: int
    nonzeros: Mapping[str, int]
    measured: Emulation


def samples(core: str, count: int, seed: int) -> Iterator[Sample]:
    """`count` random networks, measured. Raises ToolsMissing, EmulationError."""
    emulator = Emulator(core)
    for graph, network, images in integer_networks(count, seed):
        left = dict(network.layer_nonzeros())
        # The smallest forms, so that all readers of weights are met often enough.
        network = replace(
            network,
            encodings={work.layer: work.encoding for work in works(graph, left) if work.encoding != "none"},
        )
        yield Sample(
            graph,
            works(graph, left),
            constants(graph, left),
            left,
            emulator.measure(network, network.quantize_input(images[:1])),
        )


def integer_networks(
    count: int, seed: int, limits: tuple[int, int] = MACS
) -> Iterator[tuple[Graph, IntegerNetwork, "np.ndarray[tuple[int, ...], np.dtype[np.float32]]"]]:
    """`count` random networks of so many multiply-adds: graph, integer network, float images."""
    rng = np.random.default_rng(seed)
    found = 0
    while found < count:
        try:
            module, shape = random_network(rng)
            graph = deployed(capture(module, shape))
        except (BuildError, InvalidInput):
            continue
        if not limits[0] <= macs(graph) <= limits[1]:
            continue
        found += 1
        images = torch.from_numpy(rng.normal(size=(8, *shape)).astype(np.float32))
        yield graph, quantize_static(graph, images), images.numpy()
