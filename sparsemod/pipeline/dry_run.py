"""Dry run of a spec: every step of the pipeline on a few candidates and one batch.

It loads the data, resolves the family and draws candidates. It builds, captures, measures, prunes and
quantizes each, and trains it for one batch. The report lists the errors, how many draws meet the budgets,
and an estimate of the duration.
"""

import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from torch import Tensor

from sparsemod.data import Dataset, load
from sparsemod.data.arrays import looks_channels_last
from sparsemod.errors import BuildError, InvalidInput, SparsemodError, Unsupported
from sparsemod.morphisms import inherit
from sparsemod.networks.watched import WatchedFamily
from sparsemod.pipeline.problem import Problem
from sparsemod.pipeline.reporter import Silent
from sparsemod.pipeline.screening import Screen, build
from sparsemod.pipeline.work import Work, windows
from sparsemod.records import TrialState, Value
from sparsemod.registry import summarize_error
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.stopping import STOPPING
from sparsemod.training import augmentation
from sparsemod.units import METRICS

Level = Literal["ok", "warning", "error"]

_COUNTED = {"values": "values", "labels": "labels"}
"""What the data's `classes` count, by the task's targets."""

_REASONS = 10  # largest number of different reasons shown for failing draws


@dataclass(frozen=True)
class Finding:
    """Result of one check: its subject, whether it passed, and a sentence."""

    level: Level
    subject: str
    message: str


@dataclass(frozen=True)
class Tried:
    """A candidate that went through the pipeline.

    It holds the parameters, the costs (metric -> value), the error if a step failed, and the seconds of one
    epoch, estimated from one batch and one validation pass.
    """

    parameters: dict[str, Value]
    costs: dict[str, float] = field(default_factory=dict)
    epoch_seconds: float | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Report:
    """All findings, in the order of the pipeline, and the tried candidates."""

    findings: tuple[Finding, ...]
    tried: tuple[Tried, ...]

    @property
    def ok(self) -> bool:
        """Return whether there are no errors; warnings are allowed."""
        return all(finding.level != "error" for finding in self.findings)


def check(
    spec: ExperimentSpec,
    *,
    candidates: int = 3,
    draws: int = 40,
    imports: bool = True,
    located: Callable[[InvalidInput], InvalidInput] = lambda error: error,
) -> Report:
    """Send `candidates` networks of `spec` through the whole pipeline and screen `draws` candidates.

    A bad spec raises nothing: the report lists its errors. `located` may add the line of the spec file to
    an error, see `sparsemod.spec.files.SpecFile.located`.
    """
    dry = _DryRun(spec, candidates, draws, imports)
    try:
        dry.run()
    except InvalidInput as error:
        dry.add("error", dry.subject, str(located(error)))
    except SparsemodError as error:
        dry.add("error", dry.subject, str(error))
    return Report(tuple(dry.findings), tuple(dry.tried))


class _DryRun:
    def __init__(self, spec: ExperimentSpec, candidates: int, draws: int, imports: bool) -> None:
        self.spec, self.candidates, self.draws, self.imports = spec, candidates, draws, imports
        self.findings: list[Finding] = []
        self.tried: list[Tried] = []
        self.subject = "data"
        self.rng = np.random.default_rng(spec.seed)

    def add(self, level: Level, subject: str, message: str) -> None:
        self.findings.append(Finding(level, subject, message))

    def run(self) -> None:
        data = load(self.spec.dataset, targets=self.spec.task.targets, imports=self.imports)
        sizes = ", ".join(f"{count:,} {name}" for name, count in data.sizes.items())
        lengths = data.train.lengths
        steps = "" if lengths is None else f" (sequences of {lengths.min()} to {lengths.max()} steps)"
        self.add(
            "ok",
            "data",
            f"{data.info.name}: shape {data.info.shape}{steps}, {data.info.classes} {_COUNTED.get(self.spec.task.targets, 'classes')}; {sizes}",
        )
        self.data(data)
        if len(data.validation) < 100:
            self.add(
                "warning",
                "data",
                f"{len(data.validation)} validation samples measure an error to no better than {50 / len(data.validation) ** 0.5:.0f} %",
            )
        self.subject = "budgets"
        self.spec.all_budgets()
        self.subject = "training"
        augmentation.build(self.spec.training.augmentation, data.info.shape)
        self.stopping()
        self.subject = "space"
        problem = Problem.of(self.spec, data.info, imports=self.imports)
        free = [p.name for p in problem.space.free]
        self.add(
            "ok",
            "space",
            f"{len(problem.space.parameters)} parameters, {len(free)} of them searched: {', '.join(free)}",
        )
        family = WatchedFamily(problem.family)
        problem = replace(problem, family=family)
        self.screen(problem)
        self.subject = "trial"
        self.attempts(problem, data)
        self.unread(problem, family)
        failed = [attempt for attempt in self.tried if attempt.problem]
        for attempt in failed:
            self.add(
                "error" if len(failed) == len(self.tried) else "warning",
                "trial",
                f"{attempt.problem} with {attempt.parameters}",
            )
        if len(failed) < len(self.tried):
            self.add(
                "ok",
                "trial",
                f"{len(self.tried) - len(failed)} of {len(self.tried)} candidates went through the whole pipeline",
            )
        self.duration()

    def stopping(self) -> None:
        """Say which trainings the spec's stopping rule may end; warn of a rule that never decides."""
        rule = self.spec.stopping
        if rule is None:
            return
        keys = ", ".join(f"{k} {v:g}" for k, v in rule.model_dump(exclude={"name", "version"}).items())
        STOPPING.create(rule)
        longest = max((part.epochs for part in self.spec.source.plan()), default=0)
        if longest < 2:
            message = (
                f"{rule.name} never ends a training: it decides between epochs, and every training has 1"
            )
            self.add("warning", "stopping", message)
            return
        self.add("ok", "stopping", f"{rule.name} ({keys}) may end trainings; {STOPPING.describe(rule.name)}")

    def data(self, data: Dataset) -> None:
        """Add the findings about the splits and the shape of the samples."""
        if data.groups is not None:
            counts = ", ".join(f"{count:,} {name}" for name, count in data.groups.items())
            self.add("ok", "data", f"whole groups in each split: {counts}")
        if looks_channels_last(data.info.shape) and "layout" not in self.spec.dataset.options:
            first, rows, columns = data.info.shape
            self.add(
                "warning",
                "data",
                f"{first} channels of {rows} x {columns}? Samples are (channels, rows, columns); {first} x {rows} images with {columns} channels must be transposed",
            )

    def unread(self, problem: Problem, family: WatchedFamily) -> None:
        """Report the searched parameters of the family that no network used."""
        searched = {parameter.name for parameter in problem.space.free}
        names = [name for name in problem.space.names if name in (searched & family.passed) - family.read]
        if names:
            self.add(
                "warning",
                "space",
                f"family {family.name} reads {', '.join(names)} in none of the tried networks, so searching them has no effect; "
                "give each a single value, or read it in the family",
            )

        idle = problem.unread_pipeline(problem.space)
        idle = tuple(name for name in idle if name in searched)
        if idle:
            self.add(
                "warning",
                "space",
                f"no setting reads {', '.join(idle)} (pruning.method is {self.spec.pruning.method}), so searching them has no effect; "
                "give each a single value, or choose a method with that key",
            )

    def screen(self, problem: Problem) -> None:
        self.subject = "budgets"
        screen = Screen(problem)
        feasible, smallest = 0, {metric: float("inf") for metric in self.spec.all_budgets()}
        failures: dict[str, int] = {}
        began = time.perf_counter()
        draws = 0
        samples = self.spec.source.samples(problem.space, self.rng)
        # Feasible candidates may be rare: draw as many as the source draws before it raises SpaceEmpty.
        while draws < self.draws or (
            not feasible and sum(failures.values()) < draws < self.spec.source.patience
        ):
            draws += 1
            try:
                costs = screen.costs(next(samples))
            except (BuildError, Unsupported) as error:
                failures[str(error)] = failures.get(str(error), 0) + 1
                continue
            feasible += problem.objectives.feasible(costs)
            smallest = {m: min(v, costs.get(m, v)) for m, v in smallest.items()}
        seconds_each = (time.perf_counter() - began) / draws
        failed = sum(failures.values())
        for message, count in sorted(failures.items(), key=lambda item: -item[1])[:_REASONS]:
            level: Level = "error" if failed == draws else "warning"
            self.add(level, "space", f"{count} of {draws} draws cannot be built or deployed: {message}")
        if len(failures) > _REASONS:
            self.add("warning", "space", f"{len(failures) - _REASONS} more reasons for failing draws")
        limits = ", ".join(
            f"{METRICS[m].title} <= {METRICS[m].show(limit)} (smallest seen {METRICS[m].show(smallest[m])})"
            for m, limit in self.spec.all_budgets().items() if smallest[m] < float("inf")
        )  # fmt: skip
        self.add(
            "ok" if feasible else "error",
            "budgets",
            f"{feasible} of {draws} random candidates are feasible, {1000 * seconds_each:.0f} ms each{'; ' + limits if limits else ''}",
        )

    def attempts(self, problem: Problem, data: Dataset) -> None:
        """Try the candidates. One that cannot be built, which `screen` has reported, is tried only when no other one is found."""
        unbuilt: list[Tried] = []
        samples = self.spec.source.samples(problem.space, self.rng)
        for values in itertools.islice(samples, max(self.draws, self.candidates)):
            tried = self.attempt(problem, data, values)
            (unbuilt if (tried.problem or "").startswith(BuildError.__name__) else self.tried).append(tried)
            if len(self.tried) == self.candidates:
                break
        self.tried += unbuilt[: self.candidates - len(self.tried)]

    def attempt(self, problem: Problem, data: Dataset, values: dict[str, Value]) -> Tried:
        costs: dict[str, float] = {}
        try:
            costs = {n: v for n, v in Screen(problem).costs(values).items() if n in METRICS}
            work = self.work(problem, data, values)
            for stage in self.spec.pipeline:
                ended = work.run((stage,))
                # A candidate over a budget continues: this check looks for errors in the pipeline.
                if ended is not None and ended.state is not TrialState.INFEASIBLE:
                    message = ended.failure.message if ended.failure else f"ended in stage {stage.name}"
                    return Tried(values, costs, problem=f"with one batch: {message}")
            self.morph(problem, values, build(problem, values, self.spec.seed).state_dict())
        except SparsemodError as error:
            return Tried(values, costs, problem=f"{type(error).__name__}: {error}")
        except Exception as error:  # noqa: BLE001 - the network's own code, which may break only while it is trained
            return Tried(values, costs, problem=summarize_error(error))
        # The stages other than training take about as long with all data.
        uncertain = {stage.name for stage in self.spec.pipeline if not stage.certain}
        seconds = sum(took for name, took in work.seconds.items() if name in uncertain)
        return Tried(values, costs, seconds * len(data.train) / len(work.data.train))

    def work(self, problem: Problem, data: Dataset, values: dict[str, Value]) -> Work:
        """Return a trial of one epoch on one batch and the same share of the validation data.

        Device costs come from the model.
        """
        problem, data = problem.of_candidate(values), windows(problem, data, values)
        count = min(len(data.train), problem.training(values).batch_size)
        part = max(1, len(data.validation) * count // len(data.train))
        few = replace(
            data,
            train=data.train.first(count),
            validation=data.validation.first(part),
        )
        measure = self.spec.measure.model_copy(update={"device": "model"})
        problem = replace(problem, spec=problem.spec.model_copy(update={"measure": measure}))
        return Work(
            problem=problem, values=values, epochs=1, seed=self.spec.seed, data=few, device="cpu", reporter=Silent()
        )  # fmt: skip

    def morph(self, problem: Problem, values: dict[str, Value], state: Mapping[str, Tensor]) -> None:
        if not self.spec.source.inherits:
            return
        for morph in Screen(problem).morphs(values, self.rng)[:1]:
            child = build(problem, morph.parameters, self.spec.seed)
            architecture = problem.architecture(morph.parameters)
            inheritance = inherit(
                problem.family, problem.architecture(values), state, architecture, child, problem.info
            )
            child.load_state_dict(inheritance.state_dict)

    def duration(self) -> None:
        seconds = [attempt.epoch_seconds for attempt in self.tried if attempt.epoch_seconds is not None]
        if not seconds:
            return
        plan = self.spec.source.plan()
        trials = sum(part.trials for part in plan)
        epochs = sum(part.trials * part.epochs for part in plan)
        total = epochs * float(np.mean(seconds))
        self.add(
            "ok", "time", f"about {_duration(total)} of training for {trials} trials ({epochs} epochs) on one CPU worker like this one; a rough guess from {len(seconds)} candidates",
        )  # fmt: skip


def _duration(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )
