"""What each ingredient of the training loop is worth on one core: images per CPU second, relative to the plain DataLoader loop.

    python benchmarks/train_variants.py [--rounds 7] [--compile]

Every variant has a one-thread process of its own (the allocator's setting cannot be taken back); they take turns, and CPU seconds are counted,
so that other programs disturb little. Random images of MNIST's shape; the network is that of benchmarks/train.py. The first ingredients add up, each line has those above it.
`--compile` adds torch.compile, which needs a C++ compiler and half a minute.
"""

import argparse
import contextlib
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection

import torch
from torch import Tensor, nn
from torch.nn import functional
from train import network

from sparsemod.training.fusion import fused
from sparsemod.training.process import tune_process
from sparsemod.training.resident import Samples

IMAGES = 5_120


@dataclass(frozen=True)
class Variant:
    """What is switched on. `networks`: how many are trained at once, as grouped convolutions."""

    name: str
    resident: bool = True
    channels_last: bool = True
    fused_adam: bool = True
    keep_memory: bool = True
    one_step: bool = True
    batch: int = 128
    networks: int = 1
    denormals: bool = True
    compile: bool = False


OURS = Variant("+ batch norm, relu, pooling as one step (ours)")
_NO_STEP = replace(OURS, name="+ freed memory kept by the allocator", one_step=False)
_NO_KEEP = replace(_NO_STEP, name="+ fused Adam", keep_memory=False)
_NO_ADAM = replace(_NO_KEEP, name="+ channels last", fused_adam=False)
_NO_LAST = replace(_NO_ADAM, name="resident tensors", channels_last=False)
PLAIN = replace(_NO_LAST, name="TensorDataset + DataLoader", resident=False)
VARIANTS = [
    PLAIN,
    _NO_LAST,
    _NO_ADAM,
    _NO_KEEP,
    _NO_STEP,
    OURS,
    *(replace(OURS, name=f"ours, batch {size}", batch=size) for size in (32, 64, 256, 512)),
    *(replace(OURS, name=f"ours, {n} networks as grouped convolutions", networks=n) for n in (2, 4)),
    replace(OURS, name="ours, 4 grouped networks, batch 32", networks=4, batch=32),
    replace(OURS, name="ours, denormals flushed to zero", denormals=False),
]


class Grouped(nn.Module):
    """`count` copies of the benchmark's network side by side: grouped convolutions, a batched product at the end."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count
        parts: list[nn.Module] = []
        for inputs, outputs in ((1, 16), (16, 32), (32, 32)):
            first = inputs == 1
            convolution = nn.Conv2d(
                inputs if first else inputs * count,
                outputs * count,
                3,
                padding=1,
                bias=False,
                groups=1 if first else count,
            )
            parts += [convolution, nn.BatchNorm2d(outputs * count), nn.ReLU(), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*parts)
        self.weight = nn.Parameter(torch.randn(count, 288, 10) * 0.05)
        self.bias = nn.Parameter(torch.zeros(count, 1, 10))

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, 28, 28) -> (count * N, 10)."""
        features = self.features(x).reshape(len(x), self.count, 288).transpose(0, 1)
        return torch.baddbmm(self.bias, features, self.weight).reshape(-1, 10)


def batches(variant: Variant) -> Callable[[], Iterator[tuple[Tensor, Tensor]]]:
    """An epoch of batches, each time it is called."""
    generator = torch.Generator().manual_seed(0)
    x, y = (
        torch.randn(IMAGES, 1, 28, 28, generator=generator),
        torch.randint(0, 10, (IMAGES,), generator=generator),
    )
    if not variant.resident:
        data = torch.utils.data.TensorDataset(x, y)
        return lambda: iter(torch.utils.data.DataLoader(data, variant.batch, shuffle=True))
    samples = Samples.of(x, y)

    def epoch() -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(IMAGES, generator=generator)
        for start in range(0, IMAGES, variant.batch):
            yield samples.batch(order[start : start + variant.batch])

    return epoch


def work(pipe: Connection, variant: Variant) -> None:
    """Train an epoch for every word received; answer with images x networks per CPU second."""
    torch.set_num_threads(1)
    if variant.keep_memory:
        tune_process(1)
    torch.set_flush_denormal(not variant.denormals)
    torch.manual_seed(0)
    module: nn.Module = network() if variant.networks == 1 else Grouped(variant.networks)
    if variant.channels_last:
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3, fused=variant.fused_adam)
    run = torch.compile(module) if variant.compile else module
    epoch = batches(variant)
    while pipe.recv() == "go":
        began = time.process_time()
        with fused(module) if variant.one_step else contextlib.nullcontext():
            for x, y in epoch():
                optimizer.zero_grad(set_to_none=True)
                functional.cross_entropy(run(x), y.repeat(variant.networks)).backward()
                optimizer.step()
        pipe.send(IMAGES * variant.networks / (time.process_time() - began))


def main() -> None:
    """All variants in turns; a table of medians and ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rounds", type=int, default=7, help="epochs of each variant that are measured (default 7)"
    )
    parser.add_argument("--compile", action="store_true", help="torch.compile as well")
    chosen = parser.parse_args()
    variants = [*VARIANTS]
    if chosen.compile:
        variants.append(replace(_NO_STEP, name="torch.compile, allocator keeping memory", compile=True))
    context = multiprocessing.get_context("spawn")
    pipes = []
    for variant in variants:
        here, there = context.Pipe()
        context.Process(target=work, args=(there, variant), daemon=True).start()
        here.send("go")
        here.recv()  # the first epoch warms up
        pipes.append(here)
    speeds: list[list[float]] = [[] for _ in variants]
    for _ in range(chosen.rounds):
        for pipe, seen in zip(pipes, speeds, strict=True):
            pipe.send("go")
            seen.append(pipe.recv())
    for pipe in pipes:
        pipe.send("end")
    base = statistics.median(speeds[0])
    print(f"{'one core, one thread':<52}{'images per CPU second':>22}{'ratio':>8}")
    for variant, seen in zip(variants, speeds, strict=True):
        print(f"{variant.name:<52}{statistics.median(seen):>22,.0f}{statistics.median(seen) / base:>8.2f}")


if __name__ == "__main__":
    main()
