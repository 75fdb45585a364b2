"""Trials as the reports see them."""

from service.schemas.trials import TrialView
from sparsemod.report.rows import Row


def to_row(trial: TrialView) -> Row:
    """A trial as a line of tables and a point of plots."""
    return Row(
        index=trial.index,
        candidate=trial.candidate,
        state=trial.state,
        measurements=trial.measurements,
        epochs=trial.trained_epochs,
        seconds=sum(trial.seconds.values()),
        failure="" if trial.failure is None else trial.failure.message,
        artifacts=trial.artifacts,
    )
