"""The parts of an experiment's specification that describe data, networks and limits."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from sparsemod.records import Value
from sparsemod.spec.methods import FrontEnd
from sparsemod.units import parse_bytes


class Part(BaseModel):
    """Base of the spec's parts: frozen, unknown keys rejected, text is not converted to numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


Fraction = Annotated[float, Field(gt=0, lt=1)]
Name = Annotated[str, Field(min_length=1, max_length=200)]


class SplitsSpec(Part):
    """How the data are divided: disjoint, stratified by class, with a separate seed. Groups of a dataset stay whole."""

    validation: Fraction = Field(
        0.15,
        description="Share of the training data that steers the search; never trained on. Ignored when the dataset brings its own validation set.",
    )
    test: Fraction = Field(
        0.15,
        description="Share held back for test mode; ignored when the dataset brings an official test set.",
    )
    seed: int = Field(
        0, ge=0, description="Seed of the splits. Another seed gives every trial different data."
    )

    @model_validator(mode="after")
    def _leave_training_data(self) -> "SplitsSpec":
        if self.validation + self.test >= 0.9:
            raise ValueError("validation + test must be below 0.9, to leave data for training")
        return self


class SplitterSpec(Part):
    """Sequences are cut into windows of equal length. The windows of a sequence vote: its class has the largest mean probability."""

    max_len: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="Steps of a window. Shorter sequences are padded with zeros. Without it, the space has the parameter `max_len`.",
    )
    stride: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="Steps from one window to the next; default: max_len, windows without overlap.",
    )
    remainder: Literal["pad", "overlap", "drop"] = Field(
        "pad",
        description="The steps behind the last whole window of a long sequence: a padded window, a window that ends with the sequence, or left out.",
    )


class DatasetSpec(Part):
    """The dataset, its source and its splits."""

    name: Name = Field(
        description="A registered dataset (`sparsemod datasets` lists them) or, in local commands, `module:attribute`."
    )
    root: str | None = Field(
        None,
        description="Folder of the files; default: the environment variable SPARSEMOD_DATA, then the user's cache folder.",
    )
    options: dict[str, Value] = Field(
        {}, description="Options of the dataset itself, for example `path` of an .npz file."
    )
    limit: int | None = Field(
        None, ge=20, description="Use only this many samples, a stratified draw; for quick trials."
    )
    splits: SplitsSpec = Field(SplitsSpec(), description="How the data are divided.")
    splitter: SplitterSpec | None = Field(
        None, description="For sequences: windows of a fixed or a searched length. Default: whole sequences."
    )


class NetworkSpec(Part):
    """The network family and its options."""

    family: Name = Field(
        description="A registered family (`sparsemod families` lists them) or, in local commands, `module:attribute`."
    )
    options: dict[str, Value] = Field(
        {}, description="Options of the family, for example `max_blocks` of cnn."
    )
    front_end: FrontEnd | None = Field(
        None,
        description="Signal processing between the samples and the networks. Its lists are parameters of the search, `front_window` and others.",
    )
    substitutes: tuple[Name, ...] = Field(
        (),
        description="Substitutes for the networks' convolutions, such as `SepHashed_0.2`; `none` keeps them. Several add the parameter `substitute`, which chooses one, to the space.",
    )
    substitutes_skip: tuple[str, ...] | None = Field(
        None,
        description="Layers that keep their convolutions: names or patterns, such as `*.shortcut`. Default: those that the family names, else the first convolution.",
    )


class LimitsSpec(Part):
    """Limits of an attempt, and the number of attempts of a trial."""

    attempts: int = Field(
        3, ge=1, le=20, description="Attempts of a trial before it counts as failed, when workers are lost."
    )
    trial_seconds: float = Field(3600, gt=0, description="Wall seconds of one attempt.")
    memory: int | None = Field(None, description='Bytes of memory of one attempt, for example "4 GB".')

    @field_validator("memory", mode="before")
    @classmethod
    def _bytes(cls, value: Any) -> Any:
        return None if value is None else parse_bytes(value, "limits.memory")
