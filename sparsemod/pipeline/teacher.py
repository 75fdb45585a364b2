"""The teacher that a spec names: a network of the zoo, or the trained network of a trial."""

from collections import OrderedDict
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
    """Return the teacher of the trial's training on its device, or None.

    Raises InvalidInput for a teacher that does not fit the data, EnvironmentFailure for files that are not here.
    """
    settings = work.problem.training(work.values)
    if settings.teacher is None:
        return None
    if settings.teacher.place()[1] is not None:
        module = _of_trial(settings.teacher, work.data.info)
    elif settings.teacher.weights is not None:
        module = _of_zoo(settings.teacher, work.data.info)
        field, file = "training.teacher.weights", settings.teacher.weights
        load_into(module, file_weights(Path(file), field), field, file)
    else:
        module = _trained(work, settings, settings.teacher)
    return module.to(work.device)


def _of_zoo(teacher: TeacherSpec, info: DataInfo) -> nn.Module:
    named = network(teacher.network, "training.teacher.network")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return named.build(info.shape, info.classes)


def _trained(work: "Work", settings: TrainingSpec, teacher: TeacherSpec) -> nn.Module:
    """Train a teacher with the spec's settings, without a teacher; once in this process for equal data and settings."""
    constant = work.problem.spec.training.model_copy(update={"teacher": None})
    epochs = teacher.epochs or work.epochs
    key = (id(work.data), teacher.network, epochs, constant.model_dump_json(), work.device)
    if key not in _TRAINED:
        module = _of_zoo(teacher, work.data.info)
        work.reporter.log(f"training the teacher {teacher.network} for {epochs} epochs")
        task = fitted(work.problem.spec.task, work.data)
        outcome = train(
            module, Resident.of(work.data, work.device, task), constant, epochs=epochs, seed=0, device=work.device, task=task
        )  # fmt: skip
        if outcome.best_epoch is None:
            raise InvalidInput("training.teacher.epochs", epochs, "a training that does not diverge")
        metric = work.problem.spec.quality
        best = outcome.curve[outcome.best_epoch - 1]
        work.reporter.log(
            f"the teacher's validation {METRICS[metric].title} is {METRICS[metric].show(best.validation_error)} after epoch {best.epoch}"
        )
        _TRAINED[key] = (work.data, module)
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
