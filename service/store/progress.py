"""Progress of experiments: trials by round and state, and the trials that count towards the rounds."""

from typing import Any

import sqlalchemy as sa

from service.schemas.trials import RoundProgress
from service.store.tables import measurements, trials
from sparsemod.records import FailureKind, RoundName, TrialState
from sparsemod.spec.experiment import RoundSpec, RoundsSpec

ROUNDS: tuple[RoundName, ...] = ("r1", "r2", "r3", "manual")

Counts = dict[tuple[str, str], tuple[int, int]]
"""(round, state) -> (trials, misses). Misses do not count towards their round; see
`sparsemod.search.Observation.miss`."""

_MISSED = sa.case(
    (trials.c.state == TrialState.INFEASIBLE.value, 1),
    (
        sa.and_(
            trials.c.state == TrialState.FAILED.value,
            trials.c.failure_kind == FailureKind.INVALID.value,
            # A trial that was trained and diverged has measurements and is no miss.
            ~sa.exists().where(measurements.c.trial_id == trials.c.id),
        ),
        1,
    ),
    else_=0,
)


def counts_query(identities: list[int]) -> sa.Select[Any]:
    """Return the query for rows of experiment, round, state, trials, misses."""
    groups = (trials.c.experiment_id, trials.c.round, trials.c.state)
    return (
        sa.select(*groups, sa.func.count(), sa.func.sum(_MISSED))
        .where(trials.c.experiment_id.in_(identities))
        .group_by(*groups)
    )


def totals(counts: Counts) -> dict[TrialState, int]:
    """Return the number of trials by state, over all rounds."""
    by_state = {state: 0 for state in TrialState}
    for (_, state), (count, _) in counts.items():
        by_state[TrialState(state)] += count
    return by_state


def progress(spec: RoundsSpec, counts: Counts) -> dict[str, RoundProgress]:
    """Return the progress of a spec's rounds.

    Manual trials form one more round when there are any; all of them count.
    """
    rounds: dict[str, RoundProgress] = {}
    for name in ROUNDS:
        own = {TrialState(state): count for (of, state), (count, _) in counts.items() if of == name}
        done = sum(count for state, count in own.items() if state.finished)
        if name != "manual":
            done -= sum(missed for (of, _), (_, missed) in counts.items() if of == name)
            part: RoundSpec = getattr(spec, name)
            rounds[name] = RoundProgress(trials=part.trials, epochs=part.epochs, done=done, counts=own)
        elif own:
            total = sum(own.values())
            rounds[name] = RoundProgress(trials=total, epochs=spec.r2.epochs, done=done, counts=own)
    return rounds
