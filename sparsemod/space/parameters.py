"""The parameters of a search space: integer, real, categorical, fixed; each may be conditional.

A parameter maps its values to the unit interval and back (`unit`, `from_unit`), linearly or logarithmically.
"""

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sparsemod.errors import InvalidCandidate, InvalidInput, plain_message
from sparsemod.records import Value


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Condition(_Frozen):
    """True when `parameter` is active and has one of `values`."""

    parameter: str
    values: Annotated[tuple[Value, ...], Field(min_length=1)]


class _Parameter(_Frozen):
    """A parameter is active when all conditions in `when` hold; a candidate omits inactive parameters."""

    name: Annotated[str, Field(min_length=1)]
    when: tuple[Condition, ...] = ()

    def __init__(self, name: str | None = None, *args: Any, **fields: Any) -> None:
        # Accept positional arguments in the order of the fields: Integer("filters", 1, 100).
        positional = [field for field in type(self).model_fields if field not in ("name", "when", "type")]
        if len(args) > len(positional):
            raise InvalidInput(
                str(name), args, f"at most {len(positional)} positional arguments: {', '.join(positional)}"
            )
        if name is not None:
            fields["name"] = name
        try:
            super().__init__(**fields, **dict(zip(positional, args, strict=False)))
        except ValidationError as error:
            first = error.errors()[0]
            cause = first.get("ctx", {}).get("error")
            if isinstance(cause, InvalidInput):
                raise cause from None
            field = ".".join([str(fields.get("name", type(self).__name__)), *map(str, first["loc"])])
            allowed = f"unknown key; known here: {', '.join(type(self).model_fields)}"
            message = allowed if first["type"] == "extra_forbidden" else plain_message(first["msg"])
            raise InvalidInput(field, first["input"], message) from None

    def check(self, value: Any) -> Value:
        """Return the value in the parameter's type. Raises InvalidCandidate."""
        raise NotImplementedError

    def holds(self, value: Any) -> bool:
        """Whether `check` accepts the value."""
        try:
            self.check(value)
        except InvalidCandidate:
            return False
        return True


class Integer(_Parameter):
    """Whole numbers `low`, `low + step`, ..., `high`; `log` samples them on a logarithmic scale."""

    type: Literal["integer"] = "integer"
    low: int
    high: int
    log: bool = False
    step: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _check(self) -> "Integer":
        _check_bounds(self.name, self.low, self.high, self.log)
        rest = (self.high - self.low) % self.step
        if rest:
            below = self.high - rest
            reached = f"{self.low} + a whole number of steps of {self.step}: {below} or {below + self.step}"
            raise InvalidInput(f"{self.name}.high", self.high, reached)
        return self

    @property
    def cardinality(self) -> float:
        return (self.high - self.low) // self.step + 1

    def allowed(self) -> str:
        steps = "" if self.step == 1 else f" in steps of {self.step}"
        return f"a whole number from {self.low} to {self.high}{steps}"

    def check(self, value: Any) -> int:
        """Return the value as int. Raises InvalidCandidate."""
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not self.low <= value <= self.high
            or value != int(value)
            or (int(value) - self.low) % self.step
        ):
            raise InvalidCandidate(self.name, value, self.allowed())
        return int(value)

    def at(self, place: int) -> int:
        """Return the value at index `place`, from 0."""
        return self.low + place * self.step

    def clip(self, value: Value) -> int:
        """Return the nearest allowed value."""
        within = min(max(float(value), self.low), self.high)
        return min(self.at(round((within - self.low) / self.step)), self.high)

    def unit(self, value: Value) -> float:
        half = self.step / 2
        return _unit(float(value), self.low - half, self.high + half, self.low, self.log)

    def from_unit(self, unit: float) -> int:
        # Each value covers half a step on both sides, so both ends are drawn as often as the other values.
        half = self.step / 2
        if self.log:
            low, high = math.log(max(self.low - half, self.low * 0.5)), math.log(self.high + half)
            return self.clip(math.exp(low + unit * (high - low)))
        return min(self.at(math.floor(unit * self.cardinality)), self.high)

    @property
    def default(self) -> int:
        return self.from_unit(0.5)


class Real(_Parameter):
    """Real numbers from `low` to `high`; `log` samples them on a logarithmic scale."""

    type: Literal["real"] = "real"
    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _check(self) -> "Real":
        _check_bounds(self.name, self.low, self.high, self.log)
        return self

    @property
    def cardinality(self) -> float:
        return math.inf if self.high > self.low else 1

    def allowed(self) -> str:
        return f"a number from {self.low:g} to {self.high:g}"

    def check(self, value: Any) -> float:
        """Return the value as float. Raises InvalidCandidate."""
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not self.low <= value <= self.high
        ):
            raise InvalidCandidate(self.name, value, self.allowed())
        return float(value)

    def clip(self, value: Value) -> float:
        """Return the nearest allowed value."""
        return min(max(float(value), self.low), self.high)

    def unit(self, value: Value) -> float:
        return _unit(float(value), self.low, self.high, self.low, self.log)

    def from_unit(self, unit: float) -> float:
        if self.log:
            low, high = math.log(self.low), math.log(self.high)
            return self.clip(math.exp(low + unit * (high - low)))
        return self.clip(self.low + unit * (self.high - self.low))

    @property
    def default(self) -> float:
        return self.from_unit(0.5)


class Categorical(_Parameter):
    """One of `values`; `ordered` means that neighbours in the list are similar."""

    type: Literal["categorical"] = "categorical"
    values: Annotated[tuple[Value, ...], Field(min_length=1)]
    ordered: bool = False

    @model_validator(mode="after")
    def _check(self) -> "Categorical":
        if len({_identity(value) for value in self.values}) != len(self.values):
            raise InvalidInput(self.name, list(self.values), "each value once")
        return self

    @property
    def cardinality(self) -> float:
        return len(self.values)

    def allowed(self) -> str:
        return "one of " + ", ".join(repr(value) for value in self.values)

    def check(self, value: Any) -> Value:
        """Return the value in the type of the listed value. Raises InvalidCandidate."""
        return self.values[self.place(value)]

    def place(self, value: Any) -> int:
        """Return the index of the value, from 0. Raises InvalidCandidate."""
        identity = _identity(value)
        for place, listed in enumerate(self.values):
            if _identity(listed) == identity:
                return place
        raise InvalidCandidate(self.name, value, self.allowed())

    def others(self, value: Any) -> tuple[Value, ...]:
        """Return all values except this one."""
        return tuple(listed for listed in self.values if _identity(listed) != _identity(value))

    def clip(self, value: Value) -> Value:
        """Return the value if it is listed, else the first listed value."""
        return value if self.holds(value) else self.values[0]

    def unit(self, value: Value) -> float:
        return (self.place(value) + 0.5) / len(self.values)

    def from_unit(self, unit: float) -> Value:
        return self.values[min(int(unit * len(self.values)), len(self.values) - 1)]

    @property
    def default(self) -> Value:
        return self.values[0]


class Fixed(_Parameter):
    """A constant: part of every candidate in which it is active, but not searched."""

    type: Literal["fixed"] = "fixed"
    value: Value

    @property
    def cardinality(self) -> float:
        return 1

    def allowed(self) -> str:
        return f"only {self.value!r}"

    def check(self, value: Any) -> Value:
        """Return the constant. Raises InvalidCandidate for any other value."""
        if value != self.value or isinstance(value, bool) != isinstance(self.value, bool):
            raise InvalidCandidate(self.name, value, self.allowed())
        return self.value

    def clip(self, value: Value) -> Value:
        """Return the constant."""
        return self.value

    def unit(self, value: Value) -> float:
        return 0.5

    def from_unit(self, unit: float) -> Value:
        return self.value

    @property
    def default(self) -> Value:
        return self.value


Parameter = Integer | Real | Categorical | Fixed


def is_numeric(parameter: Parameter) -> bool:
    """Whether constraints may use the parameter: number, numeric constant, or ordered list of numbers."""
    if isinstance(parameter, Categorical):
        return parameter.ordered and all(map(is_number, parameter.values))
    return not isinstance(parameter, Fixed) or is_number(parameter.value)


class Constraint(_Frozen):
    """A linear constraint: the sum of coefficient x value over active numeric parameters is at most `bound`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    coefficients: Annotated[dict[str, float], Field(min_length=1)]
    bound: float

    def holds(self, values: dict[str, Value]) -> bool:
        """Whether `values` (active parameters only) meet the constraint."""
        return self.total(values) <= self.bound + 1e-9

    def total(self, values: dict[str, Value]) -> float:
        """Return the left side; an inactive parameter counts as 0."""
        return sum(
            factor * float(values[name]) for name, factor in self.coefficients.items() if name in values
        )

    def __str__(self) -> str:
        terms = " + ".join(
            f"{name}" if factor == 1 else f"{factor:g} {name}" for name, factor in self.coefficients.items()
        )
        return f"{terms} <= {self.bound:g}"


def is_number(value: object) -> bool:
    """Whether a value is a number; a bool is not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _identity(value: Any) -> tuple[bool, Any]:
    # Distinguish True from 1, which are equal in Python. 1 and 1.0 stay equal.
    return isinstance(value, bool), value


def _check_bounds(name: str, low: float, high: float, log: bool) -> None:
    if not (math.isfinite(low) and math.isfinite(high)) or low > high:
        raise InvalidInput(name, [low, high], "finite bounds, low <= high")
    if log and low <= 0:
        raise InvalidInput(name, [low, high], "log needs low > 0")


def _unit(value: float, low: float, high: float, smallest: float, log: bool) -> float:
    if high <= low:
        return 0.5
    if log:
        low = max(low, smallest * 0.5)
        return (math.log(value) - math.log(low)) / (math.log(high) - math.log(low))
    return (value - low) / (high - low)
