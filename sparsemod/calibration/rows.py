"""The cost of the code around the kernels of layers that run together, some rows at a time."""

import re
from collections.abc import Iterator, Mapping
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
from sparsemod.emulator.program import program
from sparsemod.graph import Graph, capture, deployed
from sparsemod.layouts import Tensors
from sparsemod.measure.nodes import graph_layout
from sparsemod.measure.work import ROWS, works
from sparsemod.quantization import IntegerNetwork
from sparsemod.quantization.static import quantize_static
from sparsemod.targets import OperatorModel

NETWORKS, SEED = 10, 3

_KERNEL = re.compile(r"^NN_KERNEL void (\w+\([^)]*\))\s*\{", re.MULTILINE)


@dataclass(frozen=True)
class RowsSample:
    """A network's `chains`: of each the features of the code around its kernels, and the instructions of this code and of the calls.
    `flash` and `stack`: the bytes that they add."""

    chains: tuple[tuple[Mapping[str, float], float], ...]
    flash: float
    stack: float


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


def fused_networks(count: int, seed: int) -> Iterator[tuple[Graph, IntegerNetwork]]:
    """Yield `count` random networks of which some layers run together."""
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
        yield graph, replace(quantize_static(graph, images), fused=fused)


def rows_samples(core: str, count: int = NETWORKS, seed: int = SEED) -> list[RowsSample]:
    """Return random networks with layers that run together, measured with kernels that return at once, so that the code around them is
    all that runs. Raises ToolsMissing, EmulationError."""
    emulator = Emulator(core)
    return [_sample(emulator, graph, network) for graph, network in fused_networks(count, seed)]


def _sample(emulator: Emulator, graph: Graph, network: IntegerNetwork) -> RowsSample:
    together, apart = (_measured(emulator, replace(network, fused=fused)) for fused in (network.fused, ()))
    work = {each.layer: each.features for each in works(graph, fused=network.fused)}
    names = [name for fused in network.fused for name in fused.layers]
    call = sum(apart.per_layer[name] for name in names) / len(names)
    chains = []
    for fused in network.fused:
        features = work[" + ".join(fused.layers)]
        chains.append((features, max(0.0, together.per_layer[fused.layers[-1]] - call * features["calls"])))
    return RowsSample(tuple(chains), float(together.flash - apart.flash), float(together.stack - apart.stack))


def _measured(emulator: Emulator, network: IntegerNetwork) -> Emulation:
    source = program(network, "")
    kernels = {file: _empty(text) if file.endswith(".c") else text for file, text in source.kernels.items()}
    return emulator.run(replace(source, kernels=kernels), np.zeros((1, source.inputs), np.int8))


def _empty(text: str) -> str:
    """Return a kernel's file with a kernel that returns at once."""
    found = _KERNEL.search(text)
    if found is None:
        return text
    names = (each.split()[-1].lstrip("*") for each in found[1].split("(", 1)[1].rstrip(")").split(","))
    used = "".join(f"    (void){name};\n" for name in names)
    return f'#include "nn.h"\n\nNN_KERNEL void {found[1]}\n{{\n{used}}}\n'


def with_rows(model: OperatorModel, samples: list[RowsSample]) -> OperatorModel:
    """Return the model with the instructions, bytes of code and stack of the code around layers that run together."""
    rows = [(features, count, count + 100.0) for sample in samples for features, count in sample.chains]
    flash = [
        ({ROWS: 1.0, "layer": float(len(sample.chains))}, max(0.0, sample.flash), max(1.0, sample.flash))
        for sample in samples
    ]
    code = nonnegative(flash)
    stack = max(0.0, float(np.median([sample.stack for sample in samples])))
    return model.model_copy(
        update={
            "instructions": dict(sorted({**model.instructions, ROWS: nonnegative(rows)}.items())),
            "code": {**model.code, ROWS: code.get(ROWS, 0.0)},
            "layer_code": {**model.layer_code, ROWS: code.get("layer", 0.0)},
            "stack": {**model.stack, ROWS: stack},
        }
    )
