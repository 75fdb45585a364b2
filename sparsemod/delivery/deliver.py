"""Delivery of a network: its files in the requested formats, each verified, and one report card."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsemod.delivery.card import PLOT, html, markdown
from sparsemod.delivery.card_content import compose
from sparsemod.delivery.card_plot import memory_plot
from sparsemod.delivery.needs import Fit, check_fit, fits
from sparsemod.errors import DataMissing, DoesNotFit, SparsemodError, ToolsMissing, UnknownName, Unsupported
from sparsemod.export import EXPORTERS, ExportReport, export
from sparsemod.export.names import DEFAULT, checked_name
from sparsemod.export.report import VERIFICATION
from sparsemod.quantization.base import SCHEMES
from sparsemod.quantization.dynamic_network import DynamicNetwork
from sparsemod.quantization.integer_network import IntegerNetwork
from sparsemod.records import Measurement, Record, Value
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.targets import Device, device, device_names

if TYPE_CHECKING:
    from sparsemod.export.c.networks import CNetwork

CARD, PAGE, REPORTS = "card.md", "card.html", "export.json"


class Delivered(Record):
    """A delivered network: `reports` of its formats, in the requested order; `fit`: device -> region -> bytes over."""

    title: str
    reports: tuple[ExportReport, ...]
    fit: dict[str, dict[str, int]]

    @property
    def failed(self) -> tuple[ExportReport, ...]:
        """The formats that could not be written."""
        return tuple(report for report in self.reports if report.failure is not None)


@dataclass(frozen=True)
class Subject:
    """The network to deliver, with its metadata. `samples`, `labels` and `lengths`: validation data to verify the files, described by `data`."""

    network: "CNetwork"
    title: str
    subtitle: str = ""
    parameters: Mapping[str, Value] | None = None
    measurements: Sequence[Measurement] = ()
    samples: Any = None
    labels: Any = None
    lengths: Any = None
    data: str = "validation samples"
    note: str = ""

    @classmethod
    def of(cls, spec: ExperimentSpec, network: bytes, title: str, **facts: Any) -> "Subject":
        """Create the subject with the validation data of `spec`. When the data are unavailable, `note` gives the reason.

        Raises Unsupported for a scheme whose networks no format can write.
        """
        from sparsemod.data import load
        from sparsemod.delivery.described import described

        scheme = spec.quantization
        loaded = SCHEMES.create(scheme).load(network) if scheme.exported else None
        if not isinstance(loaded, IntegerNetwork | DynamicNetwork):
            hint = "networks with int8 weights are written; quantization.scheme static makes one"
            raise Unsupported(f"quantization scheme {scheme.scheme}", "all", "the export", hint=hint)
        try:
            data = load(spec.dataset, targets=spec.task.targets)
            split = data.validation
        except (DataMissing, UnknownName) as error:
            note = f"The files were checked on random inputs only: {error}"
            return cls(loaded, title, note=note, **facts)
        if loaded.normalization is None:
            # Networks of earlier releases lack it; recomputing it from their data gives the same constants.
            loaded = described(loaded, data)
        words = f"the {len(split)} validation samples of {spec.dataset.name}"
        return cls(
            loaded,
            title,
            samples=split.x,
            labels=split.y,
            lengths=split.lengths,
            data=words,
            **facts,
        )


def deliver(
    subject: Subject,
    folder: Path | str,
    formats: Sequence[str],
    *,
    target: str | Device,
    name: str = DEFAULT,
) -> Delivered:
    """Write `folder`/FORMAT/... for each format, with its verification.json, and the report card into `folder`.

    When a format cannot express a layer, lacks a package, or its network exceeds the target's flash or RAM, its report has a
    `failure`, and the other formats are still written. `name`: the model's name in files and C code.
    Raises UnknownName for a format or a device, InvalidInput for a name.
    """
    checked_name(name)
    for format_name in formats:
        EXPORTERS.get(format_name, field="formats")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    target_device = target if isinstance(target, Device) else device(target)
    other_devices = [
        device(device_name) for device_name in device_names() if device_name != target_device.name
    ]
    device_fits = fits(subject.network, [target_device, *other_devices])
    reports = tuple(
        _one(subject, folder / format_name, format_name, device_fits[0], name)
        for format_name in dict.fromkeys(formats)
    )
    _write_card(subject, folder, reports, device_fits, name)
    delivered = Delivered(
        title=subject.title, reports=reports, fit={f.device.name: f.over for f in device_fits}
    )
    (folder / REPORTS).write_text(delivered.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return delivered


def _one(subject: Subject, folder: Path, format_name: str, fit: Fit, name: str) -> ExportReport:
    options: dict[str, Any] = {"samples": subject.samples, "labels": subject.labels, "data": subject.data}
    if subject.network.uses_lengths:
        options["lengths"] = subject.lengths
    try:
        if EXPORTERS.get(format_name).checks_fit:
            check_fit(fit)
        report = export(format_name, subject.network, folder, name=name, **options)
        if EXPORTERS.get(format_name).checks_files:
            _check_files(report, fit.device, folder)
    except Exception as error:  # noqa: BLE001
        # Includes errors of the formats' libraries: the report contains the error, and the other formats continue.
        with contextlib.suppress(OSError):
            folder.rmdir()  # only an empty folder is removed
        words = str(error) if isinstance(error, SparsemodError) else f"{type(error).__name__}: {error}"
        return ExportReport.model_validate(
            {"format": format_name, "name": name, "failure": words, "detail": _detail(error)}
        )
    return report


def _check_files(report: ExportReport, device: Device, folder: Path) -> None:
    """Remove the files and raise DoesNotFit when file and arena alone already exceed the device."""
    size = sum(file.size for file in report.files)
    for region, over in device.excess(size, report.memory.get("arena", 0)).items():
        for file in (VERIFICATION, *(file.name for file in report.files)):
            (folder / file).unlink()
        raise DoesNotFit(region, over, f"{device.title} ({device.name})")


def _detail(error: Exception) -> dict[str, Any]:
    detail: dict[str, Any] = {"type": type(error).__name__}
    if isinstance(error, DoesNotFit):
        detail |= {"region": error.region, "over": error.over}
    if isinstance(error, ToolsMissing):
        detail["missing"] = True
    return detail


def _write_card(
    subject: Subject, folder: Path, reports: Sequence[ExportReport], device_fits: Sequence[Fit], name: str
) -> None:
    from sparsemod.export.c.networks import plan_any

    arena = plan_any(subject.network)
    svg, png = memory_plot(arena, "svg").decode(), memory_plot(arena, "png")
    card = compose(
        subject.network, arena, reports, device_fits,
        title=subject.title, subtitle=subject.subtitle, parameters=subject.parameters or {}, measurements=subject.measurements,
        note=subject.note, name=name, svg=svg[svg.index("<svg") :], png=png,
    )  # fmt: skip
    (folder / PLOT).write_bytes(png)
    (folder / CARD).write_text(markdown(card), encoding="utf-8")
    (folder / PAGE).write_text(html(card), encoding="utf-8")
