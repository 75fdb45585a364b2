"""A cluster in memory for tests of the fleet's decisions, and a network whose trials wait for a file."""

from collections.abc import Collection
from pathlib import Path

from service.fleet.placement import Phase, Report
from service.fleet.resources import Free, Need, Node
from service.fleet.scaling import Demand

GATED = '''"""A family whose networks are built only when the file GATE exists; without GATE in the environment, at once."""

import math
import os
import time
from pathlib import Path

from torch import nn

from sparsemod.networks.family import family
from sparsemod.space.parameters import Integer


@family("gated", space=[Integer("width", 2, 40)])
def gated(parameters, data):
    gate = os.environ.get("GATE")
    while gate and not Path(gate).exists():
        time.sleep(0.05)
    width = int(parameters["width"])
    return nn.Sequential(
        nn.Flatten(), nn.Linear(math.prod(data.shape), width), nn.ReLU(), nn.Linear(width, data.classes)
    )
'''


def write_gated(folder: Path) -> Path:
    """Write the module `gated_network` and return its folder."""
    folder.mkdir()
    (folder / "gated_network.py").write_text(GATED)
    return folder


class MemoryWorker:
    """A placed worker. A test sets its state; `calls` are the requests of the fleet."""

    def __init__(self, name: str, *, runs: bool) -> None:
        self.name = name
        self.state = Report(Phase.RUNNING, "node 1") if runs else Report(Phase.PENDING)
        self.calls: list[str] = []

    def report(self) -> Report:
        return self.state

    def drain(self) -> None:
        self.calls.append("drain")
        if self.state.phase is Phase.PENDING:
            self.state = Report(Phase.ENDED, "cancelled")

    def release(self) -> None:
        self.calls.append("release")

    def kill(self) -> None:
        self.calls.append("kill")
        self.state = Report(Phase.ENDED, "killed")

    def end(self, why: str = "ended with status 0") -> None:
        self.state = Report(Phase.ENDED, why)


class MemoryCluster:
    """Nodes of which each has room for some workers that need one CPU; a worker without room stays pending."""

    def __init__(self, *cpus: float) -> None:
        self.machines = [Node(str(number), "10.0.0.1", count, 0.0) for number, count in enumerate(cpus, 1)]
        self.placed: list[MemoryWorker] = []

    def nodes(self) -> list[Node]:
        return self.machines

    def free(self) -> Free:
        used = sum(worker.state.phase is Phase.RUNNING for worker in self.placed)
        return Free(sum(node.cpus for node in self.machines) - used, 0.0)

    def other_machines(self) -> list[str]:
        return []

    def place(self, name: str) -> MemoryWorker:
        worker = MemoryWorker(name, runs=self.free().cpus >= Need().cpus)
        self.placed.append(worker)
        return worker

    def alive(self) -> list[MemoryWorker]:
        return [worker for worker in self.placed if worker.state.phase is not Phase.ENDED]


class MemoryQueue:
    """The demand that a test sets, or an error."""

    def __init__(self, queued: int = 0, busy: Collection[str] = ()) -> None:
        self.queued, self.busy = queued, frozenset(busy)
        self.error: Exception | None = None

    def __call__(self, names: Collection[str]) -> Demand:
        if self.error is not None:
            raise self.error
        return Demand(self.queued, self.busy & frozenset(names))
