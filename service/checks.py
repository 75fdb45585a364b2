"""What the server can say of a spec or a candidate without torch: names, the search space, a candidate's parameters."""

from collections.abc import Mapping

from sparsemod.data.registry import declared
from sparsemod.networks.registry import FAMILIES
from sparsemod.problem import Problem
from sparsemod.records import Value
from sparsemod.spec import ExperimentSpec


def check_spec(spec: ExperimentSpec) -> Problem | None:
    """Dataset and family must be registered here (code is never named over HTTP), and the space must fit the family.

    The problem, or None for a dataset whose shape is known only once it is loaded: then the suggester checks the space. Raises UnknownName,
    InvalidSpec.
    """
    info = declared(spec.dataset.name)
    FAMILIES.get(spec.network.family, field="network.family")
    return None if info is None else Problem.of(spec, info)


def check_candidate(spec: ExperimentSpec, parameters: Mapping[str, Value]) -> dict[str, Value]:
    """A candidate's parameters in canonical order and types. Raises InvalidCandidate."""
    problem = check_spec(spec)
    return dict(parameters) if problem is None else problem.space.validate(dict(parameters))
