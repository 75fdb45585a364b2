"""Training of the network within a stage: curve, notes, checkpoint."""

from collections.abc import Callable

from safetensors.torch import save as save_tensors
from torch import nn

from sparsemod.errors import InvalidInput
from sparsemod.pipeline.rewinding import rewound
from sparsemod.pipeline.teacher import teacher_of
from sparsemod.pipeline.work import Work, plain_tensors
from sparsemod.records import CurvePoint, TrialResult, TrialState
from sparsemod.training import Resident, TrainingOutcome, train
from sparsemod.training.pruner import Pruner
from sparsemod.training.resident import fitted


def train_network(
    work: Work,
    *,
    epochs: int,
    pruner: Callable[[nn.Module], Pruner] | None = None,
    rate: float = 1.0,
) -> TrialResult | None:
    """Train `work.module` with the spec's settings; it then holds the weights of its best epoch.

    `pruner` creates the pruner of this training, `rate` is a factor of the learning rate. The epochs are appended to the trial's curve. The trial's
    checkpoint covers its first training; a resumed trial repeats later trainings. Return a result if the
    trial ends here, because it was stopped or no epoch gave usable weights; else None. Raises InvalidInput
    for settings that do not fit the network.
    """
    first = work.trainings == 0
    resume = work.resume if first else None
    if resume is not None:
        # Keep the initial weights in case the checkpoint cannot be continued.
        start = {name: tensor.detach().clone() for name, tensor in work.network().state_dict().items()}
        try:
            outcome = _train(work, epochs, pruner, resume, rate)
        except InvalidInput as error:
            if not error.field.startswith("resume"):
                raise
            # The checkpoint only saves time. Start again without it, or every attempt would fail.
            work.notes.append(f"training restarted, because the checkpoint cannot be continued: {error}")
            work.reporter.log(work.notes[-1], "warning")
            work.network().load_state_dict(start)
            outcome = _train(work, epochs, pruner, None, rate)
    else:
        outcome = _train(work, epochs, pruner, None, rate)
    work.trainings += 1
    work.notes += outcome.notes
    if outcome.kept is not None:
        kept = outcome.kept
        work.keep("rewind", "rewind.safetensors", lambda: save_tensors(plain_tensors(kept)))
    if outcome.diverged is not None:
        work.notes.append(f"training diverged in epoch {outcome.diverged}; the best weights before are kept")
    if outcome.stopped:
        return work.result(TrialState.STOPPED, work.planned.values())
    if outcome.best_epoch is None:
        why = (
            f"training diverged in epoch {outcome.diverged}"
            if outcome.diverged is not None
            else "training ended early"
        )
        message = "; ".join(
            [f"{why}: no epoch with usable weights", *(() if outcome.diverged is not None else outcome.notes)]
        )
        return work.failed(message, work.planned.values())
    return None


def _train(
    work: Work, epochs: int, pruner: Callable[[nn.Module], Pruner] | None, resume: bytes | None, rate: float
) -> TrainingOutcome:
    before = tuple(work.curve)

    def numbered(point: CurvePoint) -> CurvePoint:
        return point.model_copy(update={"epoch": len(before) + point.epoch}) if before else point

    module, special = work.network(), work.special
    method = None if pruner is None else pruner(module)
    if special.rewinds and method is not None:
        method = rewound(work, method)
    task = fitted(work.problem.spec.task, work.data)
    settings = work.problem.training(work.values, special.changes)
    if work.mode == "final":  # no sample is left to choose an epoch by
        settings = settings.model_copy(update={"early_stop": None, "minimum_accuracy": ()})
    if rate != 1.0:
        settings = settings.model_copy(update={"learning_rate": settings.learning_rate * rate})
    outcome = train(
        module,
        Resident.of(work.data, work.device, task),
        settings,
        epochs=epochs,
        seed=work.seed + work.trainings,
        device=work.device,
        pruner=method,
        teacher=teacher_of(work),
        task=task,
        on_epoch=lambda point: work.reporter.point(numbered(point)),
        should_stop=work.reporter.should_stop,
        resume=resume,
        on_checkpoint=work.reporter.checkpoint if work.trainings == 0 else None,
        start_epoch=special.start_epoch,
        keep_epoch=special.keep_epoch if work.trainings == 0 else None,
        keep_last=work.mode == "final",
    )
    work.curve = (*before, *map(numbered, outcome.curve))
    return outcome
