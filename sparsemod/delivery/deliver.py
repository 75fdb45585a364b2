"""Delivery of a network: its files in the formats that are asked for, each checked, and a report card for them all."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparsemod.delivery.card import PLOT, html, markdown
from sparsemod.delivery.card_content import compose
from sparsemod.delivery.card_plot import memory_plot
from sparsemod.delivery.needs import Fit, check_fit, fits
from sparsemod.errors import DataMissing, DoesNotFit, SparsemodError, ToolsMissing, UnknownName
from sparsemod.export import EXPORTERS, ExportReport, export
from sparsemod.export.names import DEFAULT, checked_name
from sparsemod.export.report import VERIFICATION
from sparsemod.quantization.integer_network import IntegerNetwork
from sparsemod.records import Measurement, Record, Value
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.targets import Device, device, device_names

CARD, PAGE, REPORTS = "card.md", "card.html", "export.json"


class Delivered(Record):
    """A network that was delivered: `reports` of its formats, in the order asked for; `fit`: device -> region -> bytes over."""

    title: str
    reports: tuple[ExportReport, ...]
    fit: dict[str, dict[str, int]]

    @property
    def failed(self) -> tuple[ExportReport, ...]:
        """The formats that could not be written."""
        return tuple(report for report in self.reports if report.failure is not None)


@dataclass(frozen=True)
class Subject:
    """What is delivered and what is known of it. `samples` and `labels`: validation data to check the files on, described by `data`."""

    network: IntegerNetwork
    title: str
    subtitle: str = ""
    parameters: Mapping[str, Value] | None = None
    measurements: Sequence[Measurement] = ()
    samples: Any = None
    labels: Any = None
    data: str = "validation samples"
    note: str = ""

    @classmethod
    def of(cls, spec: ExperimentSpec, network: bytes, title: str, **known: Any) -> "Subject":
        """The subject with the validation data of `spec`, where they can be had here; else `note` says why not."""
        from sparsemod.data import load
        from sparsemod.delivery.described import described

        found = IntegerNetwork.from_bytes(network)
        try:
            data = load(spec.dataset)
            split = data.validation
        except (DataMissing, UnknownName) as error:
            note = f"The files were checked on random inputs only: {error}"
            return cls(found, title, note=note, **known)
        if found.normalization is None:
            # Networks of earlier releases do not hold it; their data give the same constants again.
            found = described(found, data)
        words = f"the {len(split)} validation samples of {spec.dataset.name}"
        return cls(found, title, samples=split.x, labels=split.y, data=words, **known)


def deliver(
    subject: Subject,
    folder: Path | str,
    formats: Sequence[str],
    *,
    target: str | Device,
    name: str = DEFAULT,
) -> Delivered:
    """Write `folder`/FORMAT/... for each format, with its verification.json, and the report card beside them.

    A format that cannot express a layer, that lacks a package, or whose network exceeds the target's flash or RAM is reported with
    `failure`, and the others are written all the same. `name`: what the model is called in files and C code.
    Raises UnknownName for a format or a device, InvalidInput for a name.
    """
    checked_name(name)
    for wanted in formats:
        EXPORTERS.get(wanted, field="formats")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    chosen = target if isinstance(target, Device) else device(target)
    others = [device(known) for known in device_names() if known != chosen.name]
    found = fits(subject.network, [chosen, *others])
    reports = tuple(
        _one(subject, folder / wanted, wanted, found[0], name) for wanted in dict.fromkeys(formats)
    )
    _write_card(subject, folder, reports, found, name)
    done = Delivered(title=subject.title, reports=reports, fit={f.device.name: f.over for f in found})
    (folder / REPORTS).write_text(done.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return done


def _one(subject: Subject, folder: Path, wanted: str, fit: Fit, name: str) -> ExportReport:
    options: dict[str, Any] = {"samples": subject.samples, "labels": subject.labels, "data": subject.data}
    try:
        if EXPORTERS.get(wanted).checks_fit:
            check_fit(fit)
        report = export(wanted, subject.network, folder, name=name, **options)
        if wanted == "tflite":
            _check_micro(report, fit.device, folder)
    except Exception as error:  # noqa: BLE001
        # Also what the formats' own libraries raise: the report says it, and the other formats go on.
        with contextlib.suppress(OSError):
            folder.rmdir()  # only when nothing lies there
        words = str(error) if isinstance(error, SparsemodError) else f"{type(error).__name__}: {error}"
        return ExportReport.model_validate(
            {"format": wanted, "name": name, "failure": words, "detail": _detail(error)}
        )
    return report


def _check_micro(report: ExportReport, device: Device, folder: Path) -> None:
    """File and arena alone may already decide that a network does not fit: then nothing stays. Raises DoesNotFit."""
    size = sum(file.size for file in report.files)
    for region, needed, limit in (
        ("flash", size, device.flash),
        ("RAM", report.memory.get("arena", 0), device.ram),
    ):
        if needed > limit:
            for file in (VERIFICATION, *(file.name for file in report.files)):
                (folder / file).unlink()
            raise DoesNotFit(region, needed - limit, f"{device.title} ({device.name})")


def _detail(error: Exception) -> dict[str, Any]:
    detail: dict[str, Any] = {"type": type(error).__name__}
    if isinstance(error, DoesNotFit):
        detail |= {"region": error.region, "over": error.over}
    if isinstance(error, ToolsMissing):
        detail["missing"] = True
    return detail


def _write_card(
    subject: Subject, folder: Path, reports: Sequence[ExportReport], found: Sequence[Fit], name: str
) -> None:
    from sparsemod.export.c import plan

    arena = plan(subject.network)
    svg, png = memory_plot(arena, "svg").decode(), memory_plot(arena, "png")
    card = compose(
        subject.network, arena, reports, found,
        title=subject.title, subtitle=subject.subtitle, parameters=subject.parameters or {}, measurements=subject.measurements,
        note=subject.note, name=name, svg=svg[svg.index("<svg") :], png=png,
    )  # fmt: skip
    (folder / PLOT).write_bytes(png)
    (folder / CARD).write_text(markdown(card), encoding="utf-8")
    (folder / PAGE).write_text(html(card), encoding="utf-8")
