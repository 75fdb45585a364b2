"""Child process for computations that need torch: graphs of networks and the importance of parameters.

It reads tasks as JSON lines from standard input and writes one answer line per task to standard output. It
stays alive between tasks, because loading torch takes seconds.
"""

import contextlib
import importlib
import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from sparsemod.data import load
from sparsemod.data.source import declared
from sparsemod.errors import SparsemodError
from sparsemod.graph import Graph, deployed
from sparsemod.graph.macs import operator_macs
from sparsemod.measure.memory import timeline
from sparsemod.measure.size import LayerSize, layer_sizes
from sparsemod.pipeline.problem import Problem
from sparsemod.pipeline.screening import build, pruning_plan
from sparsemod.records import TrialState, Value
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.spec.methods import Storage


def main() -> None:
    """Answer tasks until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # output of a user's family must not mix with the answers
    for line in sys.stdin:
        json.dump(answer(json.loads(line)), answers, separators=(",", ":"))
        answers.write("\n")
        answers.flush()


def answer(task: dict[str, Any]) -> dict[str, Any]:
    """Return `{"content": ...}`, or `{"error": message}` when the task fails."""
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
        # A user's family may raise anything. The next task may concern another family.
        return {"error": f"{type(error).__name__}: {error}"}


def graph(problem: Problem, values: dict[str, Value]) -> dict[str, Any]:
    """Return the layers of a candidate's deployed network and its memory use over time, in bytes."""
    module = build(problem, values, 0)
    network = deployed(pruning_plan(problem, values, module).graph)
    storage = problem.spec.quantization.storage
    width = storage.activation_bytes
    sizes = {size.name: size for size in layer_sizes(network, storage)}
    layers = [_layer(network, operator, storage, sizes) for operator in network.operators]
    moments: list[dict[str, Any]] = [
        {
            "operator": moment.operator,
            "bytes": moment.bytes * width,
            "tensors": {name: network.elements(name) * width for name in moment.tensors},
        }
        for moment in timeline(network)
    ]
    return {
        "input": network.input,
        "input_shape": network.shapes[network.input],
        "output": network.output,
        "layers": layers,
        "timeline": moments,
        "peak_bytes": max((m["bytes"] for m in moments), default=0),
        **{name: sum(layer[name] for layer in layers) for name in ("parameters", "bytes", "macs")},
    }


def _layer(network: Graph, operator: Any, storage: Storage, sizes: Mapping[str, LayerSize]) -> dict[str, Any]:
    weights = network.state[operator.weight].numel() if operator.weight is not None else 0
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
        "shape": network.shapes[operator.output],
        "parameters": weights + (network.state[operator.bias].numel() if operator.bias is not None else 0),
        "bytes": sizes[operator.name].dense if operator.name in sizes else 0,
        "macs": operator_macs(network, operator),
        "output_bytes": network.elements(operator.output) * storage.activation_bytes,
        "activation": operator.attributes.get("activation"),
        "attributes": attributes,
    }


def importance(problem: Problem, trials: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the sensitivity of every objective to the parameters, as plain data."""
    from sparsemod.search.importance import FEWEST, sensitivity
    from sparsemod.sources.observation import observations_from_plain

    observations = observations_from_plain(trials)
    sensitivities = {
        name: sensitivity(problem.space, observations, name, problem.spec.seed)
        for name in problem.spec.objectives
    }
    known = {name: item for name, item in sensitivities.items() if item is not None}
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
