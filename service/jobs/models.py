"""Measuring of uploaded models, outside of HTTP requests.

The store holds the queue, so every server process sees it. Each server measures one model at a time, in a child process with limits of
time and memory (`service.jobs.model_task`).
"""

import threading

import structlog

from service.files.artifacts import ArtifactFiles
from service.processes.task_process import TaskDied, TaskFailed, TaskOverLimit, TaskProcess
from service.schemas.models import ModelView
from service.settings import Settings
from service.store import Store
from sparsemod.errors import SparsemodError, StaleLease

log = structlog.get_logger("models")

IDLE_SECONDS = 1.0
"""Pause between two looks for models that another server has queued."""

SPARE_SECONDS = 30.0
"""Lease beyond the time limit of a task."""


class ModelJobs:
    """Measures queued models in a thread, one at a time."""

    def __init__(self, store: Store, files: ArtifactFiles, settings: Settings) -> None:
        self._store, self._files, self._settings = store, files, settings
        self._process = self._new_process()
        self._ending, self._wake = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Start the thread. It also measures models queued by other servers or before a restart."""
        self._ending.clear()
        self._process = self._new_process()
        self._thread = threading.Thread(target=self._work, name="models", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Look for queued models now."""
        self._wake.set()

    def close(self) -> None:
        """End the thread and its process; a model that is being measured waits again."""
        self._ending.set()
        self._wake.set()
        self._process.close()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def _new_process(self) -> TaskProcess:
        return TaskProcess(
            "measuring the model",
            seconds=self._settings.compute_seconds,
            setting="compute_seconds",
            imports=self._settings.imports,
        )

    def _work(self) -> None:
        try:
            while not self._ending.is_set():
                if not self._next():
                    self._wake.wait(IDLE_SECONDS)
                    self._wake.clear()
        finally:
            self._process.end()

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
            report = self._process.run("service.jobs.model_task:measure", task)
        except (TaskFailed, TaskOverLimit) as error:
            self._store.end_model(model.id, token, failure=str(error))
        except TaskDied:
            self._store.end_model(model.id, token)
        except SparsemodError as error:  # its file is gone
            self._store.end_model(model.id, token, failure=str(error))
        else:
            self._store.end_model(model.id, token, report=report)
