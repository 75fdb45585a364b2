"""Sources of results: a folder, or a server through a client. Readers need not distinguish the two."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from sparsemod.objectives import Objectives
from sparsemod.records import Artifact, TrialRecord
from sparsemod.registry import Registry
from sparsemod.spec.experiment import ExperimentSpec


@dataclass(frozen=True)
class StoredResults:
    """An experiment at one moment: its spec, the objectives and budgets in force, and its trials by index."""

    spec: ExperimentSpec
    objectives: Objectives
    rows: tuple[TrialRecord, ...]


class ResultSource(Protocol):
    """One stored experiment, independent of the kind of storage."""

    @property
    def place(self) -> str:
        """The folder, or the server's address and the experiment's number; for display."""
        ...

    def read(self) -> StoredResults:
        """Return the current state of the experiment."""
        ...

    def copy(self, artifact: Artifact, path: Path) -> Path:
        """Copy an artifact of a trial to `path`, atomically. Raises NotFound, DigestMismatch."""
        ...


@dataclass(frozen=True)
class ListedExperiment:
    """An experiment in a server's list. `trials`: number of trials by state."""

    id: int
    name: str
    state: str
    trials: Mapping[str, int]
    created: datetime


class Connection(Protocol):
    """A server with experiments. The methods raise ServerUnavailable when it does not answer."""

    @property
    def url(self) -> str:
        """The server's address."""
        ...

    def experiments(self) -> Sequence[ListedExperiment]:
        """Return all experiments, newest first."""
        ...

    def open(self, experiment: int | str) -> ResultSource:
        """Return an experiment by id or name; the newest for "". Raises UnknownName."""
        ...

    def submit(self, spec: ExperimentSpec | Mapping[str, Any]) -> ResultSource:
        """Create an experiment. Raises InvalidSpec."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


CLIENTS: Registry[Callable[[str, str | None], Connection]] = Registry("URL scheme", "sparsemod.clients")
"""Scheme of an address -> a function that takes the address and a token and returns a connection.

With token None it uses the token of the environment. This library has no client: packages with one declare
it as an entry point in the group `sparsemod.clients`.
"""
