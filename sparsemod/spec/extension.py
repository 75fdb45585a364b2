"""Extension of an existing experiment, on a server or in a local folder, by trials and other budgets."""

from collections.abc import Mapping
from typing import Any

from sparsemod.errors import InvalidInput
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.units import metric


def extended(
    spec: ExperimentSpec, rounds: Mapping[str, int], budgets: Mapping[str, Any] | None
) -> ExperimentSpec:
    """Return `spec` with more trials (round -> added trials) and other budgets (metric -> limit, None removes it).

    The reference point stays and becomes explicit, because its default follows the budgets. Values beyond
    it add no hypervolume, so a budget loosened beyond it moves it too. Raises InvalidInput that names
    `rounds...` or `budgets...`.
    """
    data = spec.to_dict()
    data["source"] = spec.source.extended(rounds).model_dump(mode="json")
    changed: set[str] = set()
    for name, limit in (budgets or {}).items():
        measured = metric(name, "budgets")
        if measured.name in changed:
            raise InvalidInput(f"budgets.{name}", limit, f"each metric once; this repeats {measured.name}")
        changed.add(measured.name)
        if limit is None:
            data["budgets"].pop(measured.name, None)
        else:
            data["budgets"][measured.name] = measured.parse(limit, f"budgets.{name}")
    changed_spec = ExperimentSpec.stored(data)
    reference, before, after = spec.reference(), _default_reference(spec), _default_reference(changed_spec)
    for name, value in reference.items():
        # A reference point below the budget is intended.
        if after[name] > value >= before[name]:
            reference[name] = after[name]
    return changed_spec.model_copy(update={"reference_point": reference})


def _default_reference(spec: ExperimentSpec) -> dict[str, float]:
    """Return the reference point that `spec` would have if it gave none."""
    return spec.model_copy(update={"reference_point": {}}).reference()
