"""Shared by the tests of store and server: both databases, a clock that is set by hand, specs, results."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from support_specs import small

from service.store import Store
from sparsemod.records import (
    Artifact,
    Candidate,
    CurvePoint,
    Failure,
    FailureKind,
    Measurement,
    TrialResult,
    TrialState,
)
from sparsemod.sources import observation
from sparsemod.spec.experiment import ExperimentSpec

SPEC = small("store test", (4, 4, 2), (2, 3, 1), budgets={"model_size": 1000.0})


def spec(**changes: Any) -> ExperimentSpec:
    return ExperimentSpec.parse({**SPEC, **changes})


@dataclass
class Clock:
    """A clock that stands still until the test moves it."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@dataclass(frozen=True)
class Suggestion(observation.Suggestion):
    """One of a candidate source, two epochs long, with measurements of its costs as the screening makes them."""

    epochs: int = 2
    costs: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        made = tuple(
            Measurement(metric=m, value=v, unit="B", method="analytic") for m, v in self.costs.items()
        )
        object.__setattr__(self, "measurements", self.measurements or made)


def suggestions(count: int, **fields: Any) -> list[Suggestion]:
    return [
        Suggestion(
            Candidate(parameters={"width": i}, origin="sobol", round="r1"),
            costs={"model_size": 10.0 * i},
            **fields,
        )
        for i in range(count)
    ]


def fill(
    store: Store, experiment: int, items: int | Sequence[Suggestion] = 1, holder: str = "test"
) -> list[int]:
    lease = store.lease_suggester(experiment, holder)
    assert lease is not None
    return store.queue(lease, suggestions(items) if isinstance(items, int) else items)


def completed(error: float = 0.25, size: float = 500.0, **fields: Any) -> TrialResult:
    return TrialResult(
        state=TrialState.COMPLETED,
        measurements=(
            Measurement(metric="error", value=error, unit="fraction", method="integer network", split="validation", standard_error=0.01),
            Measurement(metric="model_size", value=size, unit="B", method="analytic", target="stm32f446", detail={"weights": 3}),
        ),
        epochs=2.0,
        **fields,
    )  # fmt: skip


def finish(store: Store, result: TrialResult | None = None) -> int:
    """Claim the next trial, store its result, and return its index."""
    claim = store.claim("w")
    assert claim is not None
    store.finish(claim.attempt, claim.token, result or completed())
    return claim.trial


def fault(message: str = "worker burnt", detail: str = "") -> TrialResult:
    failure = Failure(kind=FailureKind.FAULT, message=message, detail=detail)
    return TrialResult(state=TrialState.FAILED, failure=failure)


def point(epoch: int, loss: float = 1.0) -> CurvePoint:
    return CurvePoint(
        epoch=epoch,
        train_loss=loss,
        validation_loss=loss,
        validation_error=0.5,
        learning_rate=0.1,
        seconds=float(epoch),
    )


def stored_artifact(
    store: Store, content: bytes, kind: str = "weights", name: str = "weights.safetensors"
) -> Artifact:
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    store.add_artifact(digest, len(content))
    return Artifact(kind=kind, digest=digest, size=len(content), name=name)
