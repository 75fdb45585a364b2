"""The process that turns an experiment into Ax's JSON: a task on standard input, the JSON on standard output. See `service.jobs.ax_snapshot`."""

import importlib
import json
import sys

from sparsemod.data import load
from sparsemod.data.source import declared
from sparsemod.pipeline.problem import Problem
from sparsemod.records import Candidate, FailureKind, TrialState
from sparsemod.search.ax_experiment import snapshot
from sparsemod.sources.observation import Observation
from sparsemod.spec.experiment import ExperimentSpec


def main() -> None:
    """Read a task, write the JSON."""
    task = json.load(sys.stdin)
    for module in task["imports"]:
        importlib.import_module(module)
    spec = ExperimentSpec.stored(task["spec"])
    info = declared(spec.dataset.name) or load(spec.dataset).info
    observations = [
        Observation(
            index=trial["index"],
            candidate=Candidate.model_validate(trial["candidate"]),
            state=TrialState(trial["state"]),
            values=trial["values"],
            epochs=trial["epochs"],
            failure=None if trial["failure"] is None else FailureKind(trial["failure"]),
            weights=trial["weights"],
        )
        for trial in task["trials"]
    ]
    sys.stdout.write(snapshot(spec, Problem.of(spec, info).space, observations))


if __name__ == "__main__":
    main()
