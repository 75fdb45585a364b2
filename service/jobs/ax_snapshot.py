"""Convert an experiment to Ax's JSON in a child process, because Ax takes seconds to load.

The last answers are cached until their experiment changes.
"""

import threading
from collections import OrderedDict
from typing import Any

from service.jobs.computed_views import experiment_task
from service.processes.task_process import TaskFailed, TaskOverLimit, TaskProcess
from service.settings import Settings
from service.store import Store
from sparsemod.errors import ServerUnavailable, SparsemodError

_KEPT = 8
_WAITING = 4
"""Maximum number of concurrent requests. Each occupies one of the server's threads."""


class AxExport:
    """Converts experiments, one at a time."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store, self._settings = store, settings
        self._kept: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._lock = threading.Lock()
        self._process: TaskProcess | None = None
        self._closed = False
        self._places = threading.BoundedSemaphore(_WAITING)

    def export(self, experiment: int) -> bytes:
        """Return JSON for `ax.api.client.Client.load_from_json_file`.

        Raises NotFound, ServerUnavailable when too many requests wait or a limit is exceeded,
        SparsemodError when the conversion fails.
        """
        view = self._store.experiment(experiment)
        key = (experiment, view.revision)
        cached = self._kept.get(key)
        if cached is not None:
            return cached
        if not self._places.acquire(blocking=False):
            raise ServerUnavailable(f"{_WAITING} conversions for Ax are running already; try again later")
        try:
            with self._lock:
                if key not in self._kept:
                    self._kept[key] = self._run(experiment_task(self._store, experiment))
                    while len(self._kept) > _KEPT:
                        self._kept.popitem(last=False)
                return self._kept[key]
        finally:
            self._places.release()

    def close(self) -> None:
        """Kill the current conversion and refuse further ones."""
        self._closed = True
        if self._process is not None:
            self._process.close()

    def _run(self, task: dict[str, Any]) -> bytes:
        process = TaskProcess(
            "the conversion for Ax",
            seconds=self._settings.ax_export_seconds,
            setting="ax_export_seconds",
            imports=self._settings.imports,
        )
        self._process = process
        try:
            if self._closed:
                process.close()
            snapshot: str = process.run("service.jobs.experiment_tasks:ax_snapshot", task)
        except TaskOverLimit as error:
            raise ServerUnavailable(str(error)) from None
        except TaskFailed as error:
            raise SparsemodError(f"the conversion for Ax failed: {error}") from None
        finally:
            process.end()
        return snapshot.encode()
