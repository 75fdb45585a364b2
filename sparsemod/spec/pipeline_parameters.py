"""Checks of the parameters in a spec's `space`, when the spec is read."""

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from sparsemod.errors import InvalidCandidate, InvalidInput, plain_message
from sparsemod.records import Value
from sparsemod.space.parameters import Categorical, Fixed, Integer, Parameter, Real
from sparsemod.spec.methods import PRUNING, RULES, SCHEDULES, PruningConfig
from sparsemod.spec.parts import SplitterSpec
from sparsemod.spec.training import TrainingSpec

M = TypeVar("M", bound=BaseModel)

_PIPELINE = {
    "learning_rate": "training",
    "weight_decay": "training",
    "batch_size": "training",
    "label_smoothing": "training",
    "rule": "training",
    "sparsity": "pruning",
    "pruning_method": "pruning",
    "prune_threshold": "pruning",
    "prune_begin": "pruning",
    "teacher_alpha": "training",
    "learning_gamma": "training",
    "learning_step": "training",
    "max_len": "dataset.splitter",
    "finetune_epochs": "pipeline",
}

_PLACES = {
    "prune_threshold": "sparsity",
    "prune_begin": "schedule.begin",
    "teacher_alpha": "teacher.alpha",
    "learning_gamma": "schedule.gamma",
    "learning_step": "schedule.period",
}
"""The key that each replaces, where the name is another one."""

_STEPS = ("learning_gamma", "learning_step")

STEP_LR = "step_lr"
"""The learning-rate schedule that `learning_gamma` and `learning_step` select."""

PIPELINE_PARAMETERS = tuple(_PIPELINE)
"""Pipeline parameters that a space may contain.

Each replaces the constant of the same name in `training`, `pruning` or `dataset.splitter`; `pruning_method` replaces `pruning.method`.
`rule` replaces the name of `training.rule`, and the rule's keys stay where the other rule has them.
`finetune_epochs` replaces `epochs` of the stage `finetune`.
`prune_begin` replaces `schedule.begin` of `pruning`: 0 prunes before the training, 0.9 at its end. `teacher_alpha`
replaces `teacher.alpha` of `training`, the dose of distillation.
SpArSeMod's names work as there: `prune_threshold` is the final share of pruned weights, `sparsity`. `learning_gamma`
and `learning_step` select the schedule `step_lr` and are its `gamma` and its `period`.
"""

RULE = "rule"
MAX_LEN = "max_len"
FINETUNE_EPOCHS = "finetune_epochs"
TEACHER_ALPHA = "teacher_alpha"


def read_by(part: BaseModel, name: str) -> bool:
    """Return whether a part of a spec has the key that the pipeline parameter `name` replaces."""
    own = (
        "pruning"
        if isinstance(part, PruningConfig)
        else "training"
        if isinstance(part, TrainingSpec)
        else "dataset.splitter"
    )
    if _PIPELINE.get(name) != own:
        return False
    if isinstance(part, PruningConfig):
        key, _, inner = _PLACES.get(name, name).partition(".")
        return part.has(key) and (not inner or hasattr(getattr(part, key), inner))
    return True


METHOD = "pruning_method"


def with_method(pruning: PruningConfig, name: str) -> PruningConfig:
    """Return the config of the pruning method `name`, which may be another name for a method with settings.

    `pruning` itself, if that is its method. Otherwise the keys `sparsity`, `of` and `schedule` that the spec
    sets are kept where the method has them. Raises InvalidInput that lists near names.
    """
    alias = PRUNING.aliases.get(name)
    if alias is None and name == pruning.method:
        return pruning
    config = PRUNING.config_of(name if alias is None else alias.member)
    stated = pruning.model_dump(mode="json", include=pruning.model_fields_set)
    kept = {key: stated[key] for key in _SHARED if key in stated and key in config.model_fields}
    return PRUNING.config(name, **{**kept, **({} if alias is None else alias.keys)})


_SHARED = ("sparsity", "of", "schedule")


def extremes(parameter: Parameter) -> tuple[Value, ...]:
    """Return test values of a parameter: if they are allowed, all its values are.

    They are both bounds and the value one step up, or every listed value.
    """
    if isinstance(parameter, Fixed):
        return (parameter.value,)
    if isinstance(parameter, Integer):
        return (parameter.low, min(parameter.at(1), parameter.high), parameter.high)
    return parameter.values if isinstance(parameter, Categorical) else (parameter.low, parameter.high)


def check_pipeline(
    parameter: Parameter,
    training: TrainingSpec,
    pruning: PruningConfig,
    field: str,
    methods: Parameter | None = None,
    splitter: SplitterSpec | None = None,
) -> None:
    """Check that every value of a pipeline parameter is valid for the constant that it replaces.

    `methods`: the parameter `pruning_method`, if the space has it. `field`: where its values are, for
    errors. Raises InvalidInput.
    """
    if parameter.name == METHOD:
        _check_methods(parameter, pruning, field)
        return
    name, part = parameter.name, _PIPELINE[parameter.name]
    if name == FINETUNE_EPOCHS:
        for value in extremes(parameter):
            if type(value) is not int or not 0 <= value <= 10_000:
                raise InvalidInput(field, value, "whole numbers from 0 to 10,000")
        return
    if name == MAX_LEN and splitter is None:
        raise InvalidInput(field, "searched", "needs dataset.splitter, which cuts the sequences into windows")
    if part == "pruning" and methods is not None:
        several = [with_method(pruning, str(value)) for value in extremes(methods)]
        for one in [config for config in several if read_by(config, name)] or several[:1]:
            check_pipeline(parameter, training, one, field)
        return
    whole: BaseModel = training if part == "training" else pruning
    if splitter is not None and name == MAX_LEN:
        whole = splitter
    if part == "pruning" and not read_by(pruning, name):
        key = _PLACES.get(name, name).partition(".")[0]
        allowed = f"needs pruning.method {_with_key(key)} (it is {pruning.method})"
        raise InvalidInput(field, "searched", allowed)
    if name == TEACHER_ALPHA and training.teacher is None:
        raise InvalidInput(field, "searched", "needs training.teacher, from which the networks learn")
    selects = part == "training" and _PLACES.get(name, "").startswith("schedule.")
    if selects and training.schedule.name not in (STEP_LR, SCHEDULES.default):
        allowed = f"needs training.schedule {STEP_LR}, which it selects when the spec names no other (it is {training.schedule.name})"
        raise InvalidInput(field, "searched", allowed)
    for value in extremes(parameter):
        try:
            changed(whole, {name: value})
        except ValidationError as error:
            reason = plain_message(error.errors()[0]["msg"])
            raise InvalidInput(field, value, f"as in {part}.{name}: {reason}") from None


def _with_key(name: str) -> str:
    """Return the names of the pruning methods whose configs have a key."""
    return ", ".join(m for m in PRUNING.names() if name in PRUNING.config_of(m).model_fields)


def check_sparsities(methods: Parameter, field: str, rewinding: bool = False) -> None:
    """Check that all methods but `none` have the key `sparsity`, and with `rewinding` keep the layers.

    Raises InvalidInput for `field`.
    """
    for value in map(str, extremes(methods)):
        try:
            config = PRUNING.config(value)
        except InvalidInput as error:
            raise InvalidInput(field, value, error.allowed) from None
        if rewinding and config.replaces_layers:
            raise InvalidInput(field, value, "methods that keep the layers, whose weights can be rewound")
        if value != "none" and not config.has("sparsity"):
            raise InvalidInput(field, value, f"methods with the key sparsity: {_with_key('sparsity')}")


def _check_methods(parameter: Parameter, pruning: PruningConfig, field: str) -> None:
    """Check that every value is the name of a pruning method. Raises InvalidInput for `field`."""
    for value in extremes(parameter):
        try:
            with_method(pruning, str(value))
        except InvalidInput as error:
            raise InvalidInput(field, value, error.allowed) from None


def check_training(training: TrainingSpec, changes: Mapping[str, Any], field: str) -> TrainingSpec:
    """Return the training with other values of some keys. Raises InvalidInput for a key of `field`."""
    try:
        return changed(training, changes)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, (field, *first["loc"])))
        raise InvalidInput(place, first["input"], f"as in training: {plain_message(first['msg'])}") from None


def changed(part: M, values: Mapping[str, Any]) -> M:
    """Return a part of a spec with changed values. Raises pydantic's ValidationError for an invalid value."""
    data = part.model_dump(mode="json")
    for name, value in values.items():
        key, _, inner = _PLACES.get(name, name).partition(".")
        if inner:
            kept = data[key]
            if name in _STEPS and kept["name"] != STEP_LR:
                kept = {"name": STEP_LR, "warmup": kept["warmup"]}
            data[key] = {**kept, inner: value}
        elif key == RULE and isinstance(value, str) and value in RULES.names():
            # Keys such as `angle` count for every rule that has them.
            known = RULES.config_of(value).model_fields
            data[key] = {**{k: v for k, v in data[key].items() if k in known}, "name": value}
        else:
            data[key] = value
    return type(part).model_validate_json(json.dumps(data))


def check_narrowed(family_parameter: Parameter, parameter: Parameter, family: str) -> None:
    """Check that `parameter` has the kind of `family_parameter` and contains only values of it.

    Raises InvalidInput.
    """
    if parameter.when not in ((), family_parameter.when):
        raise InvalidInput(
            f"space.{family_parameter.name}.when",
            [condition.model_dump() for condition in parameter.when],
            f"left out: family {family} decides when it needs this parameter",
        )
    field, allowed = f"space.{family_parameter.name}", f"for family {family}: {family_parameter.allowed()}"
    if isinstance(parameter, Real) and not isinstance(family_parameter, Real):
        raise InvalidInput(field, [parameter.low, parameter.high], allowed)
    if isinstance(parameter, Integer) and not isinstance(family_parameter, Integer | Real):
        raise InvalidInput(
            field, [parameter.low, parameter.high], f"{allowed}; give a list of some of them, or one"
        )
    for value in extremes(parameter):
        try:
            family_parameter.check(value)
        except InvalidCandidate:
            raise InvalidInput(field, value, allowed) from None
