"""The spec's `pipeline`: registered stages in their order."""

from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict

from sparsemod.errors import InvalidInput, UnknownName
from sparsemod.spec.translation import validated
from sparsemod.stages.base import DEFAULT, STAGES, Stage
from sparsemod.stages.composition import check_pipeline


class UnknownStage(Stage):
    """A stage that this process does not have, kept unchanged.

    A client may read and submit the spec of a server that has the stage.
    """

    model_config = ConfigDict(extra="allow")

    def run(self, work: Any) -> None:
        """Raise UnknownName."""
        raise UnknownName("pipeline", self.name, STAGES.names())


def stages_from(data: Any, field: str = "pipeline") -> tuple[Stage, ...]:
    """Return stages from plain data: a list of names, or mappings with `name` and settings.

    Their order is not checked. Raises InvalidInput.
    """
    if not isinstance(data, list | tuple):
        raise InvalidInput(field, data, "a list of stages")
    return tuple(_stage(entry, f"{field}.{place}") for place, entry in enumerate(data))


def _stage(entry: Any, field: str) -> Stage:
    if isinstance(entry, Stage):
        return entry
    if isinstance(entry, str):
        entry = {"name": entry}
    if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
        raise InvalidInput(
            field, entry, f"the name of a stage ({', '.join(STAGES.names())}), or a mapping with `name`"
        )
    name = entry["name"]
    return validated(STAGES.get(name) if name in STAGES.names() else UnknownStage, entry, field)


def pipeline_from(data: Any) -> tuple[Stage, ...]:
    """Return the stages of a pipeline; their order is checked if all are known here. Raises InvalidInput."""
    stages = stages_from(data)
    if not unknown(stages):
        check_pipeline(stages)
    return stages


def default_pipeline() -> tuple[Stage, ...]:
    """Return the pipeline of a spec without `pipeline`."""
    return pipeline_from(DEFAULT)


def unknown(stages: tuple[Stage, ...]) -> list[str]:
    """Return the names of the stages that are not registered here."""
    return [stage.name for stage in stages if isinstance(stage, UnknownStage)]


def check_known(stages: tuple[Stage, ...]) -> None:
    """Raise UnknownName for a stage that is not registered here."""
    for place, stage in enumerate(stages):
        if isinstance(stage, UnknownStage):
            raise UnknownName(f"pipeline.{place}", stage.name, STAGES.names())
