"""What a running trial reports to, and the weights that it may inherit."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from sparsemod.records import CurvePoint, Value


class Reporter(Protocol):
    """Whom a running trial tells what it does, and whom it asks whether to go on."""

    def stage(self, name: str) -> None:
        """The pipeline enters a stage."""

    def point(self, point: CurvePoint) -> None:
        """An epoch is over."""

    def log(self, message: str, level: str = "info") -> None:
        """Something worth knowing."""

    def checkpoint(self, data: bytes) -> None:
        """The state of training, from which `evaluate(..., resume=data)` goes on."""

    def should_stop(self) -> bool:
        """Whether to end early; asked between epochs."""
        ...


class Silent:
    """A reporter that nobody listens to."""

    def stage(self, name: str) -> None:
        """See Reporter."""

    def point(self, point: CurvePoint) -> None:
        """See Reporter."""

    def log(self, message: str, level: str = "info") -> None:
        """See Reporter."""

    def checkpoint(self, data: bytes) -> None:
        """See Reporter."""

    def should_stop(self) -> bool:
        """Never."""
        return False


@dataclass(frozen=True)
class ParentWeights:
    """A finished trial to inherit from: its parameters, its `weights` artifact (safetensors), the epochs of training in it."""

    parameters: Mapping[str, Value]
    state: bytes
    epochs: float
