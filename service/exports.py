"""Exports on request of the API: made by a process of its own, one job after the other, off the request path.

A job is some trials of one experiment. `python -m service.export_child` gets it on its standard input, writes each trial's files into a
folder and says on its standard output which trial is done; the files then become artifacts of the trial. What is waiting or running is
known to this server process only; what is done, or failed, lies in the store.
"""

import contextlib
import json
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from pydantic import ValidationError

from service.artifacts import ArtifactFiles
from service.export_schemas import ExportState, ExportView
from service.schemas import ExperimentView, StoredArtifact, TrialView
from service.settings import Settings
from service.store import Store
from sparsemod.errors import Conflict, NotFound, SparsemodError
from sparsemod.export.report import ExportReport, FormatName
from sparsemod.records import Artifact

log = structlog.get_logger("exports")

FILES, REPORT, CARD = "export.", "verification.", "card"
"""Kinds of artifacts: `export.<format>`, `verification.<format>`, and those of the report card."""

LONGEST = 100
"""Jobs that may wait."""


@dataclass
class _Job:
    experiment: ExperimentView
    trials: list[TrialView]
    formats: tuple[FormatName, ...]
    device: str
    waiting: set[int] = field(default_factory=set)


class Exports:
    """Makes exports, one job at a time, in a thread that starts with the first."""

    def __init__(self, store: Store, files: ArtifactFiles, settings: Settings) -> None:
        self._store, self._files, self._settings = store, files, settings
        self._jobs: queue.Queue[_Job | None] = queue.Queue(LONGEST)
        self._states: dict[tuple[int, int, FormatName], ExportState] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._child: subprocess.Popen[str] | None = None
        self._closed = False

    def start(
        self, experiment: int, indices: Sequence[int], formats: Sequence[FormatName], device: str | None
    ) -> list[ExportView]:
        """Queue the exports and say what is known of them. Those that wait or run already are not queued again.

        Raises NotFound, Conflict for a trial without a network, or when too many jobs wait.
        """
        view = self._store.experiment(experiment)
        found = [self._store.trial(experiment, index) for index in indices]
        wanted = tuple(dict.fromkeys(formats))
        for trial in found:
            if _network(trial) is None:
                raise Conflict(
                    f"trial {trial.index} has no network to export: its state is {trial.state.value}"
                )
        with self._lock:
            if self._closed:
                raise Conflict("the server is ending")
            fresh = [t for t in found if any((experiment, t.index, f) not in self._states for f in wanted)]
            if fresh:
                job = _Job(view, fresh, wanted, device or view.spec.target.device, {t.index for t in fresh})
                try:
                    self._jobs.put_nowait(job)
                except queue.Full:
                    raise Conflict(f"{LONGEST} exports wait already; ask again later") from None
                self._states |= {(experiment, t.index, f): ExportState.QUEUED for t in fresh for f in wanted}
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="exports", daemon=True)
                self._thread.start()
        return [
            found for index in indices for found in self.listed(experiment, index) if found.format in wanted
        ]

    def listed(self, experiment: int, index: int | None = None) -> list[ExportView]:
        """Exports of an experiment or of one trial: stored ones, and those that wait or run here. Raises NotFound."""
        if index is None:
            self._store.experiment(experiment)
            trials, _ = self._store.trials(experiment)
        else:
            trials = [self._store.trial(experiment, index)]
        with self._lock:
            states = dict(self._states)
        return [view for trial in trials for view in self._views(experiment, trial, states)]

    def close(self) -> None:
        """End; what runs is given up, what waits is forgotten."""
        with self._lock:
            self._closed = True
            if self._child is not None:
                with contextlib.suppress(ProcessLookupError):
                    self._child.kill()
            thread = self._thread
        if thread is not None:
            with contextlib.suppress(queue.Full):
                self._jobs.put_nowait(None)
            thread.join(timeout=10)

    # -- inside -----------------------------------------------------------------------------------------------------------------------

    def _views(
        self, experiment: int, trial: TrialView, states: dict[tuple[int, int, FormatName], ExportState]
    ) -> list[ExportView]:
        cards = [a for a in trial.artifacts if a.kind == CARD]
        found = []
        formats: tuple[FormatName, ...] = ("c", "onnx", "tflite")
        for name in formats:
            state = states.get((experiment, trial.index, name))
            reports = [a for a in trial.artifacts if a.kind == REPORT + name]
            if state is None and not reports:
                continue
            report = None if state is not None else self._report(reports[0])
            if state is None:
                state = (
                    ExportState.FAILED if report is None or report.failure is not None else ExportState.DONE
                )
            files = (
                [a for a in trial.artifacts if a.kind == FILES + name] if state is ExportState.DONE else []
            )
            shown = (*files, *reports, *cards) if report is not None else ()
            found.append(
                ExportView(
                    experiment=experiment,
                    trial=trial.index,
                    format=name,
                    state=state,
                    report=report,
                    artifacts=tuple(shown),
                )
            )
        return found

    def _report(self, artifact: StoredArtifact) -> ExportReport | None:
        try:
            return ExportReport.model_validate_json(self._files.open(artifact.digest).read_bytes())
        except (NotFound, OSError, ValidationError) as error:
            log.error("an export's report cannot be read", digest=artifact.digest, error=str(error))
            return None

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None or self._closed:
                return
            try:
                self._run(job)
            except Exception as error:  # noqa: BLE001 - whatever it was, the next job must have its turn
                log.error("export failed", experiment=job.experiment.id, error=str(error))
                self._give_up(job, str(error))
            finally:
                with self._lock:
                    for trial in job.trials:
                        for name in job.formats:
                            self._states.pop((job.experiment.id, trial.index, name), None)

    def _run(self, job: _Job) -> None:
        """One job in a child; raises SparsemodError when it ends before all trials are done."""
        with tempfile.TemporaryDirectory(prefix="sparsemod-export-") as place:
            folder = Path(place)
            task = json.dumps(self._task(job, folder))
            with (folder / "log").open("w+", encoding="utf-8", errors="replace") as said:
                child = subprocess.Popen(
                    [sys.executable, "-m", "service.export_child"],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True,
                )  # fmt: skip
                with self._lock:
                    self._child = child
                limit = self._settings.export_seconds * len(job.trials)
                timer = threading.Timer(limit, child.kill)
                timer.start()
                try:
                    with child:
                        self._follow(job, folder, child, task)
                finally:
                    late = timer.finished.is_set()
                    timer.cancel()
                    with self._lock:
                        self._child = None
                said.seek(0)
                lines = said.read().strip().splitlines()
            if job.waiting and not self._closed:
                why = (
                    f"it took more than export_seconds = {limit:g} s" if late else lines[-1] if lines else ""
                )
                raise SparsemodError(f"the export ended early: {why or f'status {child.returncode}'}")

    def _follow(self, job: _Job, folder: Path, child: "subprocess.Popen[str]", task: str) -> None:
        if child.stdin is None or child.stdout is None:
            raise OSError("the export has no pipes")
        with contextlib.suppress(BrokenPipeError):
            child.stdin.write(task)
            child.stdin.close()
        for line in child.stdout:
            word, _, number = line.strip().partition(" ")
            if word == "begin":
                with self._lock:
                    for name in job.formats:
                        self._states[(job.experiment.id, int(number), name)] = ExportState.RUNNING
            elif word == "done":
                self._collect(job.experiment.id, int(number), folder / number)
                job.waiting.discard(int(number))
                with self._lock:
                    for name in job.formats:
                        self._states.pop((job.experiment.id, int(number), name), None)

    def _task(self, job: _Job, folder: Path) -> dict[str, Any]:
        trials = []
        for trial in job.trials:
            network = _network(trial)
            if network is None:
                raise Conflict(f"trial {trial.index} has no network to export")
            trials.append(
                {
                    "index": trial.index,
                    "network": str(self._files.open(network.digest)),
                    "parameters": trial.candidate.parameters,
                    "measurements": [m.model_dump(mode="json") for m in trial.measurements],
                    "folder": str(folder / str(trial.index)),
                }
            )
        return {
            "spec": job.experiment.spec.to_dict(),
            "imports": list(self._settings.imports),
            "formats": list(job.formats),
            "device": job.device,
            "trials": trials,
        }

    def _collect(self, experiment: int, index: int, folder: Path) -> None:
        """Make the files that the child listed artifacts of the trial."""
        listed = json.loads((folder / "files.json").read_text(encoding="utf-8"))
        self._add(
            experiment, index, [(kind, name, (folder / path).read_bytes()) for kind, name, path in listed]
        )

    def _add(self, experiment: int, index: int, contents: Sequence[tuple[str, str, bytes]]) -> None:
        files = [
            Artifact(kind=kind, name=name, size=len(content), digest=self._files.store(content))
            for kind, name, content in contents
        ]
        self._store.add_files(experiment, index, files)

    def _give_up(self, job: _Job, why: str) -> None:
        for index in sorted(job.waiting):
            contents = []
            for name in job.formats:
                report = ExportReport(format=name, name="network", failure=why)
                contents.append(
                    (REPORT + name, f"{name}-verification.json", report.model_dump_json().encode())
                )
            try:
                self._add(job.experiment.id, index, contents)
            except SparsemodError as error:
                log.error("a failed export could not be recorded", trial=index, error=str(error))


def _network(trial: TrialView) -> StoredArtifact | None:
    return next((a for a in trial.artifacts if a.kind == "network"), None)
