"""The teacher that a spec names: a network of the zoo, or the trained network of a trial."""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from sparsemod.data import Dataset
from sparsemod.errors import InvalidInput
from sparsemod.networks.zoo import network
from sparsemod.pipeline.problem import Problem
from sparsemod.pipeline.screening import build
from sparsemod.pipeline.stored_weights import file_weights, load_into, stored_trial
from sparsemod.records import DataInfo
from sparsemod.spec.methods import TaskConfig
from sparsemod.spec.teacher import TeacherSpec
from sparsemod.spec.training import TrainingSpec
from sparsemod.training import Resident, train
from sparsemod.training.resident import fitted
from sparsemod.units import METRICS

if TYPE_CHECKING:
    from sparsemod.pipeline.work import Work

_TRAINED: OrderedDict[tuple[object, ...], tuple[Dataset, nn.Module]] = OrderedDict()
"""Teachers that this process has trained, with their data: as long as they are held, no other data get their id."""
_KEPT = 4


def teacher_of(work: "Work") -> nn.Module | None:
    """Return the teacher of the trial's training on its device, or None. Raises the errors of `teacher_network`."""
    settings = work.problem.training(work.values)
    if settings.teacher is None:
        return None
    # Every candidate learns from a teacher with the spec's own settings.
    constant = work.problem.spec.training
    return teacher_network(
        settings.teacher, constant, work.data, work.problem.spec.task, epochs=work.epochs, device=work.device,
        log=work.reporter.log,
    )  # fmt: skip


def teacher_network(
    teacher: TeacherSpec, training: TrainingSpec, data: Dataset, task: TaskConfig, *, epochs: int, device: str,
    log: Callable[[str], None] = lambda text: None,
) -> nn.Module:  # fmt: skip
    """Return the network of `teacher` on `device`.

    A network of the zoo without weights is trained with `training`, without a teacher, for its own number of epochs or
    `epochs`; once in this process for equal data and settings. Raises InvalidInput for a teacher that does not fit the
    data, EnvironmentFailure for files that are not here.
    """
    if teacher.place()[1] is not None:
        module = _of_trial(teacher, data.info)
    elif teacher.weights is not None:
        module = _of_zoo(teacher, data.info)
        field, file = "training.teacher.weights", teacher.weights
        load_into(module, file_weights(Path(file), field), field, file)
    else:
        module = _trained(teacher, training, data, task, teacher.epochs or epochs, device, log)
    return module.to(device)


def _of_zoo(teacher: TeacherSpec, info: DataInfo) -> nn.Module:
    named = network(teacher.network, "training.teacher.network")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return named.build(info.shape, info.classes)


def _trained(
    teacher: TeacherSpec, training: TrainingSpec, data: Dataset, task: TaskConfig, epochs: int, device: str,
    log: Callable[[str], None],
) -> nn.Module:  # fmt: skip
    alone = training.model_copy(update={"teacher": None})
    key = (id(data), teacher.network, epochs, alone.model_dump_json(), device)
    if key not in _TRAINED:
        module = _of_zoo(teacher, data.info)
        log(f"training the teacher {teacher.network} for {epochs} epochs")
        fit = fitted(task, data)
        outcome = train(
            module, Resident.of(data, device, fit), alone, epochs=epochs, seed=0, device=device, task=fit
        )  # fmt: skip
        if outcome.best_epoch is None:
            raise InvalidInput("training.teacher.epochs", epochs, "a training that does not diverge")
        metric = METRICS[alone.metric.key if alone.metric.key in METRICS else "error"]
        best = outcome.curve[outcome.best_epoch - 1]
        log(
            f"the teacher's validation {metric.title} is {metric.show(best.validation_error)} after epoch {best.epoch}"
        )
        _TRAINED[key] = (data, module)
        while len(_TRAINED) > _KEPT:
            _TRAINED.popitem(last=False)
    return _TRAINED[key][1]


def _of_trial(teacher: TeacherSpec, info: DataInfo) -> nn.Module:
    field = "training.teacher.network"
    stored = stored_trial(teacher.network, field)
    problem = Problem.of(stored.spec, info)
    module = build(problem, problem.space.fill(stored.parameters), 0)
    load_into(module, stored.weights, field, teacher.network)
    return module
