"""One trial of an experiment: its numbers, its network and its exports."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from sparsemod.errors import Conflict
from sparsemod.records import TrialRecord, TrialState, Value
from sparsemod.report.result_source import ResultSource
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.templates import render
from sparsemod.units import ANGLE, METRICS, show_value, title

if TYPE_CHECKING:
    from sparsemod.export import ExportReport
    from sparsemod.quantization import Quantized


@dataclass(frozen=True)
class Exported:
    """Exported files of a network: the `folder`, the report `card` in it, and `reports`, one for each format.

    `note` says why the files were not checked on validation data; it is "" if they were.
    """

    folder: Path
    card: Path
    reports: tuple["ExportReport", ...]
    note: str = ""

    def lines(self) -> list[str]:
        """Return the outcome of each format, and the note."""
        lines = [line for report in self.reports for line in report.lines()]
        return [*lines, self.note] if self.note else lines

    def __repr__(self) -> str:
        return "\n".join([f"exported to {self.folder}", *(f"  {line}" for line in self.lines())])

    def _repr_html_(self) -> str:
        return render("sparsemod.interactive", "exported.html", exported=self)


class Trial:
    """A trial of an experiment. `values`: metric -> value in the unit of `sparsemod.units.METRICS`, without test data."""

    def __init__(
        self, source: ResultSource, spec: ExperimentSpec, row: TrialRecord, objectives: Sequence[str]
    ) -> None:
        self._source, self._spec, self.row, self._objectives = source, spec, row, objectives

    @property
    def index(self) -> int:
        """The trial's index in the experiment."""
        return self.row.index

    @property
    def state(self) -> TrialState:
        """The trial's state."""
        return self.row.state

    @property
    def parameters(self) -> Mapping[str, Value]:
        """The candidate's parameters."""
        return dict(self.row.candidate.parameters)

    @property
    def values(self) -> dict[str, float]:
        """Metric -> value in the metric's unit; test data excluded."""
        return self.row.values()

    @property
    def measurements(self) -> pd.DataFrame:
        """All measurements with unit, method, target, split and standard error, one row each."""
        fields = ["metric", "value", "unit", "method", "target", "split", "standard_error"]
        return pd.DataFrame(
            [[getattr(m, field) for field in fields] for m in self.row.measurements], columns=fields
        )

    def network(self) -> "Quantized":
        """Return the measured network: an IntegerNetwork, or that of the spec's quantization scheme.

        Raises Conflict for a trial without one.
        """
        from sparsemod.quantization.base import SCHEMES

        return SCHEMES.create(self._spec.quantization).load(self._content())

    def export(
        self,
        folder: Path | str,
        formats: Sequence[str] | str,
        *,
        device: str | None = None,
        name: str | None = None,
    ) -> Exported:
        """Write the network to `folder` in formats such as `["c", "onnx"]`, with a report card.

        Each file is checked after it was written, on the validation data if these can be read here.
        `device`: check the fit on this device, default the experiment's target. `name`: name of files and C
        functions, default the experiment's name and the trial's index. Raises UnknownName for a format or
        device, InvalidInput for a name, Conflict for a trial without a network, and Conflict when a format
        could not be written: the message gives the reason, and the other formats were written.
        """
        from sparsemod.delivery.deliver import PAGE, Subject, deliver
        from sparsemod.export.names import model_name

        format_names = [formats] if isinstance(formats, str) else list(formats)
        heading = f"{self._spec.name}, trial {self.index}"
        subject = Subject.of(
            self._spec,
            self._content(),
            heading,
            parameters=self.parameters,
            measurements=self.row.measurements,
        )
        delivered = deliver(
            subject,
            folder,
            format_names,
            target=device or self._spec.target.device,
            name=name or model_name(self._spec.name, self.index),
        )
        if delivered.failed:
            words = "; ".join(f"{report.format}: {report.failure}" for report in delivered.failed)
            written = [report.format for report in delivered.reports if report.failure is None]
            rest = f"; {', '.join(written)} and the report card are in {folder}" if written else ""
            raise Conflict(f"trial {self.index} could not be exported as {words}{rest}")
        return Exported(Path(folder), Path(folder) / PAGE, delivered.reports, subject.note)

    def _content(self) -> bytes:
        network = self.row.artifact("network")
        if network is None:
            raise Conflict(f"trial {self.index} has no network: its state is {self.state}")
        with tempfile.TemporaryDirectory() as work:
            return self._source.copy(network, Path(work) / "network").read_bytes()

    def __repr__(self) -> str:
        measured = [name for name in self._objectives if name in self.values]
        objectives = ", ".join(f"{title(name)} {show_value(name, self.values[name])}" for name in measured)
        return f"Trial({self.index}, {self.state}{': ' if objectives else ''}{objectives})"

    def _repr_html_(self) -> str:
        return render(
            "sparsemod.interactive", "trial.html", trial=self, failure=self.row.failure_message or self.row.stop_reason,
            values=[(title(name), show_value(name, value)) for name, value in self.values.items() if name in (*METRICS, ANGLE)],
        )  # fmt: skip
