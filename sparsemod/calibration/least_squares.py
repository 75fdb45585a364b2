"""Nonnegative least squares from measured layers and networks to a core's coefficients."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.stats import kendalltau

from sparsemod.calibration.samples import Sample
from sparsemod.errors import InvalidInput
from sparsemod.measure.predicted import predict
from sparsemod.targets import OperatorModel

Array = NDArray[Any]


@dataclass(frozen=True)
class Errors:
    """Mean relative errors of instructions (and the largest), flash and RAM, and Kendall's tau of instructions."""

    instructions: float
    worst: float
    flash: float
    ram: float
    tau: float


def fit(core: str, samples: Sequence[Sample]) -> OperatorModel:
    """The operator model of `core` that these networks ask for."""
    code, layer_code = _flash(samples)
    return OperatorModel(
        core=core,
        instructions=_instructions(samples),
        code=code,
        layer_code=layer_code,
        stack=_stack(samples),
    )


def errors(model: OperatorModel, samples: Sequence[Sample]) -> Errors:
    """How far the model is off on these networks; those with a kernel that it was not fitted to cannot be judged.

    Raises InvalidInput where fewer than two are left.
    """
    judged = [sample for sample in samples if all(work.kernel in model.instructions for work in sample.works)]
    if len(judged) < 2:
        allowed = "more networks: almost every held-out one has a kernel that none of those has"
        raise InvalidInput("networks", len(samples) - len(judged), allowed)
    rows = [(predict(sample.graph, model, nonzeros=sample.nonzeros), sample.measured) for sample in judged]
    relative = np.array([abs(p.instructions / m.instructions - 1) for p, m in rows])
    flash = np.array([abs(p.flash / m.flash - 1) for p, m in rows])
    ram = np.array([abs(p.ram / m.ram - 1) for p, m in rows])
    tau = kendalltau([p.instructions for p, _ in rows], [m.instructions for _, m in rows]).statistic
    return Errors(
        float(relative.mean()), float(relative.max()), float(flash.mean()), float(ram.mean()), float(tau)
    )


def _instructions(samples: Sequence[Sample]) -> dict[str, dict[str, float]]:
    """Per kernel, from its layers. A layer's weight is how much it matters in its own network."""
    rows: dict[str, list[tuple[Mapping[str, float], float, float]]] = defaultdict(list)
    for sample in samples:
        for work in sample.works:
            taken = sample.measured.per_layer[work.layer]
            rows[work.kernel].append((work.features, taken, taken + 0.02 * sample.measured.instructions))
    return {kernel: _solve([(f, y, w) for f, y, w in found]) for kernel, found in sorted(rows.items())}


def _solve(rows: Sequence[tuple[Mapping[str, float], float, float]]) -> dict[str, float]:
    names = list(dict.fromkeys(name for features, _, _ in rows for name in features))
    scales = np.array([w for _, _, w in rows])
    matrix = np.array([[f.get(name, 0.0) for name in names] for f, _, _ in rows]) / scales[:, None]
    target = np.array([y for _, y, _ in rows]) / scales
    norms = np.maximum(np.linalg.norm(matrix, axis=0), 1e-12)
    solution, _ = nnls(matrix / norms, target)
    return {
        name: float(f"{value:.6g}") for name, value in zip(names, solution / norms, strict=True) if value > 0
    }


def _flash(samples: Sequence[Sample]) -> tuple[dict[str, float], dict[str, float]]:
    """(bytes once per kernel, bytes per layer), after the constants, which are known."""
    kernels = sorted(
        {name for sample in samples for work in sample.works for name in (work.kernel, work.encoding)}
    )
    rows = []
    for sample in samples:
        used = [name for work in sample.works for name in (work.kernel, work.encoding)]
        features = {"base": 1.0}
        features |= {f"code {k}": float(k in used) for k in kernels}
        features |= {f"layer {k}": float(used.count(k)) for k in kernels}
        rows.append((features, float(sample.measured.flash - sample.constants), float(sample.measured.flash)))
    found = _solve(rows)
    code = {name.removeprefix("code "): v for name, v in found.items() if not name.startswith("layer ")}
    layers = {name.removeprefix("layer "): v for name, v in found.items() if name.startswith("layer ")}
    return code, layers


def _stack(samples: Sequence[Sample]) -> dict[str, float]:
    """A network needs the stack of its deepest layer: so a kind of layer needs at most the least of the networks that have it.

    `base` is what is usually missing then: the compiler saves more or fewer registers in network_run.
    """
    least: dict[str, float] = {}
    for sample in samples:
        for work in sample.works:
            least[work.calls] = min(least.get(work.calls, np.inf), float(sample.measured.stack))
    missing = [s.measured.stack - max(least[work.calls] for work in s.works) for s in samples]
    return {"base": float(np.median(missing)), **dict(sorted(least.items()))}
