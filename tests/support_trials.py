"""Tiny experiments that several tests run: digits, networks of a few hundred weights, one or two epochs."""

from typing import Any

from sparsemod.data import Dataset, load
from sparsemod.pipeline.problem import Problem
from sparsemod.records import Candidate, Value
from sparsemod.spec.experiment import ExperimentSpec

MLP_SPACE: dict[str, Any] = {"learning_rate": {"low": 1e-3, "high": 3e-2, "log": True}}


def tiny_spec(family: str = "mlp", **changes: Any) -> ExperimentSpec:
    """Digits, six trials of one epoch; `changes` replace parts of the spec."""
    return ExperimentSpec.parse(
        {
            "name": f"tiny-{family}",
            "dataset": {"name": "digits", "limit": 600},
            "network": {"family": family, "options": {"max_filters": 8} if family == "cnn" else {}},
            "rounds": {"r1": {"trials": 3, "epochs": 1}, "r2": {"trials": 2, "epochs": 1}, "r3": {"trials": 2, "epochs": 1}},
            "space": MLP_SPACE,
            "training": {"batch_size": 64},
            "measure": {"device": "model"},
            **changes,
        }
    )  # fmt: skip


def tiny_data(spec: ExperimentSpec) -> Dataset:
    """The spec's dataset (cached in the process)."""
    return load(spec.dataset, targets=spec.task.targets)


def manual(parameters: dict[str, Value], **changes: Any) -> Candidate:
    """A candidate of the user's own."""
    return Candidate(parameters=parameters, origin="manual", round="manual", **changes)


def default_candidate(spec: ExperimentSpec, **changes: Value) -> Candidate:
    """The candidate in the middle of the spec's space."""
    space = Problem.of(spec, tiny_data(spec).info).space
    return manual(space.validate(space.complete(changes)))
