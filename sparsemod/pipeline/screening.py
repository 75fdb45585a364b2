"""Networks and their costs before any training: what screens candidates, and what the search's exact objectives are."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from sparsemod.errors import BuildError, Unsupported
from sparsemod.graph import Graph, capture, deployed
from sparsemod.measure import costs
from sparsemod.morphisms import Morph, morphs
from sparsemod.pipeline.deployment import encoding_goal
from sparsemod.pipeline.environment import environment_failure
from sparsemod.pipeline.problem import Problem
from sparsemod.pruning import METHODS, Plan
from sparsemod.quantization import IntegerNetwork, Quantized
from sparsemod.records import Measurement, Value
from sparsemod.registry import told
from sparsemod.stage_errors import stage_errors
from sparsemod.targets import device

_CHILDREN = 40  # morphs of one parent at a time

_KEPT = 20_000  # candidates whose costs are remembered, about 2 KB each


def build(problem: Problem, values: Mapping[str, Value], seed: int) -> nn.Module:
    """The candidate's network with fresh weights from `seed`; torch's global generator is left as it was.

    Raises BuildError when it cannot be built.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return problem.family.build(problem.architecture(values), problem.info)


def planned_costs(problem: Problem, values: Mapping[str, Value], module: nn.Module) -> dict[str, Measurement]:
    """Every cost of the network that `module` will be after pruning and quantization, from its untrained form. `module` is not changed.

    Exact, but for the sizes of an unstructured pruning, which are upper bounds: a weight may be quantized to zero on top.
    Raises Unsupported for an operator without a cost rule, BuildError for a network that does not run.
    """
    plan = pruning_plan(problem, values, module)
    return _costs(problem, plan.graph, zeros=plan.zeros)


def pruning_plan(problem: Problem, values: Mapping[str, Value], module: nn.Module) -> Plan:
    """What pruning will leave of the candidate's network. Raises Unsupported, BuildError."""
    method = METHODS.create(problem.pruning(values))
    graph = capture(module, problem.info.shape, problem.info.layout)
    with stage_errors("pruning"):
        return method.plan(graph, problem.sparsity(values), module.state_dict())


def measured_costs(problem: Problem, module: nn.Module, network: Quantized) -> dict[str, Measurement]:
    """Every cost of a finished network: `module` as deployed (physically shrunk), `network` its quantized form, whose zeros are counted."""
    encodings = network.encodings if isinstance(network, IntegerNetwork) and network.encodings else None
    graph = capture(module, problem.info.shape, problem.info.layout)
    return _costs(problem, graph, nonzeros=network.layer_nonzeros(), encodings=encodings)


def _costs(
    problem: Problem,
    graph: Graph,
    *,
    zeros: int = 0,
    nonzeros: Mapping[str, int] | None = None,
    encodings: Mapping[str, str] | None = None,
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
    )


class Screen:
    """Costs and morphs of one problem's candidates, remembered by candidate."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self._known: OrderedDict[str, dict[str, Measurement]] = OrderedDict()

    def measure(self, values: Mapping[str, Value]) -> dict[str, Measurement]:
        """Metric -> measurement of every cost.

        Raises BuildError, Unsupported: whatever goes wrong with one candidate is its own failure. Raises EnvironmentFailure for what the
        machine lacks.
        """
        relevant = dict(self.problem.architecture(values), sparsity=self.problem.sparsity(values))
        key = repr(sorted(relevant.items()))
        if key not in self._known:
            self._known[key] = self._screened(values)
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return self._known[key]

    def _screened(self, values: Mapping[str, Value]) -> dict[str, Measurement]:
        try:
            return planned_costs(self.problem, values, build(self.problem, values, 0))
        except (Exception, SystemExit) as error:
            lacking = environment_failure(error)
            if lacking is not None:
                raise lacking from error
            if isinstance(error, BuildError | Unsupported):
                raise
            raise BuildError(f"the network cannot be screened: {told(error)}") from error

    def costs(self, values: Mapping[str, Value]) -> dict[str, float]:
        """Metric -> value of every cost. Raises what `measure` raises."""
        return {name: measurement.value for name, measurement in self.measure(values).items()}

    def morphs(self, values: Mapping[str, Value], rng: np.random.Generator) -> Sequence[Morph]:
        """Children of a parent's parameters."""
        return morphs(self.problem.family, self.problem.space, values, rng, _CHILDREN)
