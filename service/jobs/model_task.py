"""The task that reads and measures an uploaded model, in a child process; see `service.processes.task_process`."""

from pathlib import Path
from typing import Any

from sparsemod.importing import Source, read_model
from sparsemod.pipeline.model_report import integer_network, report_on
from sparsemod.training.process import tune_process


def measure(task: dict[str, Any]) -> dict[str, Any]:
    """Return the report of an uploaded model as JSON data. `task`: the file's path, the model's name and the device.

    The file must stand alone: it may name no other file. It is never run in a runtime of other tools here.
    """
    tune_process(1)
    source = Source(task["name"], Path(task["path"]).read_bytes())
    model = read_model(source)
    network, notes = integer_network(model)
    missing = "an uploaded file is not run; `sparsemod measure` compares it on your machine"
    report = report_on(model, network, task["device"], notes=notes, check=missing)
    return report.model_dump(mode="json")
