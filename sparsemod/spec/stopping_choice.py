"""Checks of the spec's `stopping` against the rest of the spec."""

from collections.abc import Collection

from sparsemod.errors import InvalidInput
from sparsemod.sources.base import SourceConfig
from sparsemod.spec.methods import StoppingConfig


def check_stopping(
    stopping: StoppingConfig | None, source: SourceConfig, quality: str, limited: Collection[str]
) -> None:
    """Raise InvalidInput for a stopping rule that cannot decide anything.

    `quality`: the task's metric; `limited`: objectives and metrics with a budget.
    """
    if stopping is None:
        return
    if not source.stoppable:
        allowed = f"left out with the source {source.name}, which needs every training to its end"
        raise InvalidInput("stopping", stopping.name, allowed)
    if quality not in limited:
        allowed = f"left out: nothing depends on a training, because {quality} is neither an objective nor limited by a budget"
        raise InvalidInput("stopping", stopping.name, allowed)
