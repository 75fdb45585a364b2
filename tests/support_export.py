"""Shared by the tests of exports: networks with every kind of layer, and a finished trial that has one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from support_store import SPEC, completed, fill
from torch import nn
from torch.nn import functional

from service.files.artifacts import ArtifactFiles
from service.store import Store
from sparsemod.quantization import IntegerNetwork, quantize
from sparsemod.records import Artifact, Measurement

DIGITS = (1, 8, 8)


class Every(nn.Module):
    """Every kind of layer: conv, depthwise, grouped, linear, pools, add, concat, a separate relu, flatten."""

    def __init__(self, channels: int = 1, size: int = 8) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, 8, 3, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.point = nn.Conv2d(8, 8, 1)
        self.grouped = nn.Conv2d(8, 12, 3, stride=2, padding=1, groups=4)
        self.hidden = nn.Linear(12 * ((size + 1) // 2) ** 2 + 8, 16)
        self.last = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.first(x).relu()
        added = functional.relu6(self.point(self.depthwise(first)) + first)
        gate = added + torch.relu(self.depthwise(first))
        pooled = functional.max_pool2d(gate, 3, 1, 1)
        mean = functional.avg_pool2d(pooled, 3, 1, 1)
        grouped = self.grouped(mean).relu()
        joined = torch.cat([grouped.flatten(1), gate.mean((2, 3))], 1)
        return self.last(self.hidden(joined).relu())


class Wide(nn.Module):
    """One hidden layer of many weights: too large for small devices."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden, self.last = nn.Linear(64, width), nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.hidden(x.flatten(1)).relu())


def quantized(
    module: nn.Module | Callable[[], nn.Module], shape: tuple[int, ...] = DIGITS, seed: int = 0
) -> IntegerNetwork:
    """An integer network; a callable is called with torch seeded."""
    torch.manual_seed(seed)
    made = module if isinstance(module, nn.Module) else module()
    found = quantize(made.eval(), torch.randn(32, *shape), "static")
    assert isinstance(found, IntegerNetwork)
    return found


def finished(
    store: Store, files: ArtifactFiles, network: IntegerNetwork | None, experiment: int = 0
) -> tuple[int, int]:
    """Return (experiment, trial): a completed trial with its network as artifact, by default in a new
    experiment on digits."""
    from sparsemod.spec.experiment import ExperimentSpec

    identity = experiment or store.create_experiment(ExperimentSpec.parse({**SPEC, "budgets": {}})).id
    fill(store, identity, 1)
    claim = store.claim("w")
    assert claim is not None
    artifacts: tuple[Any, ...] = ()
    if network is not None:
        content = network.to_bytes()
        info = files.add(content, store)
        artifacts = (Artifact(kind="network", digest=info.digest, size=info.size, name="network.npz"),)
    store.finish(claim.attempt, claim.token, completed(artifacts=artifacts))
    return identity, claim.trial


def measurement(error: float = 0.05) -> Measurement:
    return Measurement(
        metric="error", value=error, unit="fraction", method="integer network on 270 samples", target="host", split="validation",
        standard_error=0.01,
    )  # fmt: skip


def contents(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }
