"""The search that compresses a trained model from a file: each candidate starts from its weights, is pruned, trained on and measured."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from sparsemod.errors import InvalidInput
from sparsemod.importing import Imported
from sparsemod.spec.experiment import ExperimentSpec

HIGHEST, LOWEST = 0.97, 0.05
"""Range of the share of weights to remove."""
SOBOL = 0.4
"""Share of the trials in the first round."""


def search_spec(
    model: Imported,
    file: str,
    dataset: dict[str, Any],
    methods: Sequence[str],
    budgets: Sequence[str],
    *,
    file_name: str = "",
    trials: int = 20,
    epochs: int = 5,
    target: str = "stm32f446",
    name: str = "",
) -> ExperimentSpec:
    """Return the spec of a search over pruning methods and the share of weights that they remove.

    `file`: the path of the model's file, or the digest of an uploaded one, whose suffix `file_name` gives. `budgets`: text
    such as "flash <= 64 KB". Raises InvalidInput for an int8 model, unknown methods and budgets.
    """
    if model.module is None:
        raise InvalidInput(
            "model", model.name, "a float model: an int8 model cannot be trained on, only measured"
        )
    if trials < 2:
        raise InvalidInput("trials", trials, "at least 2")
    first = max(1, round(trials * SOBOL))
    options = {"file": file} | ({"name": file_name} if file_name else {})
    return ExperimentSpec.parse(
        {
            "version": 2,
            "name": name or f"{model.name} compressed",
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


def store_module(model: Imported, folder: Path) -> Path:
    """Write a torch module as NAME.pt2 into `folder`, so that its weights stay as they are now, and return the path.

    Raises InvalidInput when torch.export cannot express it.
    """
    if model.module is None:
        raise InvalidInput("model", model.name, "a float module")
    path = folder / f"{model.name}.pt2"
    try:
        program = torch.export.export(model.module.eval(), (torch.zeros(2, *model.shape),))
        folder.mkdir(parents=True, exist_ok=True)
        torch.export.save(program, path)
    except Exception as error:  # of torch.export, for any module
        words = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InvalidInput(
            "model", model.name, f"a module that torch.export can write; it says: {words}"
        ) from error
    return path
