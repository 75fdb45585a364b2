"""The trial data of reports, and the trials on the front."""

from collections.abc import Sequence
from dataclasses import dataclass

from sparsemod.objectives import Objectives
from sparsemod.records import Artifact, Candidate, Measurement, TrialState


@dataclass(frozen=True)
class Row:
    """One trial in a report."""

    index: int
    candidate: Candidate
    state: TrialState
    measurements: tuple[Measurement, ...] = ()
    epochs: float = 0.0
    seconds: float = 0.0
    failure: str = ""
    artifacts: tuple[Artifact, ...] = ()

    def values(self) -> dict[str, float]:
        """Return metric -> value, without measurements on test data."""
        return {m.metric: m.value for m in self.measurements if m.split != "test"}


def front(objectives: Objectives, rows: Sequence[Row]) -> list[Row]:
    """Return the completed rows on the Pareto front, sorted by their first objective."""
    completed = [row for row in rows if row.state is TrialState.COMPLETED]
    members = [completed[i] for i in objectives.front([row.values() for row in completed])]
    return sorted(members, key=lambda row: row.values()[objectives.names[0]])
