"""Tasks about one experiment that need torch or Ax: the graph of a network, the importance of parameters, and
the experiment in Ax's format. They run in a child process, see `service.processes.task_process`.
"""

from collections.abc import Mapping
from typing import Any

from sparsemod.data import load
from sparsemod.data.source import declared
from sparsemod.graph import Graph, deployed
from sparsemod.graph.macs import operator_macs
from sparsemod.measure.memory import timeline
from sparsemod.measure.size import LayerSize, layer_sizes
from sparsemod.pipeline.problem import Problem
from sparsemod.pipeline.screening import build, pruning_plan
from sparsemod.records import TrialState
from sparsemod.sources.observation import observations_from_plain
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.spec.methods import Storage


def _problem(task: dict[str, Any]) -> Problem:
    spec = ExperimentSpec.stored(task["spec"])
    return Problem.of(
        spec,
        declared(spec.dataset.name, spec.task.targets) or load(spec.dataset, targets=spec.task.targets).info,
    )


def graph(task: dict[str, Any]) -> dict[str, Any]:
    """Return the layers of a candidate's deployed network and its memory use over time, in bytes.

    `task`: the spec and the candidate's parameters.
    """
    problem, values = _problem(task), task["parameters"]
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


def importance(task: dict[str, Any]) -> dict[str, Any]:
    """Return the sensitivity of every objective to the parameters. `task`: the spec and the trials."""
    from sparsemod.search.importance import FEWEST, sensitivity

    problem, observations = _problem(task), observations_from_plain(task["trials"])
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


def ax_snapshot(task: dict[str, Any]) -> str:
    """Return JSON for `ax.api.client.Client.load_from_json_file`. `task`: the spec and the trials."""
    from sparsemod.search.ax_experiment import snapshot

    problem = _problem(task)
    return snapshot(problem.spec, problem.space, observations_from_plain(task["trials"]))
