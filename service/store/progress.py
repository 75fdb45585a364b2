"""How far experiments are: their trials by round and state, and what of them counts towards the rounds.

What a round is, the experiment's candidate source says; here it is a label of trials.
"""

from typing import Any

import sqlalchemy as sa

from service.schemas.trials import RoundProgress
from service.store.tables import measurements, trials
from sparsemod.records import FailureKind, TrialState
from sparsemod.sources.base import MANUAL, Round, SourceConfig

Counts = dict[tuple[str, str], tuple[int, int]]
"""(round, state) -> how many trials, and how many of them were none to their round, as `sparsemod.search.Observation.miss` has it."""

_MISSED = sa.case(
    (trials.c.state == TrialState.INFEASIBLE.value, 1),
    (
        sa.and_(
            trials.c.state == TrialState.FAILED.value,
            trials.c.failure_kind == FailureKind.INVALID.value,
            # One that was trained and diverged has some.
            ~sa.exists().where(measurements.c.trial_id == trials.c.id),
        ),
        1,
    ),
    else_=0,
)


def counted(identities: list[int]) -> sa.Select[Any]:
    """The query for rows of experiment, round, state, trials, misses."""
    groups = (trials.c.experiment_id, trials.c.round, trials.c.state)
    return (
        sa.select(*groups, sa.func.count(), sa.func.sum(_MISSED))
        .where(trials.c.experiment_id.in_(identities))
        .group_by(*groups)
    )


def totals(counts: Counts) -> dict[TrialState, int]:
    """Trials by state, all rounds together."""
    found = {state: 0 for state in TrialState}
    for (_, state), (count, _) in counts.items():
        found[TrialState(state)] += count
    return found


def progress(source: SourceConfig, counts: Counts) -> dict[str, RoundProgress]:
    """The rounds of a source in their order, then those that only trials name: manual ones, of which each one counts."""
    plan, epochs = source.plan(), source.manual_epochs
    rest = dict.fromkeys(of for of, _ in counts if of not in {part.name for part in plan})
    others = [
        Round(of, MANUAL.title if of == MANUAL.name else of, 0, epochs, misses_count=True) for of in rest
    ]
    rounds: dict[str, RoundProgress] = {}
    for part in (*plan, *others):
        own = {TrialState(state): count for (of, state), (count, _) in counts.items() if of == part.name}
        done = sum(count for state, count in own.items() if state.finished)
        if not part.misses_count:
            done -= sum(missed for (of, _), (_, missed) in counts.items() if of == part.name)
        planned = sum(own.values()) if part in others else part.trials
        rounds[part.name] = RoundProgress(
            title=part.title,
            planned=part not in others,
            trials=planned,
            epochs=part.epochs,
            done=done,
            counts=own,
        )
    return rounds
