"""Random networks and their measurements on the emulated core."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from sparsemod.calibration.networks import MACS, random_network
from sparsemod.emulator import Emulation, Emulator
from sparsemod.errors import BuildError, InvalidInput
from sparsemod.export.c import generate
from sparsemod.graph import Graph, capture, deployed
from sparsemod.graph.macs import macs
from sparsemod.measure.predicted import constants
from sparsemod.measure.work import Work, works
from sparsemod.quantization import IntegerNetwork
from sparsemod.quantization.static import quantize_static


@dataclass(frozen=True)
class Sample:
    """A network's graph, work of its layers, bytes of its constants, nonzeros per layer, and measurement."""

    graph: Graph
    works: tuple[Work, ...]
    constants: int
    nonzeros: Mapping[str, int]
    measured: Emulation


def samples(core: str, count: int, seed: int) -> Iterator[Sample]:
    """Yield `count` random networks with their measurements. Raises ToolsMissing, EmulationError."""
    emulator = Emulator(core)
    for graph, network, images in integer_networks(count, seed):
        nonzeros = dict(network.layer_nonzeros())
        # Use the smallest encodings, so that every weight reader occurs often enough.
        network = replace(
            network,
            encodings={
                work.layer: work.encoding for work in works(graph, nonzeros) if work.encoding != "none"
            },
        )
        own = {layer.name for layer in generate(network, core=emulator.machine.core).layers if layer.special}
        run = tuple(_run(work, own, core) for work in works(graph, nonzeros))
        yield Sample(
            graph,
            run,
            constants(graph, nonzeros) + sum(work.extra for work in run),
            nonzeros,
            emulator.measure(network, network.quantize_input(images[:1])),
        )


def _run(work: Work, own: Collection[str], core: str) -> Work:
    """Return the work of the kernel that ran a layer; the layers `own` have kernels of their own."""
    return work.special(core) if work.layer in own else replace(work, own={})


def integer_networks(
    count: int, seed: int, limits: tuple[int, int] = MACS
) -> Iterator[tuple[Graph, IntegerNetwork, "np.ndarray[tuple[int, ...], np.dtype[np.float32]]"]]:
    """Yield `count` random networks: graph, integer network, float images.

    `limits`: lowest and highest number of multiply-adds.
    """
    rng = np.random.default_rng(seed)
    accepted = 0
    while accepted < count:
        try:
            module, shape = random_network(rng)
            graph = deployed(capture(module, shape))
        except (BuildError, InvalidInput):
            continue
        if not limits[0] <= macs(graph) <= limits[1]:
            continue
        accepted += 1
        images = torch.from_numpy(rng.normal(size=(8, *shape)).astype(np.float32))
        yield graph, quantize_static(graph, images), images.numpy()
