"""The process that writes exports for the server: a job on standard input, files in folders, one line per trial on standard output."""

import importlib
import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

from sparsemod.export.report import VERIFICATION, ExportReport
from sparsemod.spec import ExperimentSpec

_EPOCH = (1980, 1, 1, 0, 0, 0)  # equal projects give equal archives


def main() -> None:
    """Deliver every trial of the job; a format that fails is reported, and does not end it."""
    task = json.load(sys.stdin)
    for module in task["imports"]:
        importlib.import_module(module)
    spec = ExperimentSpec.parse(task["spec"])
    for trial in task["trials"]:
        print(f"begin {trial['index']}", flush=True)
        _deliver(spec, trial, task["formats"], task["device"])
        print(f"done {trial['index']}", flush=True)


def _deliver(spec: ExperimentSpec, trial: dict[str, Any], formats: list[str], device: str) -> None:
    from sparsemod.delivery import CARD, PAGE, Subject, deliver
    from sparsemod.export.card import PLOT
    from sparsemod.records import Measurement

    folder = Path(trial["folder"])
    subject = Subject.of(
        spec,
        Path(trial["network"]).read_bytes(),
        f"{spec.name}, trial {trial['index']}",
        parameters=trial["parameters"],
        measurements=[Measurement.model_validate(m) for m in trial["measurements"]],
    )
    done = deliver(subject, folder, formats, target=device)
    listed = [("card", CARD, CARD), ("card", PAGE, PAGE), ("card", PLOT, PLOT)]
    for report in done.reports:
        listed += _files(folder, report)
    (folder / "files.json").write_text(json.dumps(listed), encoding="utf-8")


def _files(folder: Path, report: ExportReport) -> list[tuple[str, str, str]]:
    """(kind of artifact, its name, path) of a format's files; a project of many files becomes an archive."""
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
    """All files below `folder` as a zip archive with one folder, `name`."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                info = zipfile.ZipInfo(f"{name}/{path.relative_to(folder).as_posix()}", _EPOCH)
                info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
                archive.writestr(info, path.read_bytes())
    return out.getvalue()


if __name__ == "__main__":
    main()
