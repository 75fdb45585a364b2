"""The training loop: resident data without a loader, a learning curve, stop and resume between epochs."""

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from sparsemod.records import CurvePoint
from sparsemod.seeds import derived_seed
from sparsemod.sequences import Batch, call
from sparsemod.spec.training import TrainingSpec
from sparsemod.training import augmentation, optimizers
from sparsemod.training.arguments import check_arguments, check_identity, too_inaccurate
from sparsemod.training.batch_loss import BatchLoss
from sparsemod.training.checkpoint import (
    optimizer_state,
    pack,
    restore_module,
    restore_optimizer,
    snapshot,
    unpack,
)
from sparsemod.training.context import TrainingContext
from sparsemod.training.evaluation import evaluate
from sparsemod.training.fusion import fused
from sparsemod.training.losses import LOSSES
from sparsemod.training.memory_format import runs_on, set_memory_format
from sparsemod.training.metrics import METRICS
from sparsemod.training.outcome import TrainingOutcome
from sparsemod.training.parallel.group import Alone, scaled_loss
from sparsemod.training.precision import MixedPrecision
from sparsemod.training.pruner import Pruner
from sparsemod.training.randomness import seeded
from sparsemod.training.resident import Resident, batch_bounds
from sparsemod.training.rules import RULES
from sparsemod.training.schedules import LearningRate
from sparsemod.training.tasks.base import TASKS, Task


def train(
    module: nn.Module,
    data: Resident,
    settings: TrainingSpec,
    *,
    epochs: int,
    seed: int,
    device: torch.device | str = "cpu",
    pruner: Pruner | None = None,
    teacher: nn.Module | None = None,
    task: Task[Any] | None = None,
    on_epoch: Callable[[CurvePoint], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    resume: bytes | None = None,
    on_checkpoint: Callable[[bytes], None] | None = None,
    start_epoch: int = 0,
    keep_epoch: int | None = None,
    keep_last: bool = False,
    group: Alone | None = None,
) -> TrainingOutcome:
    """Train `module` in place for `epochs` epochs and load the weights of its best epoch.

    The best epoch has the least validation error; ties go to the lower validation loss. With `keep_last` it is the last one. With a pruner, only
    epochs at full sparsity count, and patience (`settings.early_stop`) begins there. `on_epoch` receives
    each finished epoch, and `on_checkpoint` the state after it. `should_stop` is called between epochs.
    `resume` continues a checkpoint of the same training: on the CPU the result equals that of an
    uninterrupted training bit for bit. `task`: the fitted task, by default classification. A stopped training leaves the best weights so far in the module, or
    the latest ones when none qualified (`best_epoch` is None). `teacher` is the network of `settings.teacher`. `group`: the processes that train together, of which this is one; by default, `settings.processes` are started.
    `start_epoch`: epochs of the learning rate's schedule that are over. `keep_epoch`: `kept` holds the weights after it (0: before the first).

    All randomness (order, augmentation, dropout) follows from `seed` and the epoch. Torch's global
    generators are seeded during the call and restored after it, so equal arguments give equal weights on
    the CPU, independent of other random draws of the process.

    A loss or weight that becomes infinite or not a number ends the training. `TrainingOutcome.diverged`
    names the epoch, and the module holds the best weights before it, or those from before that epoch.

    The module is moved to `device`, where `data` must be, and stays there, in evaluation mode.

    Raises InvalidInput (settings, data or checkpoint do not fit), BuildError (no parameters), UnknownName.
    """
    if settings.processes > 1 and group is None:
        from sparsemod.training.parallel.processes import train_in_processes

        return train_in_processes(
            train, module, data, settings, on_epoch, should_stop, on_checkpoint, device=torch.device(device),
            epochs=epochs, seed=seed, pruner=pruner, teacher=teacher, task=task, resume=resume,
            start_epoch=start_epoch, keep_epoch=keep_epoch, keep_last=keep_last,
        )  # fmt: skip
    training = _Training(
        module, data, settings, epochs, seed, torch.device(device), pruner, teacher, task, start_epoch, group
    )
    training.keep_epoch, training.keep_last = keep_epoch, keep_last
    return training.run(on_epoch, should_stop, resume, on_checkpoint)


class _Training:
    """State of one training between epochs."""

    def __init__(
        self,
        module: nn.Module,
        data: Resident,
        settings: TrainingSpec,
        epochs: int,
        seed: int,
        device: torch.device,
        pruner: Pruner | None,
        teacher: nn.Module | None,
        task: Task[Any] | None,
        start_epoch: int = 0,
        group: Alone | None = None,
    ) -> None:
        check_arguments(module, data, settings, epochs, seed, device)
        self.data, self.settings, self.epochs, self.seed, self.device = data, settings, epochs, seed, device
        self.module = module.to(device)
        self.rule = RULES.create(settings.rule)
        settings.check_rule(settings.rule.name, self.rule.layer_by_layer)
        self.precision = MixedPrecision(settings.precision, device)
        self.group = group or Alone()
        if len(data.train.shape) == 3:
            set_memory_format(module, torch.channels_last)
            first = data.train.slice(0, settings.batch_size)[0]
            if not runs_on(module, first, self._fused(), seed, device):
                # `x.view(len(x), -1)` after a convolution needs torch's default format: slower, but every
                # module trains.
                set_memory_format(module, torch.contiguous_format)
                self.data = data.channels_first()
        self.bounds = batch_bounds(len(data.train), settings.batch_size)
        self.start_epoch = start_epoch
        self.rate = LearningRate(
            settings.learning_rate, settings.schedule, start_epoch + epochs, len(self.bounds)
        )
        self.augment = augmentation.build(settings.augmentation, data.train.shape)
        self.loss, self.metric = LOSSES.create(settings.loss), METRICS.create(settings.metric)
        self.task = task or TASKS.create(TASKS.config("classification"))
        self.task.weigh(self.loss)
        self.rule.start(module, seed)
        if settings.gradient_clip is None:
            self.rule.update = self._update
        if self.precision.mixed or self.group.size > 1:
            self.rule.outputs, self.rule.scaled = self._outputs, self.precision.scaled
        samples = None if self.augment else self.data.train
        self.whole = BatchLoss(module, settings, self.batch_loss, seed, teacher=teacher, samples=samples)
        self.optimizer = optimizers.build(self.whole.trained, settings)
        self.pruner = pruner
        if pruner is not None:
            pruner.start(TrainingContext(module, self.data.train, self.batch_loss, seed))
        self.running = self.group.running(module)
        self.curve: list[CurvePoint] = []
        self.best: dict[str, Tensor] | None = None
        self.best_epoch: int | None = None
        self.waited = 0  # epochs since the best one
        self.keep_epoch: int | None = None
        self.keep_last = False
        self.kept: dict[str, Tensor] | None = None

    def batch_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of a batch, with the settings' label smoothing."""
        return self.loss.mean(outputs, targets, self.settings.label_smoothing)

    def _update(self) -> None:
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def _outputs(self, x: Batch) -> Tensor:
        """Return the outputs of a batch in float32, computed in the training's precision."""
        with self.precision.forward():
            return call(self.running, x).float()

    def _fused(self) -> AbstractContextManager[Any]:
        """Return a context in which chains of layers run as one step, where nothing must see each layer."""
        whole = self.rule.layer_by_layer or self.precision.mixed or self.group.size > 1
        return ExitStack() if whole else fused(self.module)

    def run(
        self,
        on_epoch: Callable[[CurvePoint], None] | None,
        should_stop: Callable[[], bool] | None,
        resume: bytes | None,
        on_checkpoint: Callable[[bytes], None] | None,
    ) -> TrainingOutcome:
        began = time.perf_counter()
        try:
            if resume is not None:
                self._restore(resume)
            return self._run(began, on_epoch, should_stop, on_checkpoint)
        finally:
            self.rule.finish()
            self.whole.finish()

    def _run(
        self,
        began: float,
        on_epoch: Callable[[CurvePoint], None] | None,
        should_stop: Callable[[], bool] | None,
        on_checkpoint: Callable[[bytes], None] | None,
    ) -> TrainingOutcome:
        before = self.curve[-1].seconds if self.curve else 0.0
        self._keep(len(self.curve))
        stopped, diverged = False, None
        while not (stopped or self._complete() or self._patience_over() or self._hopeless()):
            wanted = should_stop is not None and should_stop()
            if self.group.decided(wanted)[0]:
                stopped = True
                break
            epoch = len(self.curve) + 1
            with seeded(self.seed, epoch, self.device):
                self._prune(epoch)
                self.group.reseed(self.seed, epoch)
                last_good = None if self.best is not None else snapshot(self.module)
                point = self._epoch(epoch)
            if point is None:
                diverged = epoch
                if last_good is not None:
                    restore_module(self.module, last_good)
                break
            self._record_epoch(point.model_copy(update={"seconds": before + time.perf_counter() - began}))
            self._keep(epoch)
            if on_epoch is not None:
                on_epoch(self.curve[-1])
            if on_checkpoint is not None:
                on_checkpoint(self._checkpoint())
        checkpoint = self._checkpoint() if diverged is None else b""
        if self.best is not None:
            restore_module(self.module, self.best)
        if self.pruner is not None and self.pruner.at_target:
            self.pruner.finish()
        set_memory_format(self.module, torch.contiguous_format)
        self.module.zero_grad(set_to_none=True)
        self.module.eval()
        return TrainingOutcome(
            curve=tuple(self.curve),
            best_epoch=self.best_epoch,
            stopped=stopped,
            early=not stopped and diverged is None and not self._complete(),
            diverged=diverged,
            checkpoint=checkpoint,
            seconds=time.perf_counter() - began,
            kept=self.kept,
            notes=tuple(
                filter(
                    None,
                    [*self.rule.notes(), optimizers.decay_note(self.module, self.settings), self._hopeless()],
                )
            ),
        )

    def _keep(self, epoch: int) -> None:
        if epoch == self.keep_epoch and self.kept is None:
            self.kept = snapshot(self.module)

    def _prune(self, epoch: int) -> None:
        if self.pruner is not None:
            self.pruner.before_epoch(epoch, self.epochs)
            if self.pruner.restarts:
                self.optimizer = optimizers.build(self.whole.trained, self.settings)
            self._follow_layers()

    def _follow_layers(self) -> None:
        """Train the module's current parameters: a pruner may have replaced layers. Others keep their state."""
        if optimizers.trains(self.optimizer, self.whole.trained):
            return
        self.rule.finish()
        if len(self.data.train.shape) == 3 and self.data.train.channels_last:
            set_memory_format(self.module, torch.channels_last)
        self.optimizer = optimizers.rebuilt(self.optimizer, self.whole.trained, self.settings)
        self.rule.start(self.module, self.seed)
        self.running = self.group.running(self.module)

    def _epoch(self, epoch: int) -> CurvePoint | None:
        """Train one epoch and validate it; return None when it diverged."""
        generator = torch.Generator().manual_seed(derived_seed(self.seed, epoch, "data"))
        order = torch.randperm(len(self.data.train), generator=generator).to(self.device)
        first_step = (epoch - 1) * len(self.bounds)
        parameters = list(self.whole.trained.parameters())
        total = torch.zeros((), device=self.device)

        self.module.train()
        if self.settings.drop_path:
            set_drop_path: Any = self.module.set_drop_path
            set_drop_path(self.settings.drop_path * (epoch - 1) / self.epochs)
        with self._fused(), self.group.layers(self.module):
            for step, (start, stop) in enumerate(self.bounds, start=first_step):
                indices = order[start:stop]
                x, y = self.data.train.batch(indices)
                x = augmentation.augmented(x, self.augment, generator, self.data.train.channels_last)
                x, y, indices, factor = self.group.share(x, y, indices)
                rate = self.rate.at(self.start_epoch * len(self.bounds) + step)
                for group in self.optimizer.param_groups:
                    group["lr"] = rate
                self.optimizer.zero_grad(set_to_none=True)
                loss = self.whole.of(x, indices)
                if factor != 1.0:
                    loss = scaled_loss(loss, factor)
                if step == first_step:
                    self.rule.before_epoch(x, y, loss)
                total += self.rule.gradients(x, y, loss) * (stop - start)
                self.precision.step(self.optimizer, parameters, self.settings.gradient_clip)
                if self.pruner is not None:
                    self.pruner.after_step()
        train_loss = float(self.group.mean(total)) / len(self.data.train)
        if not math.isfinite(train_loss):
            return None
        validated = (0.0, 0.0)
        if self.group.rank == 0:
            validated = evaluate(self.module, self.data.validation, self.loss, self.metric, self.task)
        validation_loss, validation_error = self.group.decided(*validated)
        if not math.isfinite(validation_loss):
            return None
        angles = self.rule.degrees()
        return CurvePoint(
            epoch=epoch,
            train_loss=train_loss,
            validation_loss=validation_loss,
            validation_error=validation_error,
            learning_rate=self.rate.at(self.start_epoch * len(self.bounds) + first_step),
            sparsity=0.0 if self.pruner is None else self.pruner.sparsity,
            angle=angles[epoch - 1] if angles else None,
        )

    def _record_epoch(self, point: CurvePoint) -> None:
        """Add the epoch to the curve; store its weights if they are the best so far."""
        self.curve.append(point)
        if self.pruner is not None and not self.pruner.at_target:
            return
        self.waited += 1
        best = None if self.best_epoch is None else self.curve[self.best_epoch - 1]
        losses = [(one.validation_error, one.validation_loss) for one in (point, best) if one is not None]
        if best is None or self.keep_last or losses[0] < losses[1]:
            if best is None or point.validation_error < best.validation_error:
                self.waited = 0  # a lower loss alone does not reset patience
            self.best_epoch, self.best = point.epoch, snapshot(self.module)

    def _patience_over(self) -> bool:
        return self.settings.early_stop is not None and self.waited >= self.settings.early_stop

    def _complete(self) -> bool:
        return len(self.curve) >= self.epochs

    def _hopeless(self) -> str | None:
        """Return why the training ends for its accuracy, or None."""
        return too_inaccurate(self.curve, self.settings.minimum_accuracy)

    def _identity(self) -> dict[str, Any]:
        """Return the values that must be equal for a checkpoint to be continued."""
        return {
            "settings": self.settings.model_dump_json(),
            "epochs": self.epochs,
            "seed": self.seed,
            "samples": len(self.data.train),
            "start_epoch": self.start_epoch,
            "keep_epoch": self.keep_epoch,
            **({"keep_last": True} if self.keep_last else {}),
            "pruning": None if self.pruner is None else self.pruner.config.model_dump_json(),
        }

    def _checkpoint(self) -> bytes:
        state: dict[str, Any] = {
            "identity": self._identity(),
            "curve": [point.model_dump(mode="json") for point in self.curve],
            "best_epoch": self.best_epoch,
            "waited": self.waited,
            "module": dict(self.module.state_dict()),
            "best": self.best or {},
            "kept": self.kept or {},
            "optimizer": optimizer_state(self.optimizer),
            "rule": self.rule.state_dict(),
            "beside": self.whole.state_dict(),
            "precision": self.precision.state_dict(),
            "pruner": {} if self.pruner is None else self.pruner.state_dict(),
        }
        return pack(state)

    def _restore(self, content: bytes) -> None:
        state = unpack(content)
        check_identity(state["identity"], self._identity())
        if self.pruner is not None:
            self.pruner.load_state_dict(state["pruner"])
            self._follow_layers()
        restore_module(self.module, state["module"])
        restore_optimizer(self.optimizer, state["optimizer"])
        self.rule.load_state_dict(state["rule"])
        self.whole.load_state_dict(state["beside"])
        self.precision.load_state_dict(state["precision"])
        self.curve = [CurvePoint.model_validate(point) for point in state["curve"]]
        self.best_epoch, self.waited = state["best_epoch"], state["waited"]
        self.best, self.kept = (
            {name: tensor.to(self.device) for name, tensor in state[key].items()} or None
            for key in ("best", "kept")
        )
