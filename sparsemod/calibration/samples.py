"""Random networks and their measurements on the emulated core."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from sparsemod.calibration.networks import MACS, random_network
from sparsemod.emulator import Emulation, Emulator
from sparsemod.errors import BuildError, InvalidInput
from sparsemod.export.c import CProject, generate
from sparsemod.graph import Graph, capture, deployed
from sparsemod.graph.macs import macs
from sparsemod.measure.predicted import constants
from sparsemod.measure.work import Work, works
from sparsemod.quantization import IntegerNetwork
from sparsemod.quantization.static import quantize_static


@dataclass(frozen=True)
class Sample:
    """A network's graph, work of its layers, bytes of its constants, nonzeros per layer, and measurement.

    `own`: layer -> bytes of the code that was generated for its shape; 0 where an earlier layer has the same."""

    graph: Graph
    works: tuple[Work, ...]
    constants: int
    nonzeros: Mapping[str, int]
    measured: Emulation
    own: Mapping[str, int] = field(default_factory=dict)


def samples(core: str, count: int, seed: int, *, shared: bool = False) -> Iterator[Sample]:
    """Yield `count` random networks with their measurements, with the kernels for `core` or with the `shared` ones.

    Raises ToolsMissing, EmulationError."""
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
        project = generate(network, core="" if shared else emulator.machine.core)
        measured = emulator.measure(network, network.quantize_input(images[:1]), shared=shared)
        yield sample(core, graph, nonzeros, project, measured)


def sample(
    core: str, graph: Graph, nonzeros: Mapping[str, int], project: CProject, measured: Emulation
) -> Sample:
    """Return the sample of a network with its project and measurement."""
    sizes, own = dict(measured.functions), {}
    for layer, emitted in zip(project.layers, project.parts.emitted, strict=True):
        if emitted.special is not None:
            files = [file.removesuffix(".c") for file in emitted.special.kernels]
            functions = [name for name in sizes if name.startswith(tuple(files))]
            own[layer.name] = sum(sizes.pop(name) for name in functions)
    run = tuple(_run(work, own, core) for work in works(graph, nonzeros))
    known = constants(graph, nonzeros) + sum(work.extra for work in run)
    return Sample(graph, run, known, nonzeros, measured, own)


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
