"""Child process that converts an experiment to Ax's JSON. See `service.jobs.ax_snapshot`.

It reads a task from standard input and writes the JSON to standard output.
"""

import importlib
import json
import sys

from sparsemod.data import load
from sparsemod.data.source import declared
from sparsemod.pipeline.problem import Problem
from sparsemod.search.ax_experiment import snapshot
from sparsemod.sources.observation import observations_from_plain
from sparsemod.spec.experiment import ExperimentSpec


def main() -> None:
    """Read the task and write the JSON."""
    task = json.load(sys.stdin)
    for module in task["imports"]:
        importlib.import_module(module)
    spec = ExperimentSpec.stored(task["spec"])
    info = declared(spec.dataset.name) or load(spec.dataset).info
    observations = observations_from_plain(task["trials"])
    sys.stdout.write(snapshot(spec, Problem.of(spec, info).space, observations))


if __name__ == "__main__":
    main()
