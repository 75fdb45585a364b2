"""Networks and their costs before training, for screening and for the exact objectives of the search."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from sparsemod.arena import Fused
from sparsemod.errors import BuildError, Unsupported
from sparsemod.graph import Graph, deployed
from sparsemod.measure import costs
from sparsemod.morphisms import Morph, morphs
from sparsemod.pipeline import training_memory
from sparsemod.pipeline.deployment import captured, encoding_goal, fusion_goal
from sparsemod.pipeline.environment import environment_failure
from sparsemod.pipeline.problem import Problem
from sparsemod.pipeline.substituted import deployable
from sparsemod.pruning import METHODS, Plan
from sparsemod.quantization import IntegerNetwork, Quantized
from sparsemod.records import Measurement, Value
from sparsemod.registry import summarize_error
from sparsemod.stage_errors import stage_errors
from sparsemod.targets import device

_CHILDREN = 40  # largest number of morphs of one parent in one call

_KEPT = 20_000  # size of the cache of candidates' costs, about 2 KB each


def build(problem: Problem, values: Mapping[str, Value], seed: int) -> nn.Module:
    """Return the candidate's network with fresh weights from `seed`; torch's global generator is unchanged.

    Raises BuildError when the network cannot be built.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        info = problem.of_candidate(values).info
        return problem.family.build(problem.architecture(values), info)


def planned_costs(problem: Problem, values: Mapping[str, Value], module: nn.Module) -> dict[str, Measurement]:
    """Return every cost of the pruned and quantized network, computed from the untrained `module`.

    `module` is not changed. The costs are exact, except the sizes under unstructured pruning, which are
    upper bounds: quantization may round further weights to zero, and those of a method whose layers follow
    from the trained weights, which are estimates and say so. Raises Unsupported for an operator without
    a cost rule, BuildError for a network that does not run.
    """
    problem = problem.of_candidate(values)
    plan = pruning_plan(problem, values, module)
    planned = _costs(problem, plan.graph, zeros=plan.zeros)
    if not plan.exact:
        note = "; an estimate, since the trained weights decide how much each layer loses"
        planned = {n: m.model_copy(update={"method": m.method + note}) for n, m in planned.items()}
    if training_memory.needed(problem):
        planned[training_memory.METRIC] = training_memory.measured(problem, values, module)
    return planned


def pruning_plan(problem: Problem, values: Mapping[str, Value], module: nn.Module) -> Plan:
    """Return the pruning plan of the candidate's network. Raises Unsupported, BuildError."""
    problem = problem.of_candidate(values)
    method = METHODS.create(problem.pruning(values))
    module = deployable(module, problem.info.shape, problem.info.layout)
    graph, _ = captured(module, problem)
    with stage_errors("pruning"):
        return method.plan(graph, problem.sparsity(values), module.state_dict())


def measured_costs(problem: Problem, module: nn.Module, network: Quantized) -> dict[str, Measurement]:
    """Return every cost of a finished network.

    `module` is the deployed (physically shrunk) module, `network` its quantized form, whose zeros are
    counted.
    """
    encodings = network.encodings if isinstance(network, IntegerNetwork) and network.encodings else None
    fused = network.fused if isinstance(network, IntegerNetwork) else None
    graph, _ = captured(module, problem)
    return _costs(problem, graph, nonzeros=network.layer_nonzeros(), encodings=encodings, fused=fused)


def _costs(
    problem: Problem,
    graph: Graph,
    *,
    zeros: int = 0,
    nonzeros: Mapping[str, int] | None = None,
    encodings: Mapping[str, str] | None = None,
    fused: Sequence[Fused] | None = None,
) -> dict[str, Measurement]:
    spec = problem.spec
    return costs(
        deployed(graph),
        device(spec.target.device),
        zeros=zeros,
        nonzeros=nonzeros,
        storage=spec.quantization.storage,
        integer=spec.quantization.integer,
        model_size=spec.measure.model_size,
        working_memory=spec.measure.working_memory,
        latency=spec.measure.latency,
        operations_per_second=spec.target.operations_per_second,
        goal=encoding_goal(problem),
        encodings=encodings,
        fusion=fusion_goal(problem),
        fused=fused,
        power_mode=spec.target.power_mode,
    )


class Screen:
    """Costs and morphs of one problem's candidates, with a cache."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self._known: OrderedDict[str, dict[str, Measurement]] = OrderedDict()

    def measure(self, values: Mapping[str, Value]) -> dict[str, Measurement]:
        """Return metric -> measurement of every cost.

        Raises BuildError or Unsupported when the candidate causes the error, EnvironmentFailure when the
        machine lacks a resource.
        """
        architecture = sorted(self.problem.architecture(values).items())
        trained = training_memory.needed(self.problem) and self.problem.training(values).model_dump_json()
        window = self.problem.splitter(values)
        key = repr((architecture, self.problem.pruning(values).model_dump_json(), trained, window))
        if key not in self._known:
            self._known[key] = self._planned_costs(values)
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return self._known[key]

    def _planned_costs(self, values: Mapping[str, Value]) -> dict[str, Measurement]:
        try:
            return planned_costs(self.problem, values, build(self.problem, values, 0))
        except (Exception, SystemExit) as error:
            lacking = environment_failure(error)
            if lacking is not None:
                raise lacking from error
            if isinstance(error, BuildError | Unsupported):
                raise
            raise BuildError(f"the network cannot be screened: {summarize_error(error)}") from error

    def costs(self, values: Mapping[str, Value]) -> dict[str, float]:
        """Return metric -> value of every cost. Raises the errors of `measure`."""
        return {name: measurement.value for name, measurement in self.measure(values).items()}

    def morphs(self, values: Mapping[str, Value], rng: np.random.Generator) -> Sequence[Morph]:
        """Return children of a parent's parameters."""
        return morphs(self.problem.family, self.problem.space, values, rng, _CHILDREN)
