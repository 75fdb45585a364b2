"""Views that need torch, computed in a child process: graphs of networks and the importance of parameters.

A request never waits. Either the store has the result, or a thread starts the computation and the caller
repeats the request. The child starts with the first task and stays alive for a while, so the next task does
not load torch again.
"""

import queue
import threading
from collections.abc import Callable
from typing import Any

import structlog

from service.processes.task_process import TaskFailed, TaskOverLimit, TaskProcess
from service.settings import Settings
from service.store import Store
from sparsemod.errors import BuildError, SparsemodError
from sparsemod.sources.observation import observations_to_plain

log = structlog.get_logger("server")

IDLE_SECONDS = 120.0
"""Seconds without a task after which the child is ended."""

_FAILURES_KEPT = 200

Key = tuple[int, str, str]


class Computed:
    """Results by experiment, kind and key, from the store or from the child. Tasks run one after another."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._tasks: queue.Queue[tuple[Key, Callable[[], dict[str, Any]]] | None] = queue.Queue()
        self._waiting: set[Key] = set()
        self._failures: dict[Key, SparsemodError] = {}
        self._passing: set[Key] = set()  # failures that another attempt may not have
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._process = TaskProcess(
            "the computation",
            seconds=settings.compute_seconds,
            setting="compute_seconds",
            imports=settings.imports,
        )
        self._closed = False

    def ask(self, experiment: int, kind: str, key: str, task: Callable[[], dict[str, Any]]) -> Any | None:
        """Return the result, or None while it is being computed.

        `kind` names the function of `service.jobs.experiment_tasks` and `task()` returns its argument.

        Raises BuildError when the stored data do not allow the computation, SparsemodError when the
        computation failed. A failure of this machine is raised once: the next call starts the computation again.
        """
        stored = self._store.computed_view(experiment, kind, key)
        if stored is not None:
            return stored[1]
        place = (experiment, kind, key)
        with self._lock:
            if place in self._failures:
                failure = self._failures[place]
                if place in self._passing:
                    self._passing.discard(place)
                    del self._failures[place]
                raise type(failure)(f"cannot be computed: {failure}")
            if place not in self._waiting and not self._closed:
                self._waiting.add(place)
                self._tasks.put((place, task))
                if self._thread is None:
                    self._thread = threading.Thread(target=self._work, name="computed", daemon=True)
                    self._thread.start()
        return None

    def close(self) -> None:
        """End the child and drop its current task."""
        with self._lock:
            self._closed = True
            thread = self._thread
        self._tasks.put(None)
        self._process.close()
        if thread is not None:
            thread.join()

    def _work(self) -> None:
        try:
            while not self._closed:
                try:
                    item = self._tasks.get(timeout=IDLE_SECONDS)
                except queue.Empty:
                    self._process.end()
                    continue
                if item is None:
                    return
                place, task = item
                self._run_task(place, task)
        finally:
            self._process.end()

    def _run_task(self, place: Key, task: Callable[[], dict[str, Any]]) -> None:
        experiment, kind, key = place
        failure: SparsemodError | None = None
        passing = False
        try:
            content = self._process.run(f"service.jobs.experiment_tasks:{kind}", task())
            self._store.keep_computed_view(experiment, kind, key, content, only=kind == "importance")
        except TaskFailed as error:
            failure = BuildError(str(error))
        except TaskOverLimit as error:
            failure = SparsemodError(str(error))
        except SparsemodError as error:
            failure, passing = SparsemodError(str(error)), True
        except Exception as error:  # noqa: BLE001 - the next task must run in any case
            failure, passing = SparsemodError(f"{type(error).__name__}: {error}"), True
        with self._lock:
            self._waiting.discard(place)
            if failure and not self._closed:
                log.warning("computation failed", experiment=experiment, kind=kind, reason=str(failure))
                self._failures[place] = failure
                if passing:
                    self._passing.add(place)
                while len(self._failures) > _FAILURES_KEPT:
                    oldest = next(iter(self._failures))
                    del self._failures[oldest]
                    self._passing.discard(oldest)


def experiment_task(store: Store, experiment: int) -> dict[str, Any]:
    """Return an experiment's spec and trials, the task of `service.jobs.experiment_tasks`. Raises NotFound."""
    spec = store.experiment(experiment).spec
    return {"spec": spec.to_dict(), "trials": observations_to_plain(store.observations(experiment))}
