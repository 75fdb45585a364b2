"""The report of an export: its files, and the differences of their results from the integer network. Imports no torch, no numpy.

It is stored beside the files as `verification.json`.
"""

from typing import Annotated, Any

from pydantic import Field

from sparsemod.records import Record

FormatName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,49}$", examples=["c"])]
VERIFICATION = "verification.json"


class ExportedFile(Record):
    """A file of an export: its path in the export's folder, its size in bytes and its digest ("sha256:<hex>")."""

    name: str
    size: Annotated[int, Field(ge=0)]
    digest: str


class Verification(Record):
    """Comparison of the exported file, run by `runtime` on `samples` of `data`, with the integer network on the same samples.

    Differences are in quanta: steps of the int8 output, or of a dynamically quantized network's float output units in the last place. `largest_difference` 0 means equal in every byte; `differing` is the share of
    output values that differ. `agreement` is the share of samples (of positions for a map) with the same class, None when the outputs
    are no classes: a network without class names, checked without labels, may be a regression. `error` is the file's share of wrong
    classes, `network_error` the integer network's, both None when the samples have no labels.
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
    """The report of an export. Without `failure`, the export has `files`, and `verifications` describe their results.

    `missing` lists the checks that could not run here, with the command that installs their tools. `memory` holds the memory in bytes
    that the format's runtime reports. `notes` are remarks for the user. `seconds` is the duration of the export; verification.json
    omits it, so that the same network gives the same files.
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

    def lines(self) -> list[str]:
        """Return a readable summary: one line for each check, each missing check and each note."""
        if self.failure is not None:
            return [f"{self.format}: failed: {self.failure}"]
        lines = []
        for check in self.verifications:
            far = "equal in every byte" if check.exact else f"{check.largest_difference} quanta off at most"
            share = (
                f"on {check.samples} samples"
                if check.agreement is None
                else f"same class for {100 * check.agreement:.2f} % of {check.samples} samples"
            )
            error = "" if check.error is None else f", error {100 * check.error:.2f} %"
            lines.append(f"{self.format}: {far}, {share}{error} ({check.runtime})")
        lines += [f"{self.format}: not checked: {words}" for words in self.missing]
        lines = lines or [f"{self.format}: written"]
        return lines + [f"{self.format}: {words}" for words in self.notes]
