"""The Ax experiment, rebuilt from the observations, for suggestions and as a JSON file for Ax's client.

Ax holds a view; the stored trials are authoritative. Objectives get fixed thresholds (the reference point),
because Ax would otherwise move them. A budget on a metric that is no objective becomes an outcome
constraint. Ax gets objectives and budgets only, because it would fit a model to each further metric.
"""

import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ax.api.client import Client

from sparsemod.records import FailureKind, TrialState
from sparsemod.search.ax_space import constraints, parameters, to_ax
from sparsemod.sources.observation import Observation
from sparsemod.space.space import Space
from sparsemod.spec.experiment import ExperimentSpec


def client(
    spec: ExperimentSpec, space: Space, observations: Sequence[Observation], bad_error: float | None = None
) -> Client:
    """Return an Ax client with one trial for each observation, in order of their index.

    The property `sparsemod_index` of a trial is that index. `bad_error` is the error assumed for a trial
    that diverged or ended in a fault; None leaves it out. Completed trials are completed in Ax; queued and
    running ones run. A network that cannot be built and a candidate over its budget are abandoned (never
    suggested again); lost and stopped trials are failed.
    """
    with quiet():
        ax_client = Client(random_seed=spec.seed)
        ax_client.configure_experiment(
            name=spec.name, parameters=parameters(space), parameter_constraints=constraints(space)
        )
        ax_client.configure_optimization(
            objective=", ".join(f"-{name}" for name in spec.objectives),
            outcome_constraints=_limits(spec) or None,
        )
        metrics = dict.fromkeys([*spec.objectives, *spec.budgets])
        for observation in sorted(observations, key=lambda o: o.index):
            place = ax_client.attach_trial(to_ax(space, observation.candidate.parameters))
            trial = ax_client._experiment.trials[place]
            trial.update_run_metadata({"sparsemod_index": observation.index})
            values = {n: observation.values[n] for n in metrics if n in (observation.values or {})}  # type: ignore[index]
            bad = bad_error is not None and observation.state is TrialState.FAILED and not observation.miss
            if bad and bad_error is not None and spec.quality in metrics:
                values[spec.quality] = bad_error
            if (observation.state is TrialState.COMPLETED or bad) and len(values) == len(metrics):
                ax_client.complete_trial(place, raw_data=values)
            elif observation.state is TrialState.INFEASIBLE or observation.failure is FailureKind.INVALID:
                if values:
                    ax_client.attach_data(place, raw_data=values)
                ax_client.mark_trial_abandoned(place)
            elif observation.state.finished:
                ax_client.mark_trial_failed(place)
    return ax_client


def snapshot(spec: ExperimentSpec, space: Space, observations: Sequence[Observation]) -> str:
    """Return the experiment as JSON text for `ax.api.client.Client.load_from_json_file`."""
    with quiet():
        return json.dumps(client(spec, space, observations)._to_json_snapshot(), separators=(",", ":"))


def _limits(spec: ExperimentSpec) -> list[str]:
    reference = spec.reference()
    limits: dict[str, float] = {}
    if len(spec.objectives) > 1:
        # In Ax 1.3 a constraint on an objective is its threshold. A single objective has none.
        limits = {n: min(reference[n], spec.budgets.get(n, reference[n])) for n in spec.objectives}
    limits |= {n: limit for n, limit in spec.budgets.items() if n not in spec.objectives}
    return [f"{name} <= {limit!r}" for name, limit in limits.items()]


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress the warnings and log lines about routine decisions of Ax and BoTorch; none concerns our data."""
    logger = logging.getLogger("ax")
    before: Any = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
