"""Shared by the suggester's tests: a store, a search with quick costs, and a worker with instant results."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from support_specs import small_spec

from service.schemas.workers import Claim
from service.store import Store
from sparsemod.pipeline.proposals import Proposer
from sparsemod.records import DataInfo, Measurement, TrialResult, TrialState, Value
from sparsemod.search.strategy import Search
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.units import METRICS


def open_store(folder: Path, clock: Any = None) -> Store:
    """A new SQLite store."""
    url = f"sqlite:///{folder / 'test.db'}"
    return Store.open(url, clock=clock) if clock is not None else Store.open(url)


def make_spec(**changes: Any) -> ExperimentSpec:
    """A small search over dense networks: two objectives, three rounds."""
    defaults: dict[str, Any] = {"network": {"family": "mlp", "options": {"max_width": 64}}}
    return small_spec("suggester test", (4, 3, 0), (2, 2, 1), **{**defaults, **changes})


def costs(values: Mapping[str, Value]) -> dict[str, float]:
    """Bytes of a dense network: no torch needed."""
    widths = [64, *(int(values[name]) for name in values if name.endswith("_width")), 10]
    size = sum(a * b + 4 * b for a, b in pairwise(widths))
    return {
        "model_size": float(size),
        "working_memory": float(max(widths)),
        "latency": size / 1e4,
        "macs": float(size),
    }


def measured(values: Mapping[str, Value]) -> dict[str, Measurement]:
    """`costs` as measurements."""
    return {
        name: Measurement(metric=name, value=value, unit=METRICS[name].unit, method="by hand")
        for name, value in costs(values).items()
    }


def quick_search(spec: ExperimentSpec) -> Proposer:
    """The real search on the real space with `costs`."""
    from sparsemod.pipeline.problem import Problem

    problem = Problem.of(spec, DataInfo(name="digits", shape=(1, 8, 8), classes=10))
    return Proposer(Search(spec, problem.space, costs), measured)


def work(store: Store, count: int = 1_000_000) -> int:
    """Claim and complete up to `count` trials; return their number."""
    done = 0
    while done < count and (claim := store.claim("w")) is not None:
        complete(store, claim)
        done += 1
    return done


def complete(store: Store, claim: Claim) -> None:
    """Report a claimed trial's result."""
    found = costs(claim.candidate.parameters)
    error = 0.05 + 200.0 / found["model_size"]
    measured = (
        Measurement(
            metric="error", value=min(0.9, error), unit="fraction", method="test", split="validation"
        ),
        Measurement(metric="model_size", value=found["model_size"], unit="B", method="test"),
    )
    result = TrialResult(state=TrialState.COMPLETED, measurements=measured, epochs=claim.epochs)
    store.finish(claim.attempt, claim.token, result)
