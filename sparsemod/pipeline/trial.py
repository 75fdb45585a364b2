"""One trial, one pipeline: build -> screen -> inherit -> train -> prune -> quantize -> measure. Nothing else evaluates candidates.

The service's workers, `sparsemod run`, `sparsemod test` and the benchmarks all come through `evaluate`.
"""

import hashlib
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from sparsemod.data import Dataset, Split
from sparsemod.delivery.described import described
from sparsemod.errors import BuildError, InvalidInput, Unsupported
from sparsemod.morphisms import inherit
from sparsemod.pipeline.deployment import encoded
from sparsemod.pipeline.environment import environment_failure
from sparsemod.pipeline.on_device import linked_size, measure_on_device
from sparsemod.pipeline.problem import Problem
from sparsemod.pipeline.screening import build, measured_costs, planned_costs
from sparsemod.pruning import METHODS
from sparsemod.quantization import IntegerNetwork, Quantized, quantize
from sparsemod.records import (
    Artifact,
    Candidate,
    CurvePoint,
    Failure,
    FailureKind,
    Measurement,
    TrialResult,
    TrialState,
    Value,
)
from sparsemod.registry import told
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.stage_errors import is_out_of_memory, stage_errors
from sparsemod.training import Resident, TrainingOutcome, train
from sparsemod.training.metrics import METRICS
from sparsemod.units import over_budget

Mode = Literal["search", "test"]

_SURE = frozenset({"build", "screen", "prune", "quantize", "measure"})
"""Stages that compute the same each time: what fails in them would fail again."""


class Reporter(Protocol):
    """Whom a running trial tells what it does, and whom it asks whether to go on."""

    def stage(self, name: str) -> None:
        """The pipeline enters a stage."""

    def point(self, point: CurvePoint) -> None:
        """An epoch is over."""

    def log(self, message: str, level: str = "info") -> None:
        """Something worth knowing."""

    def checkpoint(self, data: bytes) -> None:
        """The state of training, from which `evaluate(..., resume=data)` goes on."""

    def should_stop(self) -> bool:
        """Whether to end early; asked between epochs."""
        ...


class Silent:
    """A reporter that nobody listens to."""

    def stage(self, name: str) -> None:
        """See Reporter."""

    def point(self, point: CurvePoint) -> None:
        """See Reporter."""

    def log(self, message: str, level: str = "info") -> None:
        """See Reporter."""

    def checkpoint(self, data: bytes) -> None:
        """See Reporter."""

    def should_stop(self) -> bool:
        """Never."""
        return False


@dataclass(frozen=True)
class ParentWeights:
    """A finished trial to inherit from: its parameters, its `weights` artifact (safetensors), the epochs of training in it."""

    parameters: Mapping[str, Value]
    state: bytes
    epochs: float


def evaluate(
    spec: ExperimentSpec,
    candidate: Candidate,
    *,
    epochs: int,
    seed: int,
    data: Dataset,
    device: str = "cpu",
    parent: ParentWeights | None = None,
    reporter: Reporter | None = None,
    workdir: Path | None = None,
    resume: bytes | None = None,
    mode: Mode = "search",
    imports: bool = False,
) -> TrialResult:
    """Send one candidate through the pipeline.

    `epochs` and `seed` are the trial's own; `data` the loaded dataset of `spec`; `device` a torch device. With `parent`, training starts
    from inherited weights. `workdir` receives the artifacts' files (`weights.safetensors`, `network.npz`), named in the result; without it
    none are written. `resume` continues a checkpoint given to `reporter` by the same trial. In mode "test" the finished network is measured on the
    test split too, in a measurement of its own; nothing is ever chosen by it. With `imports`, the family may be `module:attribute`.

    The result is completed; infeasible (a budget is broken by the costs known before training); failed as invalid (cannot be built, captured
    or quantized, cannot be trained with these settings, or training diverged before any usable epoch); failed as fault (training or loading
    weights raised something else, or memory ran out); or stopped. Equal arguments give equal results on the CPU, but for `seconds`.
    Raises InvalidCandidate, InvalidSpec and InvalidInput for what should never have been queued, EnvironmentFailure for what the machine
    lacks: that says nothing about the candidate. Whatever else its code raises is in the result, with type, stage and place.
    """
    problem = Problem.of(spec, data.info, imports=imports)
    trial = _Trial(problem, problem.candidate(candidate), epochs, seed, data, device, reporter or Silent())
    try:
        return trial.run(parent, resume, workdir, mode)
    except (Exception, SystemExit) as error:
        lacking = environment_failure(error)
        if lacking is not None:
            raise lacking from error
        return trial.broken(error)


class _Trial:
    """One call of `evaluate`."""

    def __init__(
        self,
        problem: Problem,
        candidate: Candidate,
        epochs: int,
        seed: int,
        data: Dataset,
        device: str,
        reporter: Reporter,
    ) -> None:
        self.problem, self.values, self.epochs, self.seed = problem, candidate.parameters, epochs, seed
        self.data, self.device, self.reporter = data, device, reporter
        self.metric = METRICS.create(problem.spec.training.metric)
        self.seconds: dict[str, float] = {}
        self.notes: list[str] = []
        self.curve: Sequence[CurvePoint] = ()
        self.inherited_epochs = 0.0
        self.artifacts: list[Artifact] = []
        self.planned: dict[str, Measurement] = {}
        self.at = "build"

    def run(
        self, parent: ParentWeights | None, resume: bytes | None, workdir: Path | None, mode: Mode
    ) -> TrialResult:
        """The pipeline."""
        with self.stage("build"):
            module = build(self.problem, self.values, self.seed)
        with self.stage("screen"):
            planned = self.planned = planned_costs(self.problem, self.values, module)
            over = self.problem.objectives.over_budget({name: m.value for name, m in planned.items()})
        if over:
            self.notes += [over_budget(name, excess) for name, excess in over.items()]
            return self.result(TrialState.INFEASIBLE, planned.values())
        if parent is not None:
            with self.stage("inherit"):
                self.inherit(module, parent)
        with self.stage("train"):
            outcome = self.train(module, resume)
        if outcome.stopped:
            return self.result(TrialState.STOPPED)
        if outcome.best_epoch is None:
            message = f"training diverged in epoch {outcome.diverged}: no epoch with usable weights"
            return self.failed(message, planned.values())
        with self.stage("prune"):
            self.keep(workdir, "weights", "weights.safetensors", lambda: save_tensors(_plain_state(module)))
            deployable = self.shrunk(module.to("cpu"))
        with self.stage("quantize"):
            network = self.quantize(deployable)
            self.keep(workdir, "network", "network.npz", network.to_bytes)
        with self.stage("measure"):
            measurements = self.measure(deployable, network, planned)
            if mode == "test":
                measurements.append(self.error(network, self.data.test_split()))
        for note in self.notes:
            self.reporter.log(note)
        return self.result(TrialState.COMPLETED, measurements)

    def inherit(self, module: nn.Module, parent: ParentWeights) -> None:
        """Load what `parent` has learned into `module`."""
        inheritance = inherit(
            self.problem.family,
            self.problem.architecture(self.problem.space.fill(parent.parameters)),
            load_tensors(parent.state),
            self.problem.architecture(self.values),
            module,
            self.problem.info,
        )
        module.load_state_dict(inheritance.state_dict)
        self.inherited_epochs = parent.epochs
        kept = "kept" if inheritance.preserved else "not kept"
        self.notes += [f"inherited weights, function {kept}", *inheritance.notes]

    def train(self, module: nn.Module, resume: bytes | None) -> TrainingOutcome:
        """Train, pruning on the way; `module` then holds the best weights at full sparsity."""
        if resume is not None:
            start = _plain_state(module)
            try:
                return self.epochs_of(module, resume)
            except InvalidInput as error:
                if not error.field.startswith("resume"):
                    raise
                # The checkpoint only saves time: without it the trial begins anew, instead of failing at every attempt.
                self.notes.append(f"began anew, the checkpoint cannot be continued: {error}")
                self.reporter.log(self.notes[-1], "warning")
                module.load_state_dict(start)
        return self.epochs_of(module, None)

    def epochs_of(self, module: nn.Module, resume: bytes | None) -> TrainingOutcome:
        """The training itself."""
        self.method = METHODS.create(self.problem.pruning(self.values))
        outcome = train(
            module,
            Resident.of(self.data, self.device),
            self.problem.training(self.values),
            epochs=self.epochs,
            seed=self.seed,
            device=self.device,
            pruner=self.method,
            on_epoch=self.reporter.point,
            should_stop=self.reporter.should_stop,
            resume=resume,
            on_checkpoint=self.reporter.checkpoint,
        )
        self.curve = outcome.curve
        if outcome.diverged is not None:
            self.notes.append(
                f"training diverged in epoch {outcome.diverged}; the best weights before are kept"
            )
        return outcome

    def shrunk(self, module: nn.Module) -> nn.Module:
        """The network to deploy: physically smaller, where the pruning method shrinks networks."""
        with stage_errors("pruning"):
            return self.method.transform(module, self.data.info.shape, self.data.info.layout)

    def quantize(self, module: nn.Module) -> Quantized:
        """The network whose accuracy counts, calibrated on training samples."""
        spec = self.problem.spec.quantization
        x, _ = self.data.train.tensors()
        chosen = np.random.default_rng(self.seed).permutation(len(x))[: spec.calibration_samples]
        try:
            samples = x[torch.from_numpy(np.sort(chosen))]
            network = quantize(module, samples, spec, self.data.info.layout)
            if isinstance(network, IntegerNetwork):
                network = encoded(described(network, self.data), module, self.problem)
            return network
        except InvalidInput as error:
            # Of this network's own weights, such as sums that 32 bits cannot hold: nothing that a spec could be blamed for.
            raise BuildError(f"the trained network cannot be quantized: {error}") from error

    def measure(
        self, module: nn.Module, network: Quantized, planned: Mapping[str, Measurement]
    ) -> list[Measurement]:
        """Everything about the finished network; the error is the integer network's on validation data."""
        found = measured_costs(self.problem, module, network)
        found["model_size"] = linked_size(network, found["model_size"])
        measured, notes = measure_on_device(self.problem, network, found)
        found |= measured
        self.notes += notes
        x, y = self.data.validation.tensors()
        with torch.inference_mode():
            # Torch's default memory format: a module of the user's may ask for it by `view`.
            plain = x.clone(memory_format=torch.contiguous_format)
            score = self.metric.score(module.eval()(plain).numpy(), y.numpy())
        floating = Measurement(
            metric="float_error", value=score.value, unit="fraction", method=f"float network before quantization on {len(y)} samples",
            target="host", split="validation", standard_error=score.standard_error,
        )  # fmt: skip
        for name in self.problem.spec.objectives:
            if name in planned and found[name].value != planned[name].value:
                self.notes.append(
                    f"{name}: planned {planned[name].value:g}, measured {found[name].value:g} {found[name].unit}"
                )
        values = {name: measurement.value for name, measurement in found.items()}
        for name, excess in self.problem.objectives.over_budget(values).items():
            self.notes.append(
                f"{over_budget(name, excess)}: measured so; before training it was planned within it"
            )
        return [self.error(network, self.data.validation), floating, *found.values()]

    def error(self, network: Quantized, split: Split) -> Measurement:
        """The spec's metric of the network on a split."""
        score = self.metric.score(network.logits(split.x), split.y)
        name = self.problem.spec.training.metric.name
        return Measurement(
            metric="error",
            value=score.value,
            unit="fraction",
            method=f"{'' if name == 'error' else f'{name} of the '}{network.title} on {len(split)} samples",
            target="host",
            split="test" if split.name == "test" else "validation",
            standard_error=score.standard_error,
        )

    def keep(self, workdir: Path | None, kind: str, name: str, content: Callable[[], bytes]) -> None:
        """Write an artifact, when there is a place for it."""
        if workdir is None:
            return
        data = content()
        (workdir / name).write_bytes(data)
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        self.artifacts.append(Artifact(kind=kind, digest=digest, size=len(data), name=name))

    def failed(self, message: str, measurements: Iterable[Measurement] = (), detail: str = "") -> TrialResult:
        """A failure that no retry would mend; what was measured before it stays known."""
        failure = Failure(kind=FailureKind.INVALID, message=message, detail=detail)
        return self.result(TrialState.FAILED, measurements, failure)

    def broken(self, error: BaseException) -> TrialResult:
        """The failure that an exception of a stage is. `detail` holds its traceback; costs stay known once it was trained."""
        known = tuple(self.planned.values()) if self.curve else ()
        trace = "".join(traceback.format_exception(error))
        if isinstance(error, BuildError | Unsupported | InvalidInput):
            message = str(error)
        else:
            message = f"{self.at}: {told(error)}"
        self.reporter.log(message, "error")
        self.artifacts.clear()
        plain = isinstance(error, BuildError | Unsupported | InvalidInput) or self.at in _SURE
        if plain and not is_out_of_memory(error):
            return self.failed(message, known, trace)
        return self.result(
            TrialState.FAILED, known, Failure(kind=FailureKind.FAULT, message=message, detail=trace)
        )

    def result(
        self, state: TrialState, measurements: Iterable[Measurement] = (), failure: Failure | None = None
    ) -> TrialResult:
        """What was found."""
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
    def stage(self, name: str) -> Iterator[None]:
        """Announce and time a stage."""
        self.at = name
        self.reporter.stage(name)
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = time.perf_counter() - started
            self.reporter.log(f"{name}: {self.seconds[name]:.2f} s")


def _plain_state(module: nn.Module) -> dict[str, torch.Tensor]:
    return {
        name: tensor.detach().to("cpu").contiguous().clone() for name, tensor in module.state_dict().items()
    }
