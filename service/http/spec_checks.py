"""Checks of a spec or a candidate that need no torch: names, the search space, a candidate's parameters."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from sparsemod.data.places import data_root
from sparsemod.data.source import DATASETS, bind, declared
from sparsemod.errors import InvalidSpec
from sparsemod.networks.family import FAMILIES
from sparsemod.pipeline.problem import Problem
from sparsemod.records import Value
from sparsemod.sources.base import SOURCES
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.spec.pipeline_choice import check_known


def check_spec(spec: ExperimentSpec) -> Problem | None:
    """Dataset, family, candidate source, stages and device must be registered here (code is never named over HTTP), budgets must be known on the device, and the space
    must fit the family.

    Return the problem, or None for a dataset whose shape is known only after loading: then the suggester
    checks the space. Raises UnknownName, InvalidSpec.
    """
    info = declared(spec.dataset.name, spec.task.targets)
    bind(DATASETS.get(spec.dataset.name, field="dataset.name"), spec.dataset, spec.task.targets)
    FAMILIES.get(spec.network.family, field="network.family")
    SOURCES.get(spec.source.name, field="source.name")
    check_known(spec.pipeline)
    spec.all_budgets()
    return None if info is None else Problem.of(spec, info)


def check_candidate(spec: ExperimentSpec, parameters: Mapping[str, Value]) -> dict[str, Value]:
    """Return a candidate's parameters in canonical order and types, with fixed ones filled in. Raises
    InvalidCandidate."""
    problem = check_spec(spec)
    return dict(parameters) if problem is None else problem.space.validate(problem.space.fill(parameters))


def check_places(spec: ExperimentSpec, folders: Iterable[Path]) -> None:
    """Raise InvalidSpec when a spec names a place outside the folder of SPARSEMOD_DATA and `folders`.

    Check the root, and every option that could be a path leading elsewhere. The error does not reveal whether
    the place exists.
    """
    home = data_root(None)
    allowed = [home.resolve(), *(folder.resolve() for folder in folders)]
    root = spec.dataset.root
    places = [("dataset.root", root, Path("/"))] if root is not None else []
    base = Path(root) if root is not None else home
    places += [
        (f"dataset.options.{name}", value, base)
        for name, value in spec.dataset.options.items()
        if isinstance(value, str)
        and (value.startswith(("/", "~", "\\")) or ".." in Path(value).parts or "\x00" in value)
    ]
    places += [
        (f"network.options.{name}", value, home)
        for name, value in spec.network.options.items()
        if isinstance(value, str)
        and (value.startswith(("/", "~", "\\")) or ".." in Path(value).parts or "\x00" in value)
    ]
    for field, value, start in places:
        odd = (
            value.startswith("~")
            or "\x00" in value
            or (field == "dataset.root" and not value.startswith("/"))
        )
        place = None if odd else (start / value).resolve()
        if place is None or not any(place.is_relative_to(folder) for folder in allowed):
            folders_text = ", ".join(map(str, allowed))
            raise InvalidSpec(
                field,
                value,
                f"a place in the server's data folders, {folders_text} (SPARSEMOD_DATA, SPARSEMOD_DATASET_DIRS); relative paths start there",
            )
