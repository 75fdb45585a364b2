"""Measuring of uploaded models, outside of HTTP requests.

The store holds the queue, so every server process sees it. Each server measures one model at a time, in a child process with limits of
time and memory (`service.jobs.model_task`).
"""

import structlog

from service.files.artifacts import ArtifactFiles
from service.jobs.job_thread import JobThread
from service.processes.task_process import TaskDied, TaskFailed, TaskOverLimit, TaskProcess
from service.schemas.models import ModelView
from service.settings import Settings
from service.store import Store
from sparsemod.errors import SparsemodError, StaleLease

log = structlog.get_logger("models")

SPARE_SECONDS = 30.0
"""Lease beyond the time limit of a task."""


class ModelJobs:
    """Measures queued models in a thread, one at a time."""

    def __init__(self, store: Store, files: ArtifactFiles, settings: Settings) -> None:
        self._store, self._files, self._settings = store, files, settings
        self._thread = JobThread("models", self._next, self._new_process)

    def begin(self) -> None:
        """Start the thread."""
        self._thread.begin()

    def wake(self) -> None:
        """Look for queued models now."""
        self._thread.wake()

    def close(self) -> None:
        """End the thread and its process; a model that is being measured waits again."""
        self._thread.close()

    def _new_process(self) -> TaskProcess:
        return TaskProcess(
            "measuring the model",
            seconds=self._settings.compute_seconds,
            setting="compute_seconds",
            imports=self._settings.imports,
        )

    def _next(self) -> bool:
        """Measure a queued model; return whether there was one."""
        try:
            claimed = self._store.claim_model(self._settings.compute_seconds + SPARE_SECONDS)
            if claimed is None:
                return False
            self._measure(*claimed)
        except StaleLease as error:
            log.warning("the model was deleted or taken over", reason=str(error))
        except SparsemodError as error:
            log.warning("models wait", reason=str(error))
            return False
        except Exception as error:  # noqa: BLE001  the next model must be measured in any case
            log.error("measuring a model failed", reason=f"{type(error).__name__}: {error}")
            return False
        return True

    def _measure(self, model: ModelView, token: str) -> None:
        try:
            task = {"path": str(self._files.open(model.digest)), "name": model.name, "device": model.device}
            report = self._thread.process.run("service.jobs.model_task:measure", task)
        except (TaskFailed, TaskOverLimit) as error:
            self._store.end_model(model.id, token, failure=str(error))
        except TaskDied:
            self._store.end_model(model.id, token)
        except SparsemodError as error:  # its file is gone
            self._store.end_model(model.id, token, failure=str(error))
        else:
            self._store.end_model(model.id, token, report=report)
