"""State of a running trial that its stages share."""

import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from sparsemod.data import Dataset
from sparsemod.errors import BuildError, InvalidInput, Unsupported
from sparsemod.files import digest_of
from sparsemod.pipeline.problem import Problem
from sparsemod.pipeline.reporter import ParentWeights, Reporter
from sparsemod.pruning import METHODS
from sparsemod.pruning.base import Method
from sparsemod.quantization import Quantized
from sparsemod.records import (
    Artifact,
    CurvePoint,
    Failure,
    FailureKind,
    Measurement,
    TrialResult,
    TrialState,
    Value,
)
from sparsemod.registry import summarize_error
from sparsemod.sources.base import CandidateTraining
from sparsemod.stage_errors import is_out_of_memory
from sparsemod.stages.base import Stage
from sparsemod.units import ANGLE

Mode = Literal["search", "test", "final"]


@dataclass
class Work:
    """One call of `sparsemod.pipeline.trial.evaluate`, which documents the arguments.

    `module` is the network after the stages so far. `integer` is the network whose accuracy counts.
    `planned` maps metrics to the costs known before training. `shared` lets stages pass values to later
    stages, under names of their choice. `special`: how its training differs from the spec's.
    """

    problem: Problem
    values: Mapping[str, Value]
    epochs: int
    seed: int
    data: Dataset
    device: str
    reporter: Reporter
    parent: ParentWeights | None = None
    resume: bytes | None = None
    workdir: Path | None = None
    mode: Mode = "search"
    special: CandidateTraining = field(default_factory=CandidateTraining)

    module: nn.Module | None = None
    integer: Quantized | None = None
    method: Method[Any] | None = None
    planned: dict[str, Measurement] = field(default_factory=dict)
    measurements: list[Measurement] = field(default_factory=list)
    curve: Sequence[CurvePoint] = ()
    trainings: int = 0
    inherited_epochs: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    artifacts: list[Artifact] = field(default_factory=list)
    shared: dict[str, Any] = field(default_factory=dict)
    at: Stage | None = None

    def run(self, stages: Sequence[Stage]) -> TrialResult | None:
        """Run the stages in order; return the result of the stage that ends the trial, else None."""
        for stage in stages:
            if stage.applies(self):
                with self._entered(stage):
                    ended = stage.run(self)
                if ended is not None:
                    return ended.model_copy(
                        update={"seconds": dict(self.seconds)}
                    )  # with those of this stage
        return None

    def network(self) -> nn.Module:
        """Return the module. Raises RuntimeError before it is built; valid pipelines exclude that."""
        if self.module is None:
            raise RuntimeError("no stage has built a network")
        return self.module

    def finished(self) -> Quantized:
        """Return the network whose accuracy counts. Raises RuntimeError before it exists, see `network`."""
        if self.integer is None:
            raise RuntimeError("no stage has created the integer network")
        return self.integer

    def pruning(self, *, new: bool = False) -> Method[Any]:
        """Return the spec's pruning method with the candidate's values.

        It is the object of the last training, or with `new` a fresh one for the next training.
        """
        if new or self.method is None:
            self.method = METHODS.create(self.problem.pruning(self.values))
        return self.method

    def keep(self, kind: str, name: str, content: Callable[[], bytes]) -> None:
        """Write an artifact if the trial has a working directory, replacing one of the same name."""
        if self.workdir is None:
            return
        data = content()
        (self.workdir / name).write_bytes(data)
        digest = digest_of(data)
        self.artifacts = [artifact for artifact in self.artifacts if artifact.name != name]
        self.artifacts.append(Artifact(kind=kind, digest=digest, size=len(data), name=name))

    def failed(
        self,
        message: str,
        measurements: Iterable[Measurement] = (),
        detail: str = "",
        kind: FailureKind = FailureKind.INVALID,
    ) -> TrialResult:
        """Return a failed result, by default one that no retry can fix; it keeps `measurements`."""
        failure = Failure(kind=kind, message=message, detail=detail)
        return self.result(TrialState.FAILED, measurements, failure)

    def failed_by(self, error: BaseException) -> TrialResult:
        """Return the failed result for an exception of a stage.

        `detail` holds the traceback. After training the result keeps the costs.
        """
        planned = tuple(self.planned.values()) if self.curve else ()
        trace = "".join(traceback.format_exception(error))
        expected = isinstance(error, BuildError | Unsupported | InvalidInput)
        message = (
            str(error) if expected else f"{self.at.name if self.at else 'pipeline'}: {summarize_error(error)}"
        )
        self.reporter.log(message, "error")
        self.artifacts.clear()
        certain = expected or (self.at is not None and self.at.certain)
        lasting = certain and not is_out_of_memory(error)
        return self.failed(message, planned, trace, FailureKind.INVALID if lasting else FailureKind.FAULT)

    def result(
        self, state: TrialState, measurements: Iterable[Measurement] = (), failure: Failure | None = None
    ) -> TrialResult:
        """Return the trial's result in its current form; that of a completed trial has the angle of its last epoch."""
        tracked = angle_measurement(self.curve) if state is TrialState.COMPLETED else ()
        return TrialResult(
            state=state,
            measurements=(*measurements, *tracked),
            curve=tuple(self.curve),
            seconds=self.seconds,
            notes=tuple(self.notes),
            failure=failure,
            artifacts=tuple(self.artifacts),
            epochs=self.inherited_epochs + len(self.curve),
        )

    @contextmanager
    def _entered(self, stage: Stage) -> Iterator[None]:
        """Report a stage and add its duration to the stage's seconds."""
        around = self.at
        self.at = stage
        self.reporter.stage(stage.name)
        started = time.perf_counter()
        try:
            yield
            self.at = around  # after an exception it stays at the stage that raised it
        finally:
            seconds = time.perf_counter() - started
            self.seconds[stage.name] = self.seconds.get(stage.name, 0.0) + seconds
            self.reporter.log(f"{stage.name}: {seconds:.2f} s")


def angle_measurement(curve: Sequence[CurvePoint]) -> tuple[Measurement, ...]:
    """Return the angle to the true gradient in the last epoch as a measurement, nothing where the rule measures none."""
    measured = [point for point in curve if point.angle is not None]
    return tuple(
        Measurement(
            metric=ANGLE, value=degrees, unit="degrees", target="host", split="train",
            method=f"angle between the rule's gradient and that of backpropagation, first batch of epoch {point.epoch}",
        )
        for point in measured[-1:] if (degrees := point.angle) is not None
    )  # fmt: skip


def windows(problem: Problem, data: Dataset, values: Mapping[str, Value]) -> Dataset:
    """Return the data of a candidate: with a splitter, its windows of the sequences."""
    splitter = problem.splitter(values)
    return data if splitter is None else data.windowed(splitter)


def plain_state(module: nn.Module) -> dict[str, torch.Tensor]:
    """Return a copy of a module's tensors on the CPU."""
    return plain_tensors(module.state_dict())


def plain_tensors(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return a copy of tensors on the CPU."""
    return {name: tensor.detach().to("cpu").contiguous().clone() for name, tensor in state.items()}
