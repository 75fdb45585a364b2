"""A search problem that costs nothing: networks described by a few numbers, exact costs, an error that is a smooth function of them."""

import math
from collections.abc import Mapping

import numpy as np

from sparsemod.records import Candidate, FailureKind, TrialState, Value
from sparsemod.search.strategy import Search
from sparsemod.sources.observation import Observation, Suggestion
from sparsemod.space.space import Categorical, Condition, Integer, Real, Space
from sparsemod.spec.experiment import ExperimentSpec

SPACE = Space(
    [
        Integer("filters", 2, 64, log=True),
        Integer("kernel", 2, 5),
        Categorical("layer", ("conv", "separable", "downsample")),
        Integer("blocks", 1, 2),
        Integer("filters2", 2, 64, log=True, when=(Condition(parameter="blocks", values=(2,)),)),
        Categorical("pool", (True, False)),
        Integer("dense", 0, 64),
        Real("learning_rate", 1e-4, 1e-1, log=True),
        Real("sparsity", 0.0, 0.9),
    ]
)
OBJECTIVES = ("error", "model_size", "working_memory", "latency")


def costs(p: Mapping[str, Value]) -> dict[str, float]:
    f, k = float(p["filters"]), float(p["kernel"])
    f2 = float(p.get("filters2", 0))
    area = 16.0 if p["pool"] else 64.0
    per = k * k + f if p["layer"] == "separable" else k * k * f
    weights = f * k * k + f2 * per + (f2 or f) * area / 16 * (float(p["dense"]) or 10)
    size = weights * (1 - float(p["sparsity"])) + 40 * (1 + float(p["blocks"]))
    memory = 64 + f * (16 if p["layer"] == "downsample" else 64) + f2 * area
    macs = f * k * k * (16 if p["layer"] == "downsample" else 64) + f2 * per * area
    return {"model_size": size, "working_memory": memory, "latency": macs / 1e4}


def error(p: Mapping[str, Value], epochs: float = 4.0) -> float:
    width = math.log(float(p["filters"]) * (1 + 0.5 * float(p.get("filters2", 0))))
    rate = (math.log10(float(p["learning_rate"])) + 2.2) ** 2
    logit = 1.5 - 0.6 * width - 0.25 * float(p["kernel"]) + 0.8 * rate - 0.3 * math.log(1 + float(p["dense"]))
    logit += 3.0 * max(0.0, float(p["sparsity"]) - 0.5) + (0.3 if p["layer"] == "separable" else 0.0)
    logit += (
        (0.5 if p["layer"] == "downsample" else 0.0) - 0.4 * math.log(epochs / 4.0) + 0.2 * bool(p["pool"])
    )
    return 0.01 + 0.88 / (1 + math.exp(-logit))


def spec(objectives: tuple[str, ...] = OBJECTIVES, **changes: object) -> ExperimentSpec:
    reference = {"error": 1.0, "model_size": 20000, "working_memory": 6000, "latency": 60}
    data: dict[str, object] = {
        "dataset": {"name": "digits"},
        "network": {"family": "cnn"},
        "objectives": list(objectives),
        "reference_point": {k: v for k, v in reference.items() if k in objectives},
        "rounds": {
            "r1": {"trials": 8, "epochs": 4},
            "r2": {"trials": 12, "epochs": 4},
            "r3": {"trials": 0, "epochs": 2},
        },
    }
    return ExperimentSpec.parse({**data, **changes})


class Child:
    def __init__(self, parameters: dict[str, Value], operators: tuple[str, ...]) -> None:
        self.parameters, self.operators = parameters, operators


def morphs(parameters: Mapping[str, Value], rng: np.random.Generator) -> list[Child]:
    return [Child(SPACE.mutate(parameters, rng, 0.1), ("mutate",)) for _ in range(6)]


def finish(index: int, s: Suggestion, epochs: float | None = None) -> Observation:
    """The observation that a worker would make of a suggestion."""
    if s.error is not None:
        return Observation(index, s.candidate, TrialState.FAILED, failure=FailureKind.INVALID)
    if not s.feasible:
        return Observation(index, s.candidate, TrialState.INFEASIBLE, dict(s.costs))
    trained = float(s.epochs) if epochs is None else epochs
    values = {"error": error(s.candidate.parameters, trained), **s.costs}
    return Observation(index, s.candidate, TrialState.COMPLETED, values, trained)


def loop(search: Search, batch: int = 1, most: int = 500) -> list[Observation]:
    """Runs the search to its end, one batch after the other."""
    seen: list[Observation] = []
    while search.done(seen) is None and len(seen) < most:
        suggestions = search.next(seen, batch)
        if not suggestions:
            break
        for s in suggestions:
            parent = None if s.candidate.parent is None else seen[s.candidate.parent]
            total = float(s.epochs) + (0.0 if parent is None else parent.epochs)
            seen.append(finish(len(seen), s, total))
    return seen


def pend(index: int, parameters: dict[str, Value], round_name: str = "r1") -> Observation:
    candidate = Candidate.model_validate({"parameters": parameters, "origin": "sobol", "round": round_name})
    return Observation(index, candidate, TrialState.RUNNING)
