"""The process that computes what the server cannot, since it loads no torch: graphs of networks, importance of parameters.

JSON lines: tasks on standard input, one answer each on standard output. It lives on between tasks, since to load torch takes seconds.
"""

import contextlib
import importlib
import json
import os
import sys
from typing import Any

from sparsemod.data import load
from sparsemod.data.source import declared
from sparsemod.errors import SparsemodError
from sparsemod.graph import Graph, deployed
from sparsemod.graph.macs import operator_macs
from sparsemod.measure.memory import timeline
from sparsemod.pipeline.problem import Problem
from sparsemod.pipeline.screening import build, pruning_plan
from sparsemod.records import Candidate, FailureKind, TrialState, Value
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.spec.methods import Storage


def main() -> None:
    """Answer tasks until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a family of the user's own prints is no answer
    for line in sys.stdin:
        json.dump(answer(json.loads(line)), answers, separators=(",", ":"))
        answers.write("\n")
        answers.flush()


def answer(task: dict[str, Any]) -> dict[str, Any]:
    """`{"content": ...}`, or `{"error": message}` when the task cannot be done."""
    try:
        for module in task["imports"]:
            importlib.import_module(module)
        spec = ExperimentSpec.stored(task["spec"])
        info = declared(spec.dataset.name) or load(spec.dataset).info
        problem = Problem.of(spec, info)
        with contextlib.redirect_stdout(sys.stderr):
            if task["kind"] == "graph":
                return {"content": graph(problem, task["parameters"])}
            return {"content": importance(problem, task["trials"])}
    except SparsemodError as error:
        return {"error": str(error)}
    except Exception as error:  # noqa: BLE001
        # A family of the user's own may raise anything; the next task may be about another one.
        return {"error": f"{type(error).__name__}: {error}"}


def graph(problem: Problem, values: dict[str, Value]) -> dict[str, Any]:
    """The layers of a candidate's network and its memory over time, as it is deployed."""
    module = build(problem, values, 0)
    found = deployed(pruning_plan(problem, values, module).graph)
    storage = problem.spec.quantization.storage
    width = storage.activation_bytes
    layers = [_layer(found, operator, storage) for operator in found.operators]
    moments: list[dict[str, Any]] = [
        {
            "operator": moment.operator,
            "bytes": moment.bytes * width,
            "tensors": {name: found.elements(name) * width for name in moment.tensors},
        }
        for moment in timeline(found)
    ]
    return {
        "input": found.input,
        "input_shape": found.shapes[found.input],
        "output": found.output,
        "layers": layers,
        "timeline": moments,
        "peak_bytes": max((m["bytes"] for m in moments), default=0),
        **{name: sum(layer[name] for layer in layers) for name in ("parameters", "bytes", "macs")},
    }


def _layer(found: Graph, operator: Any, storage: Storage) -> dict[str, Any]:
    weights = found.state[operator.weight].numel() if operator.weight is not None else 0
    channels = found.state[operator.weight].shape[0] if operator.weight is not None else 0
    attributes = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in operator.attributes.items()
        if name not in ("activation", "parameter", "mean", "variance")
    }
    return {
        "name": operator.name,
        "kind": operator.kind,
        "inputs": operator.inputs,
        "output": operator.output,
        "shape": found.shapes[operator.output],
        "parameters": weights + (found.state[operator.bias].numel() if operator.bias is not None else 0),
        "bytes": weights * storage.weight_bytes + channels * storage.channel_bytes,
        "macs": operator_macs(found, operator),
        "output_bytes": found.elements(operator.output) * storage.activation_bytes,
        "activation": operator.attributes.get("activation"),
        "attributes": attributes,
    }


def importance(problem: Problem, trials: list[dict[str, Any]]) -> dict[str, Any]:
    """Sensitivity of every objective, as plain data."""
    from sparsemod.search.importance import FEWEST, sensitivity
    from sparsemod.sources.observation import Observation

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
        for trial in trials
    ]
    found = {
        name: sensitivity(problem.space, observations, name, problem.spec.seed)
        for name in problem.spec.objectives
    }
    known = {name: item for name, item in found.items() if item is not None}
    completed = sum(o.state is TrialState.COMPLETED for o in observations)
    return {
        "trials": completed,
        "metrics": {name: item.indices for name, item in known.items()},
        "accuracy": {name: item.accuracy for name, item in known.items()},
        "reason": None
        if known
        else f"{completed} {'trial is' if completed == 1 else 'trials are'} complete; at least {FEWEST} are needed",
    }


if __name__ == "__main__":
    main()
