"""What a fleet needs from a cluster: nodes, and workers placed on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from service.fleet.resources import Free, Node


class Phase(StrEnum):
    """State of a placed worker."""

    PENDING = "pending"  # waits for a place on a node
    RUNNING = "running"
    ENDED = "ended"  # its process, its actor or its node is gone


@dataclass(frozen=True)
class Report:
    """State of a placed worker; `text` names its node, or why it ended."""

    phase: Phase
    text: str = ""


class PlacedWorker(Protocol):
    """One worker on the cluster. No method blocks or raises."""

    def report(self) -> Report: ...

    def drain(self) -> None:
        """Let the worker finish its trial and end. A worker without a place ends at once."""

    def release(self) -> None:
        """Let the worker give its trial back with a checkpoint and end. Call `drain` before."""

    def kill(self) -> None:
        """End the worker at once, and free its place. Its lease expires."""


class Cluster(Protocol):
    """The machines that run workers."""

    def nodes(self) -> Sequence[Node]:
        """Return the nodes that are alive. Raises ServerUnavailable."""

    def free(self) -> Free:
        """Return what nothing reserves. Raises ServerUnavailable."""

    def other_machines(self) -> Sequence[str]:
        """Return the addresses of nodes that are not this machine. Raises ServerUnavailable."""

    def place(self, name: str) -> PlacedWorker:
        """Request a place for a worker with this name; return at once."""
