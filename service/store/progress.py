"""Progress of experiments: trials by round and state, and the trials that count towards the rounds.

The candidate source of an experiment defines its rounds. Here a round is a label of trials.
"""

import itertools
from typing import Any

import sqlalchemy as sa

from service.schemas.trials import RoundProgress
from service.store.tables import measurements, trials
from service.store.trial_rows import NOT_ON_TEST
from sparsemod.records import FailureKind, TrialState
from sparsemod.sources.base import MANUAL, Round, SourceConfig

Counts = dict[tuple[str, str], tuple[int, int]]
"""(round, state) -> (trials, misses). Misses do not count towards their round; see
`sparsemod.sources.observation.Observation.miss`."""

_MISSED = sa.case(
    (trials.c.state == TrialState.INFEASIBLE.value, 1),
    (
        sa.and_(
            trials.c.state == TrialState.FAILED.value,
            trials.c.failure_kind == FailureKind.INVALID.value,
            # A trial that was trained and diverged has measurements and is no miss.
            ~sa.exists().where(measurements.c.trial_id == trials.c.id, NOT_ON_TEST),
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


def progress(source: SourceConfig, counts: Counts) -> dict[str, RoundProgress]:
    """Return the progress of a source's rounds in order, then of rounds that only trials name.

    Those are the manual trials, all of which count.
    """
    plan, epochs = source.plan(), source.manual_epochs
    rest = dict.fromkeys(of for of, _ in counts if of not in {part.name for part in plan})
    unplanned = [
        Round(of, MANUAL.title if of == MANUAL.name else of, 0, epochs, misses_count=True) for of in rest
    ]
    rounds: dict[str, RoundProgress] = {}
    for part in (*plan, *unplanned):
        part_counts = {
            TrialState(state): count for (of, state), (count, _) in counts.items() if of == part.name
        }
        done = sum(count for state, count in part_counts.items() if state.finished)
        if not part.misses_count:
            done -= sum(missed for (of, _), (_, missed) in counts.items() if of == part.name)
        planned = sum(part_counts.values()) if part in unplanned else part.trials
        rounds[part.name] = RoundProgress(
            title=part.title,
            planned=part not in unplanned,
            trials=planned,
            epochs=part.epochs,
            done=done,
            counts=part_counts,
        )
    return rounds


_PACE_TRIALS = 30
_RAN = (TrialState.COMPLETED.value, TrialState.FAILED.value)


def pace(connection: sa.Connection, identity: int) -> float | None:
    """Return trials per minute over the last trials to finish, None while there are too few.

    The longest gap is ignored, because it may be a stop.
    """
    query = (
        sa.select(trials.c.finished_at)
        .where(trials.c.experiment_id == identity, trials.c.state.in_(_RAN))
        .order_by(trials.c.finished_event.desc())
        .limit(_PACE_TRIALS)
    )
    times = sorted(connection.execute(query).scalars(), reverse=True)
    gaps = sorted(later - earlier for later, earlier in itertools.pairwise(times))[:-1]
    return 60 * len(gaps) / sum(gaps) if len(gaps) >= 3 and sum(gaps) > 0 else None
