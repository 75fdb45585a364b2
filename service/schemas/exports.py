"""Exports over HTTP: what is asked for and what is answered."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, field_validator

from service.schemas.trials import Request, StoredArtifact, View
from sparsemod.export import EXPORTERS
from sparsemod.export.names import LONGEST, PATTERN
from sparsemod.export.report import ExportReport, FormatName
from sparsemod.targets import DeviceFit


class ExportState(StrEnum):
    """The states of an export."""

    QUEUED = "queued"  # waits for those before it
    RUNNING = "running"  # its files are being made
    DONE = "done"  # the files are there, `report` says how they were checked
    FAILED = "failed"  # `report.failure` says why


class ExportRequest(Request):
    """The formats to write. `device`: check the fit there; default, the target of the experiment. `name`: what the model is called in files and
    C code; default, the experiment's name and the trial's number. Of several trials each number is added."""

    formats: Annotated[tuple[FormatName, ...], Field(min_length=1, max_length=20, examples=[["c", "onnx"]])]
    device: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[a-z0-9][a-z0-9._-]*$")] | None = (
        Field(None, examples=["stm32f446"])
    )
    name: Annotated[str, Field(min_length=1, max_length=LONGEST, pattern=PATTERN)] | None = Field(
        None, examples=["gestures"]
    )

    @field_validator("formats")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for place, name in enumerate(value):
            EXPORTERS.get(name, field=str(place))
        return value


class ExportView(View):
    """One format of one trial's network. `artifacts`: its files, and the report card of the trial's last export."""

    experiment: int
    trial: int
    format: FormatName
    state: ExportState
    report: ExportReport | None = None
    artifacts: tuple[StoredArtifact, ...] = ()


class PointDevices(View):
    """A Pareto point beside every device."""

    trial: int
    devices: tuple[DeviceFit, ...]
