"""The teacher that a spec names: a network of the zoo, or the trained network of a trial."""

import json
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sparsemod.data import Dataset
from sparsemod.errors import EnvironmentFailure, InvalidInput
from sparsemod.networks.zoo import network
from sparsemod.pipeline.problem import Problem
from sparsemod.pipeline.screening import build
from sparsemod.records import DataInfo
from sparsemod.spec.experiment import ExperimentSpec
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
        _load(
            module, _tensors(Path(settings.teacher.weights), "weights"), "weights", settings.teacher.weights
        )
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
    place, number = teacher.place()
    folder, index = Path(place), int(number or 0)
    try:
        spec = ExperimentSpec.stored(json.loads((folder / "spec.json").read_text(encoding="utf-8")))
        lines = (folder / "trials.jsonl").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise EnvironmentFailure(
            f"training.teacher.network = {teacher.network!r}: {folder} is no folder of a local run, it has no {Path(error.filename).name}; FOLDER#TRIAL"
        ) from None
    if index >= len(lines):
        raise InvalidInput(
            "training.teacher.network", teacher.network, f"one of the {len(lines)} trials in {folder}"
        )
    found = json.loads(lines[index])
    kept = [one["digest"] for one in found["result"]["artifacts"] if one["kind"] == "weights"]
    if not kept:
        raise InvalidInput(
            "training.teacher.network",
            teacher.network,
            f"a trial with weights; its state is {found['result']['state']}",
        )
    problem = Problem.of(spec, info)
    module = build(problem, problem.space.fill(found["candidate"]["parameters"]), 0)
    file = folder / "artifacts" / str(kept[0]).removeprefix("sha256:")
    _load(module, _tensors(file, "network"), "network", teacher.network)
    return module


def _tensors(path: Path, key: str) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise EnvironmentFailure(
            f"training.teacher.{key} = {str(path)!r}: no such file here; a .safetensors file"
        )
    try:
        return load_file(path)
    except SafetensorError as error:
        raise InvalidInput(f"training.teacher.{key}", str(path), f"a .safetensors file; {error}") from None


def _load(module: nn.Module, state: dict[str, Tensor], key: str, value: object) -> None:
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        words = str(error).splitlines()
        raise InvalidInput(
            f"training.teacher.{key}",
            value,
            f"weights of this network for these data: {' '.join(w.strip() for w in words[1:3])}",
        ) from None
