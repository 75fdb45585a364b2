"""The stopping rule of an experiment at work: it judges a training and records why it ends."""

from collections.abc import Sequence

import numpy as np

from sparsemod.quality import Quality, error_of
from sparsemod.records import Candidate, StopDecision
from sparsemod.sources.base import MANUAL
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.stopping.base import STOPPING, Peers, Training
from sparsemod.stopping.curves import predicted


class Judge:
    """Judges the trainings of an experiment. `spec.stopping` names the rule."""

    def __init__(self, spec: ExperimentSpec) -> None:
        self._spec = spec
        self._rule = None if spec.stopping is None else STOPPING.create(spec.stopping)
        self._objectives = spec.objectives_in_force()
        self._quality = Quality.of(spec.quality, self._objectives)

    def judges(self, candidate: Candidate) -> bool:
        """Return whether the rule applies to a candidate: not to manual ones, nor where the source needs whole trainings."""
        return (
            self._rule is not None
            and candidate.round != MANUAL.name
            and self._spec.source.may_stop(candidate)
        )

    def decide(self, training: Training, others: Sequence[Training]) -> StopDecision | None:
        """Return the decision to end `training`, None while it continues.

        `others`: the other trainings of the experiment, completed, stopped or running, in the order of their end. Equal
        arguments give equal answers.
        """
        epoch = len(training.errors)
        if self._rule is None or not 0 < epoch < training.epochs:
            return None
        peers = Peers(others, self._objectives, self._quality)
        verdict = self._rule.judge(training, peers)
        if verdict is None:
            return None
        expected = predicted(training, peers)
        mean, deviation = (None, None) if expected is None else expected.moments()
        return StopDecision(
            rule=self._rule.config.name,
            epoch=epoch,
            epochs=training.epochs,
            reason=verdict.reason,
            probability=verdict.probability,
            expected=None if mean is None else float(self._quality.value(error_of(np.array(mean)))),
            deviation=deviation,
        )
