"""What the server can say of a spec or a candidate without torch: names, the search space, a candidate's parameters."""

from collections.abc import Mapping

from sparsemod.data.registry import DATASETS, bind, declared
from sparsemod.networks.registry import FAMILIES
from sparsemod.problem import Problem
from sparsemod.records import Value
from sparsemod.spec import ExperimentSpec
from sparsemod.targets import device


def check_spec(spec: ExperimentSpec) -> Problem | None:
    """Dataset, family and device must be registered here (code is never named over HTTP), and the space must fit the family.

    The problem, or None for a dataset whose shape is known only once it is loaded: then the suggester checks the space. Raises UnknownName,
    InvalidSpec.
    """
    info = declared(spec.dataset.name)
    bind(DATASETS.get(spec.dataset.name, field="dataset.name"), spec.dataset)
    FAMILIES.get(spec.network.family, field="network.family")
    device(spec.target.device)
    return None if info is None else Problem.of(spec, info)


def check_candidate(spec: ExperimentSpec, parameters: Mapping[str, Value]) -> dict[str, Value]:
    """A candidate's parameters in canonical order and types. Raises InvalidCandidate."""
    problem = check_spec(spec)
    return dict(parameters) if problem is None else problem.space.validate(dict(parameters))
