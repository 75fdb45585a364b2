"""What an export says of itself: its files, and how far what it computes is from the integer network. Cold: no torch, no numpy.

It lies beside the files as `verification.json`.
"""

from typing import Annotated, Any

from pydantic import Field

from sparsemod.records import Record

FormatName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,49}$", examples=["c"])]
VERIFICATION = "verification.json"


class ExportedFile(Record):
    """A file of an export: its path in the export's folder, its bytes and their digest ("sha256:<hex>")."""

    name: str
    size: Annotated[int, Field(ge=0)]
    digest: str


class Verification(Record):
    """The exported file, run on `samples` of `data` by `runtime`, against the integer network on the same samples.

    Differences are in quanta: steps of the int8 output. `largest_difference` 0 means equal in every byte; `differing` is the share of
    output values that differ, `agreement` the share of samples (of a map: of positions) that get the same class, None where the outputs are no classes: a network
    without names of classes, checked without labels, may be a regression. `error` is the file's share of wrong classes, `network_error`
    the integer network's, both None where the samples have no labels.
    """

    runtime: str
    data: str
    samples: Annotated[int, Field(ge=1)]
    largest_difference: Annotated[int, Field(ge=0)]
    differing: Annotated[float, Field(ge=0, le=1)]
    agreement: Annotated[float, Field(ge=0, le=1)] | None
    error: float | None = None
    network_error: float | None = None

    @property
    def exact(self) -> bool:
        """Whether every output byte was equal."""
        return self.largest_difference == 0


class ExportReport(Record):
    """An export. Without `failure`, `files` are there and `verifications` say what they compute.

    `missing` names what could not be checked here, with the command that installs it; `memory` holds what the format's own runtime says
    of its memory in bytes; `notes` are sentences worth reading. `seconds` is how long this export took; verification.json leaves it out, so
    that the same network gives the same files.
    """

    format: FormatName
    name: str
    files: tuple[ExportedFile, ...] = ()
    verifications: tuple[Verification, ...] = ()
    memory: dict[str, int] = Field(default_factory=dict)
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    failure: str | None = None
    seconds: float = 0.0
    detail: dict[str, Any] = Field(default_factory=dict)
