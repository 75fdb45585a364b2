"""A trial under way: what its stages share."""

import hashlib
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
from sparsemod.registry import told
from sparsemod.stage_errors import is_out_of_memory
from sparsemod.stages.base import Stage

Mode = Literal["search", "test"]


@dataclass
class Work:
    """One call of `sparsemod.pipeline.trial.evaluate`; see there for its arguments.

    `module` is the network as the stages have made it so far, `integer` the one whose accuracy counts. `planned`: metric -> cost known before
    training. `kept` is for stages that leave something for later ones, under names of their own.
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
    kept: dict[str, Any] = field(default_factory=dict)
    at: Stage | None = None

    def run(self, stages: Sequence[Stage]) -> TrialResult | None:
        """Stage after stage; the result of the one that ends the trial, None when all are through."""
        for stage in stages:
            if stage.applies(self):
                with self._entered(stage):
                    ended = stage.run(self)
                if ended is not None:
                    return ended
        return None

    def network(self) -> nn.Module:
        """The module. Raises RuntimeError before there is one: the composition of the stages rules that out."""
        if self.module is None:
            raise RuntimeError("no stage has built a network")
        return self.module

    def finished(self) -> Quantized:
        """The network whose accuracy counts. Raises RuntimeError before there is one, see `network`."""
        if self.integer is None:
            raise RuntimeError("no stage has made the integer network")
        return self.integer

    def pruning(self, *, new: bool = False) -> Method[Any]:
        """The spec's pruning method with the candidate's own values: the object of the last training, or a `new` one for the next."""
        if new or self.method is None:
            self.method = METHODS.create(self.problem.pruning(self.values))
        return self.method

    def keep(self, kind: str, name: str, content: Callable[[], bytes]) -> None:
        """Write an artifact, when there is a place for it; one of the same name is replaced."""
        if self.workdir is None:
            return
        data = content()
        (self.workdir / name).write_bytes(data)
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        self.artifacts = [artifact for artifact in self.artifacts if artifact.name != name]
        self.artifacts.append(Artifact(kind=kind, digest=digest, size=len(data), name=name))

    def failed(
        self,
        message: str,
        measurements: Iterable[Measurement] = (),
        detail: str = "",
        kind: FailureKind = FailureKind.INVALID,
    ) -> TrialResult:
        """A failure, by default one that no retry would mend; what was measured before it stays known."""
        failure = Failure(kind=kind, message=message, detail=detail)
        return self.result(TrialState.FAILED, measurements, failure)

    def broken(self, error: BaseException) -> TrialResult:
        """The failure that an exception of a stage is. `detail` holds its traceback; costs stay known once it was trained."""
        known = tuple(self.planned.values()) if self.curve else ()
        trace = "".join(traceback.format_exception(error))
        ours = isinstance(error, BuildError | Unsupported | InvalidInput)
        message = str(error) if ours else f"{self.at.name if self.at else 'pipeline'}: {told(error)}"
        self.reporter.log(message, "error")
        self.artifacts.clear()
        certain = ours or (self.at is not None and self.at.certain)
        lasting = certain and not is_out_of_memory(error)
        return self.failed(message, known, trace, FailureKind.INVALID if lasting else FailureKind.FAULT)

    def result(
        self, state: TrialState, measurements: Iterable[Measurement] = (), failure: Failure | None = None
    ) -> TrialResult:
        """The trial's result as it is now."""
        return TrialResult(
            state=state,
            measurements=tuple(measurements),
            curve=tuple(self.curve),
            seconds=self.seconds,
            notes=tuple(self.notes),
            failure=failure,
            artifacts=tuple(self.artifacts),
            epochs=self.inherited_epochs + len(self.curve),
        )

    @contextmanager
    def _entered(self, stage: Stage) -> Iterator[None]:
        """Announce and time a stage; a repeated one adds to its seconds."""
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


def plain_state(module: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of a module's tensors on the CPU."""
    return {
        name: tensor.detach().to("cpu").contiguous().clone() for name, tensor in module.state_dict().items()
    }
