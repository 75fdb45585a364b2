"""Fit a core's coefficients to measured layers and networks by nonnegative least squares."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.stats import kendalltau

from sparsemod.calibration.samples import Sample
from sparsemod.errors import InvalidInput
from sparsemod.kinds.families import FAMILIES
from sparsemod.measure.predicted import predict
from sparsemod.targets import OperatorModel, SharedFunction

Array = NDArray[Any]

_GENERATED = tuple(f"nn_{family}_" for family in FAMILIES)
_SEEN = 3  # networks in which a part alone explains a function, before it counts as a caller
_VERSION = re.compile(r"^(nn_.+)_[0-9a-f]{8}$")
_RIDGE = 0.3  # keeps the bytes of parts that always occur together finite


@dataclass(frozen=True)
class Errors:
    """Mean relative errors of instructions (and the worst), flash and RAM; Kendall's tau of instructions."""

    instructions: float
    worst: float
    flash: float
    ram: float
    tau: float


def fit(core: str, samples: Sequence[Sample]) -> OperatorModel:
    """Fit the operator model of `core` to these networks."""
    functions = _functions(samples)
    code, layer_code = _flash(samples, functions)
    return OperatorModel(
        core=core,
        instructions=_instructions(samples),
        code=code,
        functions=functions,
        layer_code=layer_code,
        stack=_stack(samples),
    )


def errors(model: OperatorModel, samples: Sequence[Sample]) -> Errors:
    """Return the model's errors on these networks, without those that use a kernel missing in the fit.

    Raises InvalidInput when fewer than two networks remain.
    """
    judged = [sample for sample in samples if all(work.kernel in model.instructions for work in sample.works)]
    if len(judged) < 2:
        allowed = "more networks: almost every held-out network uses a kernel that no network of the fit has"
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
    """Fit kernel -> feature -> instructions from the layers of each kernel.

    Residuals are relative to the layer's instructions plus 2 % of its network's, so that small layers count
    less.
    """
    rows: dict[str, list[tuple[Mapping[str, float], float, float]]] = defaultdict(list)
    for sample in samples:
        for work in sample.works:
            count = sample.measured.per_layer[work.layer]
            rows[work.kernel].append((work.features, count, count + 0.02 * sample.measured.instructions))
    return {kernel: nonnegative(layers) for kernel, layers in sorted(rows.items())}


def nonnegative(rows: Sequence[tuple[Mapping[str, float], float, float]]) -> dict[str, float]:
    """Return feature -> positive coefficient for rows of (features, target, scale of the residual)."""
    names = list(dict.fromkeys(name for features, _, _ in rows for name in features))
    scales = np.array([w for _, _, w in rows])
    matrix = np.array([[f.get(name, 0.0) for name in names] for f, _, _ in rows]) / scales[:, None]
    target = np.array([y for _, y, _ in rows]) / scales
    norms = np.maximum(np.linalg.norm(matrix, axis=0), 1e-12)
    solution, _ = nnls(matrix / norms, target)
    return {
        name: float(f"{value:.6g}") for name, value in zip(names, solution / norms, strict=True) if value > 0
    }


def _functions(samples: Sequence[Sample]) -> dict[str, SharedFunction]:
    """Return the functions that some networks hold, with one size, and the parts of layers that never occur without them."""
    sizes: dict[str, set[int]] = defaultdict(set)
    present, parts = [], []
    for sample in samples:
        found = {_unversioned(name): size for name, size in sample.measured.functions.items()}
        for name, size in found.items():
            sizes[name].add(size)
        present.append(set(found))
        parts.append(
            {name for work in sample.works for name, count in work.parts.items() if count > 0} - {"none"}
        )
    functions = {}
    for name, bytes_ in sorted(sizes.items()):
        holders = [name in names for names in present]
        if len(bytes_) > 1 or all(holders) or name.startswith(_GENERATED):
            continue
        without: set[str] = set().union(
            *(each for each, holds in zip(parts, holders, strict=True) if not holds)
        )
        callers = _callers([each - without for each, holds in zip(parts, holders, strict=True) if holds])
        if callers:
            functions[name] = SharedFunction(bytes=bytes_.pop(), callers=callers)
    return functions


def _callers(holders: Sequence[set[str]]) -> list[str]:
    """Return few parts, of those in the networks that hold a function, that explain it in all networks that any of them can explain.

    Kernels come before parts of them: a rare part occurs beside the true caller by chance."""
    left = [parts for parts in holders if parts]
    found: list[str] = []
    while left:
        counts = Counter(part for parts in left for part in parts)
        best = max(counts, key=lambda part: (counts[part], " " not in part, part))
        if counts[best] < _SEEN:
            break
        found.append(best)
        left = [parts for parts in left if best not in parts]
    return sorted(found)


def _unversioned(symbol: str) -> str:
    """Return the name of a kernel's function without the version of the kernels."""
    return _VERSION.sub(r"\1", symbol)


def _flash(
    samples: Sequence[Sample], functions: Mapping[str, SharedFunction]
) -> tuple[dict[str, float], dict[str, float]]:
    """Fit (bytes once per kernel, bytes per layer and per part of its code) to the flash beyond the constants and the shared
    functions, whose sizes are known."""
    kernels = sorted(
        {name for sample in samples for work in sample.works for name in (work.kernel, work.encoding)}
    )
    rows = []
    for sample in samples:
        used = [name for work in sample.works for name in (work.kernel, work.encoding)]
        features = {"base": 1.0}
        features |= {f"code {k}": float(k in used) for k in kernels}
        features |= {f"layer {k}": float(used.count(k)) for k in kernels}
        rest = sample.measured.flash - sample.constants - sum(sample.own.values())
        parts = {name for work in sample.works for name, count in work.parts.items() if count > 0}
        rest -= sum(function.bytes for function in functions.values() if parts & set(function.callers))
        rows.append((features, float(rest), float(sample.measured.flash)))
    coefficients = nonnegative(rows)
    code = {
        name.removeprefix("code "): v for name, v in coefficients.items() if not name.startswith("layer ")
    }
    layers = {name.removeprefix("layer "): v for name, v in coefficients.items() if name.startswith("layer ")}
    return code, layers | _generated(samples)


def _generated(samples: Sequence[Sample]) -> dict[str, float]:
    """Return "kernel part" -> bytes of the code that is generated for shapes, fitted to the bytes of each layer's functions.

    A part may save bytes: the compiler drops or shares code."""
    rows: dict[str, list[tuple[Mapping[str, float], float]]] = defaultdict(list)
    for sample in samples:
        for work in sample.works:
            if sample.own.get(work.layer):
                rows[work.kernel].append((work.code, float(sample.own[work.layer])))
    found: dict[str, float] = {}
    for kernel, layers in sorted(rows.items()):
        names = list(dict.fromkeys(name for parts, _ in layers for name in parts))
        matrix = np.array([[parts.get(name, 0.0) for name in names] for parts, _ in layers])
        target = np.array([size for _, size in layers])
        ridge = _RIDGE * np.eye(len(names))
        solution = np.linalg.solve(matrix.T @ matrix + ridge, matrix.T @ target)
        found |= {
            f"{kernel} {name}": float(f"{value:.6g}") for name, value in zip(names, solution, strict=True)
        }
    return found


def _stack(samples: Sequence[Sample]) -> dict[str, float]:
    """Return kind of layer -> bytes of stack, and `base`.

    A network needs the stack of its deepest layer, so a kind of layer needs at most the smallest stack of all
    networks that contain it. `base` is the median of the remainder: the compiler saves a varying number of
    registers in network_run.
    """
    least: dict[str, float] = {}
    for sample in samples:
        for work in sample.works:
            least[work.calls] = min(least.get(work.calls, np.inf), float(sample.measured.stack))
    missing = [s.measured.stack - max(least[work.calls] for work in s.works) for s in samples]
    return {"base": float(np.median(missing)), **dict(sorted(least.items()))}
