"""The stopping rule in a local run: it judges the running trial between its epochs."""

from collections.abc import Callable, Sequence

from sparsemod.pipeline.journal import Finished
from sparsemod.pipeline.reporter import Forwarding, Reporter
from sparsemod.records import CurvePoint, StopDecision
from sparsemod.sources.observation import Suggestion
from sparsemod.stopping import Judge, Training
from sparsemod.training.checkpoint import curve_of
from sparsemod.units import TRAINED

Decide = Callable[[Sequence[CurvePoint]], StopDecision | None]


class Judged(Forwarding):
    """A reporter that forwards to `reporter` and stops the trial when `decide` returns a decision for its curve.

    `earlier`: the epochs before a resume, which no stage reports again.
    """

    def __init__(self, reporter: Reporter, decide: Decide, earlier: Sequence[CurvePoint] = ()) -> None:
        super().__init__(reporter)
        self._decide, self._curve, self._judged = decide, list(earlier), 0
        self.decision: StopDecision | None = None

    def point(self, point: CurvePoint) -> None:
        """See Reporter."""
        super().point(point)
        self._curve.append(point)

    def should_stop(self) -> bool:
        """Return whether the user or the rule stops the trial. The rule judges each epoch once."""
        if super().should_stop():
            return True
        if self.decision is None and len(self._curve) > self._judged:
            self._judged = len(self._curve)
            self.decision = self._decide(self._curve)
        return self.decision is not None


def judged_by(
    judge: Judge | None,
    reporter: Reporter,
    index: int,
    suggestion: Suggestion,
    trials: Sequence[Finished],
    checkpoint: bytes | None,
) -> Judged:
    """Return a reporter for trial `index` that stops it when `judge` decides so; None judges nothing.

    `trials`: the finished ones; `checkpoint`: the state from which the trial continues.
    """
    others = [_training(trial) for trial in trials if trial.index != index and trial.result.curve]

    def decide(curve: Sequence[CurvePoint]) -> StopDecision | None:
        if judge is None or not judge.judges(suggestion.candidate):
            return None
        parent = suggestion.candidate.parent
        return judge.decide(
            Training.of(index, suggestion.epochs, parent, suggestion.costs, curve, {}), others
        )

    return Judged(reporter, decide, () if checkpoint is None else curve_of(checkpoint))


def _training(trial: Finished) -> Training:
    record = trial.record
    costs = {name: value for name, value in record.values().items() if name not in TRAINED}
    return Training.of(
        trial.index, trial.planned_epochs, trial.candidate.parent, costs, trial.result.curve, record.completed_values()
    )  # fmt: skip
