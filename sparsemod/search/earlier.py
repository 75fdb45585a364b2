"""Trials of earlier experiments on the same data, from which the model of a new search starts."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from sparsemod.errors import InvalidInput
from sparsemod.records import TrialRecord, TrialState, Value
from sparsemod.search.settings import EarlierTrial, search_config
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.spec.pipeline_parameters import PIPELINE_PARAMETERS

MOST = 200
"""Largest number of earlier trials that a spec gets."""


def with_earlier(
    spec: ExperimentSpec, earlier: ExperimentSpec, trials: Iterable[TrialRecord], field: str, name: str
) -> ExperimentSpec:
    """Return `spec`, whose search also knows the completed trials of the experiment `earlier`.

    At most MOST trials are kept: the better half of that number, and an even part of the others. `field` and `name`
    are those of the earlier experiment in errors. Raises InvalidInput when the spec is no search, or when the
    experiment has other data, another metric, or no completed trial.
    """
    config = search_config(spec)
    for part, wanted, found in (
        ("data set", spec.dataset.name, earlier.dataset.name),
        ("metric", spec.quality, earlier.quality),
    ):
        if wanted != found:
            raise InvalidInput(field, name, f"an experiment with the {part} {wanted}; this one has {found}")
    known = _known(spec.quality, earlier, trials)
    if not known:
        raise InvalidInput(field, name, "an experiment with a completed trial")
    described = spec.to_dict()
    described["source"]["earlier"] = [
        one.model_dump(mode="json") for one in _fewer([*config.earlier, *known])
    ]
    return ExperimentSpec.parse(described)


def _known(metric: str, earlier: ExperimentSpec, trials: Iterable[TrialRecord]) -> list[EarlierTrial]:
    constants = _constants(earlier)
    return [
        EarlierTrial(
            parameters={**constants, **trial.candidate.parameters}, epochs=trial.trained_epochs, value=value
        )
        for trial in trials
        if trial.state is TrialState.COMPLETED
        and math.isfinite(value := trial.values().get(metric, math.nan))
    ]


def _constants(spec: ExperimentSpec) -> Mapping[str, Value]:
    """Return the settings of the spec that another spec may search, such as its learning rate."""
    found: dict[str, Any] = {}
    for part in (spec.training, spec.pruning):
        for name in PIPELINE_PARAMETERS:
            value = getattr(part, name, None)
            if isinstance(value, bool | int | float | str):
                found.setdefault(name, value)
    return found


def _fewer(trials: Sequence[EarlierTrial]) -> list[EarlierTrial]:
    if len(trials) <= MOST:
        return list(trials)
    ranked = sorted(range(len(trials)), key=lambda i: (trials[i].value, i))
    best, others = ranked[: MOST // 2], ranked[MOST // 2 :]
    kept = {*best, *(others[round(k)] for k in np.linspace(0, len(others) - 1, MOST - MOST // 2))}
    return [trials[i] for i in sorted(kept)]
