"""A study that several processes share through a common folder, without a server.

Each process runs its part of the methods, networks and repetitions, and appends its finished trials to
FOLDER/trials-K.jsonl. The process that finds all trials finished writes FOLDER/trials.jsonl and the tables. Indices and
seeds are those of a run by one process, so that the results are equal on the CPU. The folder may be on a network drive.
"""

import fcntl
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sparsemod.errors import Conflict, EnvironmentFailure, InvalidInput
from sparsemod.files import append_durably, write_atomically
from sparsemod.pipeline.journal import Finished, read_trials
from sparsemod.pipeline.local_run import LocalRun, Outcome
from sparsemod.pipeline.trial import Reporter
from sparsemod.records import Candidate, TrialState
from sparsemod.sources.observation import Observation, Suggestion
from sparsemod.sources.study import REFERENCE, Study
from sparsemod.spec.experiment import ExperimentSpec

PAUSE = 1.0
"""Seconds between two looks for the trials of other processes."""


@dataclass(frozen=True)
class Planned:
    """A trial of the study: its index in a run by one process, and the process that runs it."""

    index: int
    suggestion: Suggestion
    owner: int

    @property
    def candidate(self) -> Candidate:
        """The trial's candidate."""
        return self.suggestion.candidate


class SharedRun(LocalRun):
    """Process `worker` (from 0) of `workers` of a study in a common folder.

    Raises Conflict while a process of the same number is at work in the folder, and the errors of LocalRun.
    """

    def __init__(
        self, spec: ExperimentSpec, folder: Path, workers: int, worker: int, *, device: str = "cpu"
    ) -> None:
        if workers < 1:
            raise InvalidInput("-j", workers, "at least 1 process")
        if not 0 <= worker < workers:
            raise InvalidInput("-i", worker, f"0 to {workers - 1}, a process of {workers}")
        self.workers, self.worker = workers, worker
        super().__init__(spec, folder, device=device)
        if not isinstance(self.search.source, Study):
            raise InvalidInput("source.name", spec.source.name, "study: only studies are shared in this way")
        self._study = self.search.source
        self._workdir = f".trial-{worker}-"
        self._known: dict[int, Finished] = {}
        self.on_wait: Callable[[Planned], None] = lambda planned: None

    shared = True

    def planned(self) -> list[Planned]:
        """Return all trials in the order of a run by one process, each with the process that runs it."""
        seen: list[Observation] = []
        suggestions: list[Suggestion] = []
        while self.search.done(seen) is None:
            for item in self.search.next(seen, self.spec.source.batch):
                # What follows does not depend on results: a network behind a failed one has a trial too.
                seen.append(Observation(len(seen), item.candidate, TrialState.COMPLETED))
                suggestions.append(item)
        series: dict[int, tuple[int, str, int]] = {}
        count: dict[str, int] = {}
        order: dict[tuple[int, str, int], int] = {}
        planned = []
        nets = 0
        for index, item in enumerate(suggestions):
            candidate, parent = item.candidate, item.candidate.parent
            if candidate.round == REFERENCE or parent is None:
                planned.append(Planned(index, item, nets % self.workers))
                nets += 1
                continue
            if parent not in series:
                same = f"{parent} {self.problem.space.key(candidate.parameters)}"
                series[index] = (parent, str(candidate.parameters["pruning_method"]), count.get(same, 0))
                count[same] = count.get(same, 0) + 1
            else:
                series[index] = series[parent]
            number = order.setdefault(series[index], len(order))
            planned.append(Planned(index, item, number % self.workers))
        return planned

    def run(
        self,
        on_finished: Callable[[Finished], None] = lambda trial: None,
        on_start: Callable[[int, Suggestion], Reporter | None] = lambda index, suggestion: None,
    ) -> Outcome:
        """Run this process's part; wait for networks of others where it starts from them.

        See LocalRun.run. `on_wait` is called once for each network of another process that this one waits for.
        """
        with self._share():
            for left in self.folder.glob(f"{self._workdir}*"):
                shutil.rmtree(left, ignore_errors=True)
            planned = self.planned()
            by_index = {one.index: one for one in planned}
            waited: set[int] = set()
            try:
                while True:
                    self._look()
                    mine = [p for p in planned if p.owner == self.worker and p.index not in self._known]
                    if not mine:
                        break
                    ready = next((p for p in mine if self._ready(p)), None)
                    if ready is None:
                        parent = mine[0].candidate.parent
                        if parent is not None and parent not in waited:
                            waited.add(parent)
                            self.on_wait(by_index[parent])
                        time.sleep(PAUSE)
                        continue
                    on_finished(self._run_planned(ready, on_start))
                return self._finish(planned)
            except (OSError, EnvironmentFailure) as error:
                raise self._environment_error(error) from error

    def _ready(self, planned: Planned) -> bool:
        return planned.candidate.parent is None or planned.candidate.parent in self._known

    def _run_planned(
        self, planned: Planned, on_start: Callable[[int, Suggestion], Reporter | None]
    ) -> Finished:
        suggestion, parent = planned.suggestion, planned.candidate.parent
        if parent is not None:
            suggestion = self._study.suggestion(planned.candidate, self._known[parent].observation())
        finished = self.evaluate(planned.index, suggestion, on_start)
        append_durably(self._part, (finished.model_dump_json() + "\n").encode())
        self._known[finished.index] = finished
        return finished

    def _finish(self, planned: list[Planned]) -> Outcome:
        """Merge the parts when all trials are finished."""
        missing = len(planned) - len(self._known)
        if missing:
            reason = (
                f"the part of process {self.worker} is complete; {missing} trials of other processes are not"
            )
            return Outcome(reason, tuple(t.record for t in self.trials), {})
        parts = self._parts()
        content = "".join(trial.model_dump_json() + "\n" for trial in self.trials)
        write_atomically(self._journal, content.encode())
        for part in parts:
            part.unlink(missing_ok=True)
        reason = self.search.done(self.observations()) or "the study is complete"
        return Outcome(reason, tuple(t.record for t in self.trials), self.write())

    def _look(self) -> None:
        """Read what all processes have finished; parts first, because a merge removes them last."""
        found: dict[int, Finished] = {}
        for path in self._parts():
            with suppress(FileNotFoundError):
                found |= {trial.index: trial for trial in read_trials(path, mend=path == self._part)}
        found |= {trial.index: trial for trial in read_trials(self._journal, mend=False)}
        self._known = found
        self.trials = [found[index] for index in sorted(found)]

    def finished(self, index: int) -> Finished:
        """See LocalRun."""
        return self._known[index]

    @property
    def _part(self) -> Path:
        return self.folder / f"trials-{self.worker}.jsonl"

    @contextmanager
    def _share(self) -> Iterator[None]:
        """Keep runs by one process out of the folder, and other processes of this number."""
        with (self.folder / ".lock").open("w") as all_of_it, self._own_lock().open("w") as own:
            for handle, kind in ((all_of_it, fcntl.LOCK_SH), (own, fcntl.LOCK_EX)):
                try:
                    fcntl.flock(handle, kind | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    who = "another run" if handle is all_of_it else f"another process {self.worker}"
                    raise Conflict(f"{who} is at work in {self.folder}") from error
            yield

    def _own_lock(self) -> Path:
        return self.folder / f".lock-{self.worker}"
