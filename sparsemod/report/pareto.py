"""The trials on the front, with lineage and the history of the hypervolume."""

from collections.abc import Mapping, Sequence

from sparsemod.objectives import GrowingFront, Objectives
from sparsemod.records import (
    Ancestor,
    FrontPoint,
    HistoryPoint,
    NearMiss,
    ParetoFront,
    TrialRecord,
    TrialState,
)

Parents = Mapping[int, tuple[int, Sequence[str]]]
"""Index of a trial -> index of its parent, and the operators that changed the parent into it."""


def front(objectives: Objectives, rows: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the completed trials on the Pareto front, sorted by their first objective."""
    completed = [row for row in rows if row.state is TrialState.COMPLETED]
    chosen = [completed[i] for i in objectives.front([row.values() for row in completed])]
    return sorted(chosen, key=lambda row: (row.values()[objectives.names[0]], row.index))


def parents_of(rows: Sequence[TrialRecord]) -> dict[int, tuple[int, Sequence[str]]]:
    """Return the parents of the trials that have one."""
    return {
        row.index: (row.candidate.parent, row.candidate.operators)
        for row in rows
        if row.candidate.parent is not None
    }


def lineage(index: int, parents: Parents) -> tuple[Ancestor, ...]:
    """Return the ancestors of a trial, nearest first."""
    ancestors: list[Ancestor] = []
    while index in parents and len(ancestors) <= len(parents):
        index, operators = parents[index]
        ancestors.append(Ancestor(index=index, operators=tuple(operators)))
    return tuple(ancestors)


def pareto_front(name: str, objectives: Objectives, rows: Sequence[TrialRecord]) -> ParetoFront:
    """Return the front of an experiment's trials, given in the order of their completion."""
    parents = parents_of(rows)
    growing = GrowingFront(objectives)
    history: list[HistoryPoint] = []
    for row in rows:
        if row.state is TrialState.COMPLETED:
            history.append(
                HistoryPoint(
                    trials=len(history) + 1,
                    hypervolume=growing.add(row.index, row.values()),
                    index=row.index,
                    round=row.candidate.round,
                )
            )
    return ParetoFront(
        name=name,
        objectives=objectives.names,
        reference_point=dict(objectives.reference),
        budgets=dict(objectives.budgets),
        scales={name: objectives.scales[name] for name in objectives.names},
        points=tuple(front_point(row, parents) for row in front(objectives, rows)),
        nearest=near_misses(growing),
        hypervolume=growing.hypervolume,
        history=tuple(history),
    )


def near_misses(growing: GrowingFront) -> tuple[NearMiss, ...]:
    """Return the trials that come nearest to the budgets while there is no front, nearest first."""
    over = growing.objectives.over_budget
    return tuple(
        NearMiss(index=index, values=dict(values), excess=over(values)) for index, values in growing.nearest
    )


def front_point(row: TrialRecord, parents: Parents) -> FrontPoint:
    """Return a trial as a point of the front."""
    return FrontPoint(
        index=row.index,
        origin=row.candidate.origin,
        round=row.candidate.round,
        parameters=row.candidate.parameters,
        measurements=row.measurements,
        lineage=lineage(row.index, parents),
        artifacts=row.artifacts,
    )
