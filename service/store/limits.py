"""Budgets, reference points and scales in force, and fingerprints of requests."""

import json
from dataclasses import dataclass
from typing import Any

from sparsemod.errors import UnknownName
from sparsemod.files import fingerprint
from sparsemod.scales import Scale
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.spec.scales import resolved


def request_fingerprint(kind: str, body: Any) -> str:
    return fingerprint(json.dumps([kind, body], sort_keys=True))


@dataclass(frozen=True)
class Limits:
    """Budgets, reference point and scales (by metric), including the defaults from the device."""

    budgets: dict[str, float]
    reference: dict[str, float]
    scales: dict[str, Scale]


def effective_limits(spec: ExperimentSpec) -> Limits:
    """Return what is in force for `spec`.

    For a device that is not known any more, the values of the spec itself are returned, so that the experiment
    can be shown.
    """
    try:
        found = spec.objectives_in_force()
    except UnknownName:
        return Limits(spec.budgets, spec.reference_point, resolved(spec.scales, spec.reference_point))
    return Limits(dict(found.budgets), dict(found.reference), dict(found.scales))
