"""Budgets and reference points in force, and fingerprints of requests."""

import json
from typing import Any

from sparsemod.errors import UnknownName
from sparsemod.files import fingerprint
from sparsemod.spec.experiment import ExperimentSpec


def request_fingerprint(kind: str, body: Any) -> str:
    return fingerprint(json.dumps([kind, body], sort_keys=True))


def effective_limits(spec: ExperimentSpec) -> tuple[dict[str, float], dict[str, float]]:
    """Return (budgets, reference point), including the device's defaults."""
    try:
        return spec.all_budgets(), spec.reference()
    except UnknownName:
        # The server does not know the device any more. Show the experiment with the values of its spec.
        return spec.budgets, spec.reference_point
