"""The task of a spec: the loss and the metric that it implies, and the name of what the search minimizes."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from sparsemod.errors import InvalidInput
from sparsemod.plugins import Names
from sparsemod.spec.methods import METRICS, TASKS, LossConfig, MetricConfig, TaskConfig
from sparsemod.units import ERROR, TRAINED

_NAMED = ("reference_point", "scales")


def with_task(data: Mapping[str, Any], names: Names) -> dict[str, Any]:
    """Return a spec's plain data with the loss, the metric and the objectives that follow from its task.

    `error` stands for the task's metric in `objectives`, `budgets`, `reference_point` and `scales`. What cannot be
    read is left as it is, for the check of its own field.
    """
    task = _read(TASKS, data.get("task", TASKS.default), names)
    training = data.get("training", {})
    if task is None or not task.known or not isinstance(training, Mapping):
        return dict(data)
    training = {"loss": task.loss, "metric": task.metric, **training}
    metric = _read(METRICS, training["metric"], names)
    changed = dict(data)
    if (task.loss, task.metric) != (TaskConfig.loss, TaskConfig.metric):
        changed["training"] = training
    if metric is None or not metric.known or metric.key == ERROR:
        return changed
    from sparsemod.units import OBJECTIVES

    objectives = data.get("objectives", list(OBJECTIVES))
    if isinstance(objectives, list | tuple):
        changed["objectives"] = [metric.key if name == ERROR else name for name in objectives]
    for key in _NAMED:
        part = data.get(key)
        if isinstance(part, Mapping):
            changed[key] = _renamed(part, metric.key)
    budgets = data.get("budgets")
    if isinstance(budgets, Mapping):
        changed["budgets"] = _renamed(budgets, metric.key)
    elif isinstance(budgets, str | list | tuple):
        texts = [budgets] if isinstance(budgets, str) else budgets
        changed["budgets"] = [_limit(text, metric.key) for text in texts]
    return changed


def _read(family: Any, value: Any, names: Names) -> Any:
    try:
        return family.read(value, names)
    except (ValidationError, InvalidInput):
        return None


def _renamed(part: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {key if name == ERROR else name: value for name, value in part.items()}


def _limit(text: Any, key: str) -> Any:
    if not isinstance(text, str):
        return text
    name, comparison, value = text.partition("<=")
    return f"{key} {comparison}{value}" if comparison and name.strip().lower() == ERROR else text


def check_task(
    task: TaskConfig, loss: LossConfig, metric: MetricConfig, objectives: Mapping[str, Any]
) -> None:
    """Check that loss and metric are for the task's targets, and that `objectives` (field -> names) have its metric alone.

    Raises InvalidInput that names the field.
    """
    if not task.known:
        return
    if loss.known and task.targets not in (loss.targets, *loss.also):
        raise InvalidInput(
            "training.loss", loss.name, f"a loss for the task {task.name}, such as {task.loss}"
        )
    if not metric.known:
        return
    if metric.targets != task.targets:
        raise InvalidInput(
            "training.metric", metric.name, f"a metric for the task {task.name}, such as {task.metric}"
        )
    if metric.key not in TRAINED:
        raise InvalidInput("training.metric.key", metric.key, f"one of {', '.join(TRAINED)}")
    for field, given in objectives.items():
        for name in given:
            if name in TRAINED and name != metric.key:
                raise InvalidInput(
                    field, name, f"{metric.key}, the metric of this spec (training.metric is {metric.name})"
                )
