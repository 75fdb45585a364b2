"""Where results are read from: a folder, or a server behind a client. What reads them does not know which of the two."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from sparsemod.objectives import Objectives
from sparsemod.records import Artifact
from sparsemod.registry import Registry
from sparsemod.report.rows import Row
from sparsemod.spec.experiment import ExperimentSpec


@dataclass(frozen=True)
class StoredResults:
    """An experiment at one moment: its spec, the objectives and budgets in force, and its trials by index."""

    spec: ExperimentSpec
    objectives: Objectives
    rows: tuple[Row, ...]


class ResultSource(Protocol):
    """One experiment, wherever it is stored."""

    @property
    def place(self) -> str:
        """The folder, or the address of the server and the number of the experiment; for people."""
        ...

    def read(self) -> StoredResults:
        """The experiment as it is now."""
        ...

    def copy(self, artifact: Artifact, path: Path) -> Path:
        """Copy an artifact of a trial to `path`, which appears whole or not at all. Raises NotFound, DigestMismatch."""
        ...


@dataclass(frozen=True)
class ListedExperiment:
    """An experiment in a server's list. `trials`: how many trials are in which state."""

    id: int
    name: str
    state: str
    trials: Mapping[str, int]
    created: datetime


class Connection(Protocol):
    """A server with experiments. The methods raise ServerUnavailable when it does not answer."""

    @property
    def url(self) -> str:
        """Its address."""
        ...

    def experiments(self) -> Sequence[ListedExperiment]:
        """All experiments, newest first."""
        ...

    def open(self, experiment: int | str) -> ResultSource:
        """An experiment by id or name; the newest for "". Raises UnknownName."""
        ...

    def submit(self, spec: ExperimentSpec | Mapping[str, Any]) -> ResultSource:
        """A new experiment. Raises InvalidSpec."""
        ...

    def close(self) -> None:
        """End the connection."""
        ...


CLIENTS: Registry[Callable[[str, str | None], Connection]] = Registry("URL scheme", "sparsemod.clients")
"""Scheme of an address -> a function that takes the address and a token (None: that of the environment) and returns a connection.

The library has none itself: packages that bring one declare it as an entry point in the group `sparsemod.clients`.
"""
