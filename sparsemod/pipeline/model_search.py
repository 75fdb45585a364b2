"""The search that compresses a trained model from a file: each candidate starts from its weights, is pruned, trained on and measured.

Imports no torch: the server makes the same spec for an uploaded model."""

from collections.abc import Sequence
from typing import Any

from sparsemod.errors import InvalidInput
from sparsemod.spec.experiment import ExperimentSpec

HIGHEST, LOWEST = 0.97, 0.05
"""Range of the share of weights to remove."""
SOBOL = 0.4
"""Share of the trials in the first round."""


def search_spec(
    file: str,
    dataset: dict[str, Any],
    methods: Sequence[str],
    budgets: Sequence[str],
    *,
    file_name: str = "",
    trials: int = 20,
    epochs: int = 5,
    target: str = "stm32f446",
    name: str,
) -> ExperimentSpec:
    """Return the spec of a search over pruning methods and the share of weights that they remove.

    `file`: the path of the model's file, or the digest of an uploaded one, whose suffix `file_name` gives. `budgets`: text
    such as "flash <= 64 KB". Raises InvalidInput for
    unknown methods and budgets.
    """
    if trials < 2:
        raise InvalidInput("trials", trials, "at least 2")
    first = max(1, round(trials * SOBOL))
    options = {"file": file} | ({"name": file_name} if file_name else {})
    return ExperimentSpec.parse(
        {
            "version": 2,
            "name": name,
            "dataset": dataset,
            "network": {"family": "imported", "options": options},
            "space": {
                "pruning_method": list(methods),
                "sparsity": {"type": "real", "low": LOWEST, "high": HIGHEST},
            },
            "source": {
                "name": "search",
                "rounds": {
                    "r1": {"trials": first, "epochs": epochs},
                    "r2": {"trials": trials - first, "epochs": epochs},
                    "r3": {"trials": 0, "epochs": epochs},
                },
            },
            "objectives": ["error", "flash", "latency"],
            "budgets": list(budgets),
            "pruning": {
                "method": "filters",
                "of": "weights",
                "schedule": {"name": "one-shot", "begin": 0.0},
            },
            "training": {"learning_rate": 1e-3},
            "target": {"device": target},
        }
    )
