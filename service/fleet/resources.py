"""What a worker needs, what the nodes of a cluster have, and what can never fit."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sparsemod.errors import InvalidInput

_ROUNDING = 1e-9
"""Tolerance of a quotient, so that 1 / 0.1 counts as 10."""


@dataclass(frozen=True)
class Need:
    """CPUs and GPUs that the cluster reserves for one worker. Raises InvalidInput for values out of range."""

    cpus: float = 1.0
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.cpus < math.inf:
            raise InvalidInput("--cpus-per-worker", self.cpus, "a number of CPUs above 0")
        if not 0 <= self.gpus <= 1:
            allowed = "0, a part of a GPU such as 0.5, or 1: a worker uses one GPU"
            raise InvalidInput("--gpus-per-worker", self.gpus, allowed)

    def __str__(self) -> str:
        return f"{_cpus(self.cpus)} and {_gpus(self.gpus)}" if self.gpus else _cpus(self.cpus)


@dataclass(frozen=True)
class Node:
    """One machine of the cluster, with everything that it has, in use or not."""

    name: str
    address: str
    cpus: float
    gpus: float

    def places(self, need: Need) -> int:
        """Return how many workers fit on this node when nothing else runs there."""
        places = math.floor(self.cpus / need.cpus + _ROUNDING)
        if need.gpus:
            # A worker cannot use the rests of two GPUs.
            places = min(places, int(self.gpus) * math.floor(1 / need.gpus + _ROUNDING))
        return places


@dataclass(frozen=True)
class Free:
    """CPUs and GPUs of the whole cluster that nothing reserves."""

    cpus: float
    gpus: float


def places(need: Need, nodes: Sequence[Node]) -> int:
    """Return how many workers fit on the nodes when nothing else runs there."""
    return sum(node.places(need) for node in nodes)


def check_possible(need: Need, nodes: Sequence[Node]) -> None:
    """Raise InvalidInput when no node is large enough for one worker."""
    if any(node.places(need) for node in nodes):
        return
    hint = "; --autoscaler waits for nodes that the cluster may add"
    if not nodes:
        raise InvalidInput("--address", "", f"a cluster with at least one node{hint}")
    cpus, gpus = max(node.cpus for node in nodes), max(node.gpus for node in nodes)
    if need.cpus > cpus:
        allowed = f"at most {cpus:g}, the CPUs of the cluster's largest node{hint}"
        raise InvalidInput("--cpus-per-worker", need.cpus, allowed)
    if need.gpus > gpus:
        allowed = f"at most {gpus:g}: no node of the cluster has {'a whole' if gpus else 'a'} GPU{hint}"
        raise InvalidInput("--gpus-per-worker", need.gpus, allowed)
    allowed = f"together with {_cpus(need.cpus)}: a GPU on a node with as many CPUs; no node has both{hint}"
    raise InvalidInput("--gpus-per-worker", need.gpus, allowed)


def why_pending(need: Need, nodes: Sequence[Node], free: Free) -> str:
    """Return why a worker has no place yet."""
    if not any(node.places(need) for node in nodes):
        return f"no node has {need}"
    if free.cpus + _ROUNDING < need.cpus:
        return f"{free.cpus:g} of {_cpus(sum(node.cpus for node in nodes))} free"
    if free.gpus + _ROUNDING < need.gpus:
        return f"{free.gpus:g} of {_gpus(sum(node.gpus for node in nodes))} free"
    return "starting"


def _cpus(number: float) -> str:
    return f"{number:g} CPU{'' if number == 1 else 's'}"


def _gpus(number: float) -> str:
    return f"{number:g} GPU{'' if number <= 1 else 's'}"
