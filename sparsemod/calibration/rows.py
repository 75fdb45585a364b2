"""The cost of the code around the kernels of layers that run together, some rows at a time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from sparsemod.arena import Fused, Layout
from sparsemod.arena.chains import chain
from sparsemod.arena.fusing import ROWS as ROW_CHOICES
from sparsemod.arena.nodes import apart_from
from sparsemod.calibration.least_squares import nonnegative
from sparsemod.calibration.networks import Residual
from sparsemod.emulator import Emulation, Emulator
from sparsemod.graph import Graph, capture, deployed
from sparsemod.layouts import Tensors
from sparsemod.measure.nodes import graph_layout
from sparsemod.measure.predicted import predict
from sparsemod.measure.work import ROWS, layer_instructions, works
from sparsemod.quantization import IntegerNetwork
from sparsemod.quantization.static import quantize_static
from sparsemod.targets import OperatorModel

CHAINS = 40
SEED = 3


@dataclass(frozen=True)
class RowsSample:
    """A network with layers that run together, and its measurement."""

    graph: Graph
    network: IntegerNetwork
    measured: Emulation


def block_network(rng: np.random.Generator) -> tuple[nn.Module, tuple[int, ...]]:
    """Return (module with random weights, input shape): convolutions, inverted bottlenecks and pooling on an image of some rows."""
    size = [int(rng.choice([12, 16, 20, 24])), int(rng.integers(5, 20))]
    channels = int(rng.integers(1, 5))
    shape = (channels, *size)
    layers: list[nn.Module] = []
    for _ in range(int(rng.integers(2, 4))):
        kind = rng.choice(["conv", "bottleneck", "residual", "pool", "clamp"])
        stride = int(rng.choice([1, 1, 2])) if min(size) >= 6 else 1
        made = int(rng.integers(3, 13))
        if kind == "conv":
            kernel = int(rng.choice([1, 2, 3]))
            padding = int(rng.integers(0, kernel // 2 + 1))
            layers += [nn.Conv2d(channels, made, kernel, stride, padding), nn.ReLU()]
            size, channels = [(s + 2 * padding - kernel) // stride + 1 for s in size], made
        elif kind == "bottleneck":
            wide = int(rng.integers(4, 28))
            layers += [
                nn.Conv2d(channels, wide, 1), nn.ReLU6(), nn.Conv2d(wide, wide, 3, stride, 1, groups=wide), nn.ReLU6(),
                nn.Conv2d(wide, made, 1),
            ]  # fmt: skip
            size, channels = [(s - 1) // stride + 1 for s in size], made
        elif kind == "residual":
            wide = int(rng.integers(4, 28))
            inner = [
                nn.Conv2d(channels, wide, 1), nn.ReLU(), nn.Conv2d(wide, wide, 3, 1, 1, groups=wide), nn.ReLU(),
                nn.Conv2d(wide, channels, 1),
            ]  # fmt: skip
            layers.append(Residual(nn.Sequential(*inner)))
        elif kind == "pool":
            layers.append(nn.MaxPool2d(3, stride, 1) if rng.random() < 0.5 else nn.AvgPool2d(2, 1))
            padding = 1 if isinstance(layers[-1], nn.MaxPool2d) else 0
            size = [(s - 1) // stride + 1 if padding else s - 1 for s in size]
        else:
            layers += [nn.Conv2d(channels, made, 1), nn.Tanh()]
            channels = made
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 4)]
    return nn.Sequential(*layers).eval(), shape


def random_chains(layout: Layout, tensors: Tensors, rng: np.random.Generator) -> tuple[Fused, ...]:
    """Return random layers that can run together, () if there are none: several chains if they fit behind each other."""
    nodes, found, start = layout.nodes, list[Fused](), 0
    read_by = {name: [n.name for n in nodes if name in n.inputs] for n in nodes for name in n.inputs}
    while start < len(nodes):
        options = []
        for end in range(start + 2, min(len(nodes), start + 7) + 1):
            part = nodes[start:end]
            if apart_from(part, read_by, layout.outside.values()):
                chains = (chain(part, tensors, rows) for rows in ROW_CHOICES)
                options += [each.fused for each in chains if each is not None]
        if options and rng.random() < 0.8:
            found.append(options[rng.integers(len(options))])
            start += len(found[-1].layers)
        else:
            start += 1
    return tuple(found)


def fused_networks(
    count: int, seed: int
) -> Iterator[tuple[Graph, IntegerNetwork, "np.ndarray[tuple[int, ...], np.dtype[np.float32]]"]]:
    """Yield `count` random networks of which some layers run together: graph, integer network, float images."""
    rng = np.random.default_rng(seed)
    accepted = 0
    while accepted < count:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**31)))
            module, shape = block_network(rng)
        graph = deployed(capture(module, shape))
        fused = random_chains(graph_layout(graph), graph.tensors, rng)
        if not fused:
            continue
        accepted += 1
        images = torch.from_numpy(rng.normal(size=(8, *shape)).astype(np.float32))
        yield graph, replace(quantize_static(graph, images), fused=fused), images.numpy()


def rows_samples(
    core: str, count: int = CHAINS, seed: int = SEED, progress: Callable[[], None] = lambda: None
) -> list[RowsSample]:
    """Return random networks with layers that run together and their measurements. Raises ToolsMissing, EmulationError."""
    emulator, found = Emulator(core), []
    for graph, network, images in fused_networks(count, seed):
        measured = emulator.measure(network, network.quantize_input(images[:1]))
        found.append(RowsSample(graph, network, measured))
        progress()
    return found


def with_rows(model: OperatorModel, samples: list[RowsSample]) -> OperatorModel:
    """Return the model with the instructions, bytes of code and stack of the code around such layers, fitted to what these networks need
    beyond the prediction without it."""
    bare = model.model_copy(update={"instructions": {**model.instructions, ROWS: {}}})
    rows, flash, stack = [], [], []
    for sample in samples:
        fused, encodings = sample.network.fused, sample.network.encodings or None
        for each in fused:
            work = {w.layer: w for w in works(sample.graph, encodings=encodings, fused=fused)}
            around = work[" + ".join(each.layers)]
            parts = (work[name].on(bare) for name in each.layers)
            known = sum(layer_instructions(w.kernel, w.features, bare) for w in parts)
            total = sample.measured.per_layer[each.layers[-1]]
            rows.append((around.features, max(0.0, total - known), 0.02 * total + 100.0))
        predicted = predict(sample.graph, bare, encodings=encodings, fused=fused)
        flash.append(
            (
                {ROWS: 1.0, "layer": float(len(fused))},
                max(0.0, sample.measured.flash - predicted.flash),
                100.0,
            )
        )
        stack.append(sample.measured.stack - predicted.stack)
    code = nonnegative(flash)
    return model.model_copy(
        update={
            "instructions": dict(sorted({**model.instructions, ROWS: nonnegative(rows)}.items())),
            "code": {**model.code, ROWS: code.get(ROWS, 0.0)},
            "layer_code": {**model.layer_code, ROWS: code.get("layer", 0.0)},
            "stack": {**model.stack, ROWS: max(0.0, float(np.median(stack)))},
        }
    )
