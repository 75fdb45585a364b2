"""What a spec's `space` may say of a parameter: checked when the spec is read, before anything is drawn from it."""

from pydantic import BaseModel, ValidationError

from sparsemod.errors import InvalidCandidate, InvalidInput
from sparsemod.records import Value
from sparsemod.space.parameters import Categorical, Fixed, Integer, Parameter, Real
from sparsemod.spec.training import PruningSpec, TrainingSpec

_PIPELINE: dict[str, tuple[type[BaseModel], str]] = {
    "learning_rate": (TrainingSpec, "training"),
    "weight_decay": (TrainingSpec, "training"),
    "batch_size": (TrainingSpec, "training"),
    "label_smoothing": (TrainingSpec, "training"),
    "sparsity": (PruningSpec, "pruning"),
}

PIPELINE_PARAMETERS = tuple(_PIPELINE)
"""Names that a space may hold beside the family's own: each replaces the constant of the same name in `training` or `pruning`."""


def extremes(parameter: Parameter) -> tuple[Value, ...]:
    """The values that are allowed only if all of the parameter's are: both bounds and the value one step up, or every listed value."""
    if isinstance(parameter, Fixed):
        return (parameter.value,)
    if isinstance(parameter, Integer):
        return (parameter.low, min(parameter.at(1), parameter.high), parameter.high)
    return parameter.values if isinstance(parameter, Categorical) else (parameter.low, parameter.high)


def check_pipeline(parameter: Parameter, within: str = "space") -> None:
    """Every value of a pipeline parameter must be one that the constant which it replaces may have. Raises InvalidInput
    with a field in `within`."""
    model, part = _PIPELINE[parameter.name]
    for value in extremes(parameter):
        try:
            model.model_validate({parameter.name: value})
        except ValidationError as error:
            reason = error.errors()[0]["msg"].replace("Input should", "should")
            raise InvalidInput(
                f"{within}.{parameter.name}", value, f"as in {part}.{parameter.name}: {reason}"
            ) from None


def check_narrowed(own: Parameter, given: Parameter, family: str) -> None:
    """`given` must be of the kind of `own`, a family's parameter, and hold no value that `own` does not. Raises InvalidInput."""
    if given.when not in ((), own.when):
        raise InvalidInput(
            f"space.{own.name}.when",
            [condition.model_dump() for condition in given.when],
            f"left out: family {family} decides when it needs this parameter",
        )
    field, allowed = f"space.{own.name}", f"for family {family}: {own.allowed()}"
    if isinstance(given, Real) and not isinstance(own, Real):
        raise InvalidInput(field, [given.low, given.high], allowed)
    if isinstance(given, Integer) and not isinstance(own, Integer | Real):
        raise InvalidInput(field, [given.low, given.high], f"{allowed}; give a list of some of them, or one")
    for value in extremes(given):
        try:
            own.check(value)
        except InvalidCandidate:
            raise InvalidInput(field, value, allowed) from None
