"""The scales of a spec's objectives, their defaults, and the upgrade of specs from before there were scales."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from sparsemod.errors import InvalidInput
from sparsemod.scales import Kind, Scale
from sparsemod.units import METRICS, OBJECTIVES, TRAINED, metric

DECADES = 3.0
"""Default range of a logarithmic scale: powers of ten below the reference value."""

OFFSETS = {name: 0.003 for name in TRAINED if METRICS[name].bounded}
"""Default offset of a logarithmic scale by metric. The scale then begins at 0."""

_KINDS = ("linear", "log")


class ScaleSpec(BaseModel):
    """The scale of one objective. It ends at the reference value."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    kind: Kind = Field(
        description="`log`: equal ratios count equally; `linear`: equal differences. Default: `linear` for the error, `log` for every cost."
    )
    low: float | None = Field(
        None,
        description="Value at which the scale begins. Default: 0, or a thousandth of the reference value on a logarithmic scale without an offset.",
    )
    offset: float | None = Field(
        None,
        description="Added to the value before the logarithm. Default: 0.003 for the error, 0 for a cost.",
    )

    def resolve(self, name: str, reference: float) -> Scale:
        """Return the scale of the objective `name`. Raises InvalidInput that names the field."""
        offset = self.offset
        if offset is None:
            offset = OFFSETS.get(name, 0.0) if self.kind == "log" else 0.0
        low = self.low
        if low is None:
            low = reference * 10.0**-DECADES if self.kind == "log" and offset == 0.0 else 0.0
        try:
            return Scale(self.kind, low, reference, offset)
        except InvalidInput as error:
            raise InvalidInput(f"scales.{name}.{error.field[6:]}", error.value, error.allowed) from None


def default_scale(name: str) -> ScaleSpec:
    """Return the scale of an objective for which the spec gives none."""
    return ScaleSpec(kind="linear" if METRICS[name].trained else "log")


def resolved(given: Mapping[str, ScaleSpec], reference: Mapping[str, float]) -> dict[str, Scale]:
    """Return the scale of each objective in `reference`, defaults included. Raises InvalidInput."""
    return {
        name: given.get(name, default_scale(name)).resolve(name, value) for name, value in reference.items()
    }


def scales_from(value: Any) -> dict[str, ScaleSpec]:
    """Return scales from plain data: metric -> "log", "linear" or a mapping with `kind`. Raises InvalidInput."""
    if not isinstance(value, Mapping):
        raise InvalidInput("scales", value, "a mapping of metric to log, linear or a mapping with `kind`")
    found: dict[str, ScaleSpec] = {}
    for name, given in value.items():
        measured = metric(name, "scales")
        if measured.name in found:
            raise InvalidInput(f"scales.{name}", given, "each metric once")
        found[measured.name] = _scale_from(f"scales.{name}", measured.name, given)
    return found


def _scale_from(field: str, name: str, given: Any) -> ScaleSpec:
    if isinstance(given, ScaleSpec):
        return given
    if isinstance(given, str):
        given = {"kind": given}
    if not isinstance(given, Mapping):
        raise InvalidInput(field, given, "log, linear or a mapping with `kind`, `low` and `offset`")
    for key in given:
        if key not in ScaleSpec.model_fields:
            raise InvalidInput(
                f"{field}.{key}", given[key], f"unknown key; known here: {', '.join(sorted(ScaleSpec.model_fields))}"
            )  # fmt: skip
    if given.get("kind") not in _KINDS:
        raise InvalidInput(f"{field}.kind", given.get("kind"), "log or linear")
    low, offset = (_limit(f"{field}.{key}", name, given.get(key)) for key in ("low", "offset"))
    return ScaleSpec(kind=given["kind"], low=low, offset=offset)


def _limit(field: str, name: str, given: Any) -> float | None:
    if given is None or (given == 0 and not isinstance(given, bool)):
        return given if given is None else 0.0
    return METRICS[name].parse(given, field)


def upgraded(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return plain data of a spec in version 2.

    In version 1 every objective was linear. Raises InvalidInput for a version-1 spec with `scales`.
    """
    if data.get("version") != 1 or isinstance(data.get("version"), bool):
        return dict(data)
    if data.get("scales"):
        raise InvalidInput("scales", data["scales"], "left out in version 1, whose scales are all linear")
    names = data.get("objectives", OBJECTIVES)
    names = names if isinstance(names, list | tuple) else ()
    linear = {name: {"kind": "linear"} for name in names if isinstance(name, str)}
    return {**data, "version": 2, "scales": linear}
