"""The task that writes a trial's exports, in a child process; see `service.processes.task_process`."""

import io
import zipfile
from pathlib import Path
from typing import Any

from sparsemod.delivery.card import PLOT
from sparsemod.delivery.deliver import CARD, PAGE, Subject, deliver
from sparsemod.export.names import model_name
from sparsemod.export.report import VERIFICATION, ExportReport
from sparsemod.records import Measurement
from sparsemod.spec.experiment import ExperimentSpec

_EPOCH = (1980, 1, 1, 0, 0, 0)  # makes equal projects give equal archives


def export(task: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Write the exports and the report card into the task's folder.

    Return (kind of artifact, name, path in the folder) for each file.
    """
    spec = ExperimentSpec.stored(task["spec"])
    folder = Path(task["folder"])
    subject = Subject.of(
        spec,
        Path(task["network"]).read_bytes(),
        f"{spec.name}, trial {task['index']}",
        parameters=task["parameters"],
        measurements=[Measurement.model_validate(m) for m in task["measurements"]],
    )
    name = task["name"] or model_name(spec.name, task["index"])
    delivered = deliver(subject, folder, task["formats"], target=task["device"], name=name)
    listed = [("card", CARD, CARD), ("card", PAGE, PAGE), ("card", PLOT, PLOT)]
    for report in delivered.reports:
        listed += _files(folder, report)
    return listed


def _files(folder: Path, report: ExportReport) -> list[tuple[str, str, str]]:
    """Return (kind of artifact, name, path) of a format's files.

    A project of many files becomes one archive.
    """
    name = f"{report.format}-{VERIFICATION}"
    (folder / name).write_text(report.model_dump_json(indent=1) + "\n", encoding="utf-8")
    listed = [(f"verification.{report.format}", name, name)]
    if report.failure is not None:
        return listed
    if len(report.files) == 1:
        file = report.files[0].name
        return [*listed, (f"export.{report.format}", file, f"{report.format}/{file}")]
    archive = f"{report.name}-{report.format}.zip"
    (folder / archive).write_bytes(archived(folder / report.format, report.name))
    return [*listed, (f"export.{report.format}", archive, archive)]


def archived(folder: Path, name: str) -> bytes:
    """Return a zip archive of all files below `folder`, inside one folder `name`."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                info = zipfile.ZipInfo(f"{name}/{path.relative_to(folder).as_posix()}", _EPOCH)
                info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
                archive.writestr(info, path.read_bytes())
    return out.getvalue()
