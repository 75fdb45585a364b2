"""Child process that writes exports for the server.

Each line of standard input is a task, each line of standard output an answer.

    {"spec": ..., "imports": [...], "formats": [...], "device": ..., "name": ..., "index": ..., "network": path, "folder": path, ...}
    {"files": [[kind of artifact, name, path in the folder], ...]}    or    {"failure": why}

It ends when its input ends or the server dies.
"""

import importlib
import io
import json
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

from service.processes.supervised import die_with_parent
from sparsemod.errors import SparsemodError
from sparsemod.export.report import VERIFICATION, ExportReport
from sparsemod.spec.experiment import ExperimentSpec

_EPOCH = (1980, 1, 1, 0, 0, 0)  # makes equal projects give equal archives


def main(parent: int) -> None:
    """Run tasks for the process `parent`. A failed task gets an answer and does not end this process."""
    die_with_parent(parent)
    # Output of libraries must not mix with the answers.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)
        for line in sys.stdin:
            out.write(json.dumps(_answer(json.loads(line))) + "\n")
            out.flush()


def _answer(task: dict[str, Any]) -> dict[str, Any]:
    try:
        for module in task["imports"]:
            importlib.import_module(module)
        return {"files": _deliver(ExperimentSpec.stored(task["spec"]), task)}
    except SparsemodError as error:
        return {"failure": str(error)}
    except Exception as error:  # noqa: BLE001 - libraries and user modules may raise anything
        return {"failure": f"{type(error).__name__}: {error}"}


def _deliver(spec: ExperimentSpec, task: dict[str, Any]) -> list[tuple[str, str, str]]:
    from sparsemod.delivery.card import PLOT
    from sparsemod.delivery.deliver import CARD, PAGE, Subject, deliver
    from sparsemod.export.names import model_name
    from sparsemod.records import Measurement

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


if __name__ == "__main__":
    main(int(sys.argv[1]))
