"""An experiment without a server: one process, one folder, the same search and trials as the service.

FOLDER/spec.json        the spec; a folder holds one spec, which can be extended
FOLDER/device.yaml      the profile of its device
FOLDER/trials.jsonl     a line for each finished trial, appended; an interrupted run resumes from it
FOLDER/.checkpoint-*    the state of the current trial's training, from which the run continues
FOLDER/trials.N.jsonl   the journal before trials were dropped (`run --keep`)
FOLDER/trials-K.jsonl   the same of process K, while several processes share a study
FOLDER/artifacts/       weights and integer networks, by digest
FOLDER/trials.csv, repetitions.csv, pareto.csv, pareto.json, pareto.png, pareto.svg
FOLDER/experiment.json  spec and trials in short, below 1 kB a trial
FOLDER/time.txt         wall seconds of the whole run, interruptions excluded
FOLDER/models/          weights and integer networks of the Pareto front, by trial
"""

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparsemod.data import Dataset, load
from sparsemod.errors import Conflict, EnvironmentFailure, InvalidInput, NotFound
from sparsemod.files import append_durably, move, write_atomically
from sparsemod.pipeline.environment import environment_failure
from sparsemod.pipeline.front_models import write_models
from sparsemod.pipeline.journal import Finished, keep_trials
from sparsemod.pipeline.local_checkpoint import Checkpointed, TrialCheckpoint
from sparsemod.pipeline.local_stopping import judged_by
from sparsemod.pipeline.problem import Problem, trial_seed
from sparsemod.pipeline.proposals import Proposer
from sparsemod.pipeline.run_folder import RunFolder
from sparsemod.pipeline.time_limit import Timed, TimeUp, time_limit
from sparsemod.pipeline.trial import ParentWeights, Reporter, Silent, evaluate
from sparsemod.records import Candidate, Failure, FailureKind, TrialRecord, TrialResult, TrialState
from sparsemod.report.experiment_json import experiment_json
from sparsemod.report.pareto import front
from sparsemod.report.results import write_results
from sparsemod.sources.observation import Observation, Suggestion
from sparsemod.spec.difference import difference
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.spec.extension import extended
from sparsemod.stopping import Judge
from sparsemod.targets import adopt_device, device, device_names
from sparsemod.training import augmentation

_WORKDIR = ".trial-"
_WRITTEN = (
    "spec.json", "device.yaml", "trials.jsonl", "trials.csv", "experiment.json", "time.txt",
    "pareto.csv", "pareto.json", "pareto.png", "pareto.svg",
)  # fmt: skip


class LocalFolder(RunFolder):
    """The stored state of a local run: `spec` and finished `trials`. It needs no data.

    A user-defined device of the run is registered in this process. Raises NotFound for a folder without a
    run, InvalidInput for damaged files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not self._spec_file.is_file():
            raise NotFound("local run", str(folder), "this folder, which has no spec.json")
        self.spec = self._read_spec()
        self.trials = self._read()
        if self._device_file.is_file() and self.spec.target.device not in device_names():
            adopt_device(self._device_file.name, folder)

    def front(self) -> list[int]:
        """Return the indices of the trials on the Pareto front."""
        objectives = self.spec.objectives_in_force()
        return [row.index for row in front(objectives, [trial.record for trial in self.trials])]

    def trial(self, index: int) -> TrialRecord:
        """Return a finished trial. Raises NotFound."""
        if not 0 <= index < len(self.trials):
            last = len(self.trials) - 1
            finished = f"trials 0 to {last}" if last > 0 else "trial 0" if last == 0 else "no finished trial"
            raise NotFound("trial", index, f"{self.folder}, which has {finished}")
        return self.trials[index].record

    def extend(self, rounds: Mapping[str, int], budgets: Mapping[str, Any] | None = None) -> ExperimentSpec:
        """Write a spec with more trials and other budgets, see `extended`; the next run continues with it.

        Raises InvalidInput, and Conflict while a run is active in the folder.
        """
        with self._lock():
            self.spec = extended(self._read_spec(), rounds, budgets)
            self.spec.all_budgets()
            self._write_spec(self.spec)
        return self.spec

    def keep(self, count: int) -> Path | None:
        """Keep the first `count` trials; the next run continues after them. See `keep_trials`.

        Raises InvalidInput, and Conflict while a run is active in the folder.
        """
        with self._lock():
            self._read()  # removes the half line of a killed run
            old = keep_trials(self._journal, count)
            self.trials = self._read()
        return old


@dataclass(frozen=True)
class Outcome:
    """Result of a run: the reason for its end, all trials, and the written files."""

    reason: str
    rows: tuple[TrialRecord, ...]
    files: dict[str, Path]


class LocalRun(RunFolder):
    """A run of `spec` in `folder`; it creates the folder, or continues a run of the same spec.

    Raises Conflict for a folder with another spec or with parts of a shared study, and the errors of the spec and its
    data.
    """

    shared = False
    """Whether several processes work in the folder, each on its part."""

    _workdir = _WORKDIR

    def __init__(self, spec: ExperimentSpec, folder: Path, *, device: str = "cpu") -> None:
        self.folder, self.device = folder, device
        self._began: float | None = None
        self.data: Dataset = load(spec.dataset, targets=spec.task.targets)
        self.problem = Problem.of(spec, self.data.info, imports=True)
        self.spec = spec = self.problem.spec
        # Build the augmentations now: their errors must appear before the first trial.
        augmentation.build(spec.training.augmentation, self.data.info.shape)
        self.search = Proposer.of(self.problem)
        self.judge = Judge(spec)
        self._open()

    def _open(self) -> None:
        try:
            (self.folder / "artifacts").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            allowed = f"a folder that can be created and written ({error.strerror})"
            raise InvalidInput("folder of results", str(self.folder), allowed) from error
        if self._spec_file.exists():
            stored = self._read_spec()
            if stored != self.spec:
                raise Conflict(
                    f"{self.folder} holds results of another spec ({difference(stored, self.spec)}); choose another folder or remove it. "
                    f"`sparsemod extend {self.folder}` adds trials to it, `sparsemod run {self.folder}` continues with its spec"
                )
        else:
            profile = device(self.spec.target.device).model_dump_json(indent=1, exclude_none=True)
            write_atomically(self._device_file, (profile + "\n").encode())
            self._write_spec(self.spec)
        if not self.shared and self._parts():
            raise Conflict(
                f"{self.folder} holds parts of a study that several processes share; `sparsemod study` with -j and -i "
                "continues it"
            )
        self.trials = self._read()

    def adopt(self, trial: Finished) -> None:
        """Record a finished trial of elsewhere as the first one of this run, whose artifacts are stored here.

        Raises Conflict when the run has trials, or while another run is active in the folder.
        """
        with self._lock():
            self.trials = self._read()
            if self.trials:
                raise Conflict(f"{self.folder} has trials already")
            self._append_trial(trial)

    def run(
        self,
        on_finished: Callable[[Finished], None] = lambda trial: None,
        on_start: Callable[[int, Suggestion], Reporter | None] = lambda index, suggestion: None,
    ) -> Outcome:
        """Evaluate trials until the search is done.

        `on_start` may return a reporter for the trial. `on_finished` is called with each finished trial,
        infeasible ones included.

        Raises SpaceEmpty when no candidate meets the budgets, Conflict while another run is active in the
        folder, and EnvironmentFailure when the machine lacks a resource, such as disk space. After
        EnvironmentFailure the current trial is not recorded, and the same call continues the run later.
        """
        self._began = time.monotonic()
        with self._lock():
            self.trials = self._read()
            self._sweep()
            try:
                reason = self._search(on_finished, on_start)
                files = self.write()
            except (OSError, EnvironmentFailure) as error:
                raise self._environment_error(error) from error
            finally:
                if not self.trials:
                    # The folder has no trials yet: a corrected spec may use it.
                    self._spec_file.unlink(missing_ok=True)
        return Outcome(reason, tuple(t.record for t in self.trials), files)

    def continue_trials(
        self,
        indices: Sequence[int],
        on_finished: Callable[[Finished], None] = lambda trial: None,
        on_start: Callable[[int, Suggestion], Reporter | None] = lambda index, suggestion: None,
    ) -> Outcome:
        """Continue trials that the stopping rule ended, each from its checkpoint, and replace them in the journal.

        The rule does not judge them again. Raises NotFound, Conflict for a trial that no rule has stopped, and the errors
        of `run`.
        """
        self._began = time.monotonic()
        with self._lock():
            self.trials = self._read()
            self._sweep()
            stored = LocalFolder(self.folder)
            for index in indices:
                trial = stored.trial(index)
                if trial.stopping is None:
                    raise Conflict(f"trial {index} is {trial.state}: only a stopped trial can be continued")
            try:
                for index in dict.fromkeys(indices):
                    old = self.trials[index]
                    suggestion = Suggestion(old.candidate, old.planned_epochs, old.record.values())
                    self.trials[index] = self.evaluate(index, suggestion, on_start, judged=False)
                    lines = "".join(f"{trial.model_dump_json()}\n" for trial in self.trials)
                    write_atomically(self._journal, lines.encode())
                    on_finished(self.trials[index])
                files = self.write()
            except (OSError, EnvironmentFailure) as error:
                raise self._environment_error(error) from error
        return Outcome("continued", tuple(t.record for t in self.trials), files)

    def _sweep(self) -> None:
        """Remove the leftovers of a killed run. The caller holds the lock."""
        for left in self.folder.glob(f"{_WORKDIR}*"):
            shutil.rmtree(left, ignore_errors=True)
        for name in _WRITTEN:
            for half in self.folder.glob(f".{name}.*"):
                half.unlink(missing_ok=True)

    def _environment_error(self, error: OSError | EnvironmentFailure) -> BaseException:
        """Return the EnvironmentFailure behind a failed write in the folder, else `error` unchanged."""
        failure = environment_failure(error)
        if failure is None:
            return error
        return EnvironmentFailure(
            f"{failure}; {len(self.trials)} finished trials are kept in {self.folder}; run it again to continue",
            failure.whole,
        )

    def _search(
        self,
        on_finished: Callable[[Finished], None],
        on_start: Callable[[int, Suggestion], Reporter | None],
    ) -> str:
        """Run trials until the search is done and return the reason."""
        while (reason := self.search.done(self.observations())) is None:
            suggestions = self.search.next(self.observations(), self.spec.source.batch)
            if not suggestions:
                return "the search space has no more candidates"
            for suggestion in suggestions:
                finished = self.evaluate(len(self.trials), suggestion, on_start)
                self._append_trial(finished)
                on_finished(finished)
        return reason

    def observations(self) -> list[Observation]:
        """Return all finished trials as observations."""
        return [trial.observation() for trial in self.trials]

    def write(self) -> dict[str, Path]:
        """Write tables, plots, times and the models of the front of the finished trials; return the files."""
        rounds = {part.name: part.title for part in self.spec.source.plan()}
        rows = [trial.record for trial in self.trials]
        files = write_results(self.folder, self.spec.name, self.problem.objectives, rows, rounds)
        best = front(self.problem.objectives, rows)
        seconds = self._seconds()
        texts = {
            "experiment.json": experiment_json(self.spec, rows, [row.index for row in best], seconds),
            "time.txt": f"{seconds:.1f} s\n",
        }
        for name, content in texts.items():
            write_atomically(self.folder / name, content.encode())
            files[name] = self.folder / name
        write_models(self.folder / "models", best, self.artifact)
        return files

    def _seconds(self) -> float:
        """Return the wall seconds of this run in all processes: those of time.txt and the time since the last call.

        They are at least the seconds of its trials: a process that was killed has left its time out of time.txt.
        """
        file, now = self.folder / "time.txt", time.monotonic()
        began, self._began = self._began, now
        try:
            before = float(file.read_text().split()[0])
        except (OSError, ValueError, IndexError):
            before = 0.0
        seconds = before + (0.0 if began is None else now - began)
        return max(seconds, sum(trial.record.total_seconds for trial in self.trials))

    def evaluate(
        self,
        index: int,
        suggestion: Suggestion,
        on_start: Callable[[int, Suggestion], Reporter | None],
        *,
        judged: bool = True,
    ) -> Finished:
        """Return the finished trial of a suggestion; its artifacts are stored, its line in the journal is not.

        A checkpoint of the trial is continued. `judged`: whether the spec's stopping rule may end it; then its checkpoint stays.
        """
        seed, decision = trial_seed(self.spec.seed, index), None
        result = suggestion.miss()
        if result is None:
            checkpoint = TrialCheckpoint(self.folder, index, suggestion, seed)
            resume = checkpoint.read()
            saving = Checkpointed(on_start(index, suggestion) or Silent(), checkpoint)
            judge = self.judge if judged else None
            reporter = judged_by(judge, saving, index, suggestion, self.trials, resume)
            parent = self.parent(suggestion.candidate)
            limit = self.spec.limits.trial_seconds
            timed = Timed(reporter, limit)
            with tempfile.TemporaryDirectory(dir=self.folder, prefix=self._workdir) as workdir:
                try:
                    with time_limit(limit):
                        result = evaluate(
                            self.spec, suggestion.candidate, epochs=suggestion.epochs, seed=seed, data=self.data, device=self.device,
                            parent=parent, reporter=timed, resume=resume, workdir=Path(workdir), imports=True,
                        )  # fmt: skip
                except TimeUp:
                    message = f"took longer than limits.trial_seconds = {limit:g} s (in stage {timed.at!r}) and was stopped"
                    failure = Failure(kind=FailureKind.FAULT, message=message)
                    result = TrialResult(state=TrialState.FAILED, failure=failure)
                for artifact in result.artifacts:
                    move(Path(workdir) / artifact.name, self.artifact(artifact.digest))
            checkpoint.remove()
            if result.state is TrialState.STOPPED:
                decision = reporter.decision
            state = saving.latest or resume
            if decision is not None and state is not None:
                checkpoint.write(state)
        return Finished(
            index=index, candidate=suggestion.candidate, planned_epochs=suggestion.epochs, seed=seed, result=result, stopping=decision
        )  # fmt: skip

    def parent(self, candidate: Candidate) -> ParentWeights | None:
        """Return the weights of the candidate's parent, or None without a parent.

        Raises InvalidInput when the parent's weights are not stored, EnvironmentFailure when their file is
        missing.
        """
        if candidate.parent is None:
            return None
        trial = self.finished(candidate.parent)
        weights = trial.record.artifact("weights")
        if weights is None:
            raise InvalidInput("candidate.parent", candidate.parent, "a completed trial with stored weights")
        path = self.artifact(weights.digest)
        if not path.is_file():
            raise EnvironmentFailure(f"the weights of trial {candidate.parent} are missing: {path}")
        kept = trial.record.artifact("rewind")
        rewind = None if kept is None else self.artifact(kept.digest).read_bytes()
        return ParentWeights(trial.candidate.parameters, path.read_bytes(), trial.result.epochs, rewind)

    def finished(self, index: int) -> Finished:
        """Return a finished trial by its index."""
        return self.trials[index]

    def _append_trial(self, finished: Finished) -> None:
        # Half a line would hide the next trial.
        append_durably(self._journal, (finished.model_dump_json() + "\n").encode())
        self.trials.append(finished)
