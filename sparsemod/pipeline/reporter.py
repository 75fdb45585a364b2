"""The reporter interface of a running trial, and the weights that a trial may inherit."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from sparsemod.records import CurvePoint, Value


class Reporter(Protocol):
    """Receives the progress of a running trial and can stop it."""

    def stage(self, name: str) -> None:
        """Report that the pipeline enters a stage."""

    def point(self, point: CurvePoint) -> None:
        """Report a finished epoch."""

    def log(self, message: str, level: str = "info") -> None:
        """Report a message."""

    def checkpoint(self, data: bytes) -> None:
        """Receive the state of training, from which `evaluate(..., resume=data)` continues."""

    def should_stop(self) -> bool:
        """Return whether to stop the trial; called between epochs."""
        ...


class Silent:
    """A reporter that ignores every event."""

    def stage(self, name: str) -> None:
        """See Reporter."""

    def point(self, point: CurvePoint) -> None:
        """See Reporter."""

    def log(self, message: str, level: str = "info") -> None:
        """See Reporter."""

    def checkpoint(self, data: bytes) -> None:
        """See Reporter."""

    def should_stop(self) -> bool:
        """Return False."""
        return False


class Forwarding:
    """A reporter that forwards every event to `reporter`: the base of those that do something beside it."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter

    def stage(self, name: str) -> None:
        """See Reporter."""
        self._reporter.stage(name)

    def point(self, point: CurvePoint) -> None:
        """See Reporter."""
        self._reporter.point(point)

    def log(self, message: str, level: str = "info") -> None:
        """See Reporter."""
        self._reporter.log(message, level)

    def checkpoint(self, data: bytes) -> None:
        """See Reporter."""
        self._reporter.checkpoint(data)

    def should_stop(self) -> bool:
        """See Reporter."""
        return self._reporter.should_stop()


@dataclass(frozen=True)
class ParentWeights:
    """The parent's parameters, its `weights` artifact (safetensors), the epochs of training in it, its artifact `rewind`."""

    parameters: Mapping[str, Value]
    state: bytes
    epochs: float
    rewind: bytes | None = None
