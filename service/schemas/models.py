"""Uploaded models: views and requests."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from sparsemod.export.model_report import ModelReport
from sparsemod.records import Record


class ModelState(StrEnum):
    """What has happened to an uploaded model."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class ModelView(Record):
    """An uploaded model. `report` holds its costs when it is `done`, `failure` the reason when it `failed`."""

    id: int
    name: str
    digest: str
    size: Annotated[int, Field(ge=0)]
    owner: str | None = None
    device: str
    state: ModelState
    created_at: datetime
    report: ModelReport | None = None
    failure: str | None = None


class StartFromModel(BaseModel):
    """The search that starts from a model: the data, the budgets, and how much to try."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    dataset: dict[str, Any] = Field(
        description="The spec's `dataset`; for samples as the model reads them with the option `normalization: none`.",
        examples=[{"name": "digits"}],
    )
    budgets: list[str] = Field(
        default=[],
        max_length=20,
        description="Limits, such as `flash <= 64 KB`.",
        examples=[["flash <= 64 KB"]],
    )
    methods: list[str] = Field(
        default=["magnitude", "filters", "alds"], min_length=1, max_length=50, description="Pruning methods."
    )
    trials: int = Field(default=20, ge=2, le=10_000, description="Networks to train.")
    epochs: int = Field(default=5, ge=1, le=100_000, description="Epochs after each pruning.")
    name: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="Name of the experiment. Default: the model's.",
    )
