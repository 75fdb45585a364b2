"""Exports on request, run outside of HTTP requests.

The store holds the state of all jobs, so every server process sees it. Each server runs one job at a time; a
job is one trial. The server renews the job's lease while a child process writes and checks the
files (`service.jobs.export_task`), then stores the files as artifacts of the trial. When a server dies, its lease expires and another
server takes the job.
"""

import os
import socket
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog
from pydantic import ValidationError

from service.files.artifacts import ArtifactFiles
from service.jobs.job_thread import JobThread
from service.processes.task_process import TaskDied, TaskProcess
from service.schemas.exports import ExportState, ExportView
from service.schemas.trials import StoredArtifact, TrialView
from service.settings import Settings
from service.store import ExportJob, Store
from service.store.exports import ExportRecord
from sparsemod.errors import Conflict, NotFound, ServerUnavailable, SparsemodError, StaleLease
from sparsemod.export import EXPORTERS
from sparsemod.export.names import DEFAULT
from sparsemod.export.report import ExportReport, FormatName
from sparsemod.files import scratch
from sparsemod.records import Artifact

log = structlog.get_logger("exports")

FILES, REPORT, CARD = "export.", "verification.", "card"
"""Kinds of artifacts: `export.<format>`, `verification.<format>`, and `card` for the report card."""

RENEWALS = 4.0
"""Renewals per lease length."""


class Exports:
    """Queues and lists exports, and runs them in a thread, one at a time."""

    def __init__(self, store: Store, files: ArtifactFiles, settings: Settings) -> None:
        self._store, self._files, self._settings = store, files, settings
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._thread = JobThread("exports", self._next, self._new_process)

    def begin(self) -> None:
        """Start the thread."""
        self._thread.begin()

    def start(
        self,
        experiment: int,
        indices: Sequence[int],
        formats: Sequence[FormatName],
        device: str | None,
        names: Mapping[int, str] | None = None,
    ) -> list[ExportView]:
        """Queue exports and return their views.

        Exports that are queued or running already are not queued again. `names`: index -> the model's name,
        where it differs from the default. Raises NotFound, Conflict for a trial without a network or when
        too many requests wait.
        """
        target = device or self._store.experiment(experiment).spec.target.device
        for trial in (self._store.trial(experiment, index) for index in indices):
            if trial.artifact("network") is None:
                deleted = "retention has deleted its files"
                why = f"its state is {trial.state.value}" if trial.files_expired_at is None else deleted
                raise Conflict(f"trial {trial.index} has no network to export: {why}")
        self._store.queue_exports(experiment, indices, formats, target, names)
        views = [
            view for index in indices for view in self.listed(experiment, index) if view.format in formats
        ]
        self._thread.wake()
        return views

    def listed(self, experiment: int, index: int) -> list[ExportView]:
        """Return the exports of one trial: stored, queued, running and failed ones. Raises NotFound."""
        # Read before the trial: an export that ends in between is shown as running, never as done without
        # files.
        records = self._store.exports(experiment, index)
        return self._views(experiment, self._store.trial(experiment, index), records)

    def page(self, experiment: int, after: int, limit: int) -> list[ExportView]:
        """Return the exports of the first `limit` trials with exports and an index above `after`.

        Raises NotFound.
        """
        records = self._store.exports(experiment)
        self._store.experiment(experiment)
        trials = self._store.trials_at(experiment, self._store.exported_trials(experiment, after, limit))
        return [view for trial in trials for view in self._views(experiment, trial, records)]

    def close(self) -> None:
        """Stop the thread. Its current job is queued again for the next server."""
        self._thread.close()

    # -- private ----------------------------------------------------------------------------------------

    def _new_process(self) -> TaskProcess:
        return TaskProcess(
            "the export",
            seconds=self._settings.export_seconds,
            setting="export_seconds",
            imports=self._settings.imports,
        )

    def _views(
        self,
        experiment: int,
        trial: TrialView,
        records: Mapping[tuple[int, FormatName], ExportRecord],
    ) -> list[ExportView]:
        cards = [a for a in trial.artifacts if a.kind == CARD]
        views = []
        for name in EXPORTERS.names():
            record = records.get((trial.index, name))
            reports = [a for a in trial.artifacts if a.kind == REPORT + name]
            state, report = ExportState.DONE, None
            artifacts: tuple[StoredArtifact, ...] = ()
            if record is not None and record.state is not ExportState.DONE:
                state = record.state
                if record.failure is not None:
                    report = ExportReport(format=name, name=DEFAULT, failure=record.failure)
            elif not reports:
                continue
            else:
                report = self._report(reports[0])
                if report is None or report.failure is not None:
                    state = ExportState.FAILED
                files = [a for a in trial.artifacts if a.kind == FILES + name]
                if report is not None:
                    artifacts = (*(files if state is ExportState.DONE else ()), *reports, *cards)
            views.append(
                ExportView(
                    experiment=experiment,
                    trial=trial.index,
                    format=name,
                    state=state,
                    report=report,
                    artifacts=artifacts,
                )
            )
        return views

    def _report(self, artifact: StoredArtifact) -> ExportReport | None:
        try:
            return ExportReport.model_validate_json(self._files.open(artifact.digest).read_bytes())
        except (NotFound, OSError, ValidationError) as error:
            log.error("report of an export cannot be read", digest=artifact.digest, error=str(error))
            return None

    def _next(self) -> bool:
        """Run a queued job; return whether there was one."""
        job = self._claim()
        if job is None:
            return False
        self._run_job(job)
        return True

    def _claim(self) -> ExportJob | None:
        try:
            return self._store.claim_export(self._name)
        except SparsemodError as error:
            log.warning("store does not answer, retrying", reason=str(error))
            return None

    def _run_job(self, job: ExportJob) -> None:
        """Run one job and report its end.

        When the report fails, the lease expires and the job is queued again.
        """
        try:
            with _Renewal(self._store, job, self._thread.process):
                why, again = self._attempt(job)
            if self._thread.ending and why is not None:
                self._store.release_export(job)
            elif why is not None:
                log.error("export failed", experiment=job.experiment, trial=job.trial, reason=why)
                self._store.fail_export(job, why, again=again)
        except (NotFound, StaleLease) as error:
            log.warning("export dropped", experiment=job.experiment, trial=job.trial, reason=str(error))
        except SparsemodError as error:
            log.error(
                "end of export not reported", experiment=job.experiment, trial=job.trial, reason=str(error)
            )

    def _attempt(self, job: ExportJob) -> tuple[str | None, bool]:
        """Export and store the files.

        Return (None, False) on success, else (reason, whether to try again).
        """
        try:
            with scratch("sparsemod-export-") as folder:
                files = self._thread.process.run("service.jobs.export_task:export", self._task(job, folder))
                self._store.finish_export(
                    job, [self._stored(kind, name, folder / path) for kind, name, path in files]
                )
            return None, False
        except (TaskDied, NotFound, ServerUnavailable) as error:
            return str(error), True
        except SparsemodError as error:
            return str(error), False
        except Exception as error:  # noqa: BLE001 - the next job must run in any case
            return f"{type(error).__name__}: {error}", True

    def _task(self, job: ExportJob, folder: Path) -> dict[str, Any]:
        trial = self._store.trial(job.experiment, job.trial)
        network = trial.artifact("network")
        if network is None:
            raise Conflict(f"trial {trial.index} has no network to export")
        return {
            "spec": self._store.experiment(job.experiment).spec.to_dict(),
            "formats": list(job.formats),
            "device": job.device,
            "name": job.name,
            "index": trial.index,
            "network": str(self._files.open(network.digest)),
            "parameters": trial.candidate.parameters,
            "measurements": [m.model_dump(mode="json") for m in trial.measurements],
            "folder": str(folder),
        }

    def _stored(self, kind: str, name: str, path: Path) -> Artifact:
        info = self._files.add(path.read_bytes(), self._store)
        return Artifact(kind=kind, name=name, size=info.size, digest=info.digest)


class _Renewal:
    """Renews a lease until the end of a `with` block.

    Kills the export process when the lease is lost, because another server may have the job then.
    """

    def __init__(self, store: Store, job: ExportJob, process: TaskProcess) -> None:
        self._store, self._job, self._process = store, job, process
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="export lease", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        silent = 0.0
        pause = self._store.lease_seconds / RENEWALS
        while not self._over.wait(pause):
            try:
                self._store.renew_export(self._job)
                silent = 0.0
            except (NotFound, StaleLease):
                self._process.kill()
                return
            except SparsemodError as error:
                silent += pause
                log.warning("store does not answer, retrying", reason=str(error))
                if silent + pause >= self._store.lease_seconds:
                    self._process.kill()
                    return
