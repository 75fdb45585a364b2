"""The small experiment that tests of the service share: dense networks on digits, two objectives, a few trials of one epoch."""

from typing import Any

from sparsemod.spec.experiment import ExperimentSpec


def small(
    name: str, trials: tuple[int, int, int], epochs: tuple[int, int, int] = (1, 1, 1), /, **changes: Any
) -> dict[str, Any]:
    """The spec as the JSON of a request: `trials` and `epochs` of the rounds r1, r2, r3; `changes` replace or add parts."""
    counted = zip(("r1", "r2", "r3"), trials, epochs, strict=True)
    return {
        "name": name,
        "dataset": {"name": "digits"},
        "network": {"family": "mlp"},
        "objectives": ["error", "model_size"],
        "rounds": {round_name: {"trials": number, "epochs": each} for round_name, number, each in counted},
        **changes,
    }


def small_spec(*arguments: Any, **changes: Any) -> ExperimentSpec:
    """`small` as a spec."""
    return ExperimentSpec.parse(small(*arguments, **changes))


def narrow(width: int, layers: int = 2) -> dict[str, Any]:
    """A `network` of few and narrow layers, which are trained in a moment."""
    return {"family": "mlp", "options": {"max_width": width, "max_layers": layers}}
