"""Views that need torch, computed in a child process: graphs of networks and the importance of parameters.

A request never waits. Either the store has the result, or a thread starts the computation and the caller
repeats the request. The child starts with the first task and stays alive for a while, so the next task does
not load torch again.
"""

import contextlib
import json
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import structlog

from service.jobs.ax_snapshot import plain_record
from service.settings import Settings
from service.store import Store
from sparsemod.errors import BuildError, SparsemodError

log = structlog.get_logger("server")

IDLE_SECONDS = 120.0
"""Seconds without a task after which the child is ended."""

_FAILURES_KEPT = 200

Key = tuple[int, str, str]


class Computed:
    """Results by experiment, kind and key, from the store or from the child. Tasks run one after another."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store, self._settings = store, settings
        self._tasks: queue.Queue[tuple[Key, Callable[[], dict[str, Any]]] | None] = queue.Queue()
        self._waiting: set[Key] = set()
        self._failures: dict[Key, SparsemodError] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    def ask(self, experiment: int, kind: str, key: str, task: Callable[[], dict[str, Any]]) -> Any | None:
        """Return the result, or None while it is being computed. `task()` returns the task for the child.

        Raises BuildError when the stored data do not allow the computation, SparsemodError when the
        computation failed.
        """
        stored = self._store.derived(experiment, kind, key)
        if stored is not None:
            return stored[1]
        place = (experiment, kind, key)
        with self._lock:
            if place in self._failures:
                failure = self._failures[place]
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
            process, thread = self._process, self._thread
        self._tasks.put(None)
        if process is not None:
            process.kill()
        if thread is not None:
            thread.join()

    def _work(self) -> None:
        try:
            while not self._closed:
                try:
                    item = self._tasks.get(timeout=IDLE_SECONDS)
                except queue.Empty:
                    self._end()
                    continue
                if item is None:
                    return
                place, task = item
                self._run_task(place, task)
        finally:
            self._end()

    def _run_task(self, place: Key, task: Callable[[], dict[str, Any]]) -> None:
        experiment, kind, key = place
        failure: SparsemodError | None = None
        try:
            answer = self._compute({"kind": kind, "imports": self._settings.imports, **task()})
            if "error" in answer:
                failure = BuildError(answer["error"])
            else:
                content = answer["content"]
                self._store.keep_derived(experiment, kind, key, content, only=kind == "importance")
        except (SparsemodError, OSError) as error:  # OSError: the child cannot be started
            failure = SparsemodError(str(error))
        with self._lock:
            self._waiting.discard(place)
            if failure and not self._closed:
                log.warning("computation failed", experiment=experiment, kind=kind, reason=str(failure))
                self._failures[place] = failure
                while len(self._failures) > _FAILURES_KEPT:
                    del self._failures[next(iter(self._failures))]

    def _compute(self, task: dict[str, Any]) -> dict[str, Any]:
        process = self._start()
        timer = threading.Timer(self._settings.compute_seconds, process.kill)
        timer.start()
        try:
            if process.stdin is None or process.stdout is None:
                raise SparsemodError("the computing process has no pipes")
            process.stdin.write(json.dumps(task).encode() + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = b""
        finally:
            timer.cancel()
        if not line.endswith(b"\n"):  # the child may have been killed during its answer
            code = process.wait()
            self._end()
            limit = self._settings.compute_seconds
            raise SparsemodError(
                f"the computing process ended (exit code {code}), or took more than compute_seconds = {limit:g} s"
            )
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _start(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "service.jobs.computed_views_child"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                )
            return self._process

    def _end(self) -> None:
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def importance_task(store: Store, experiment: int) -> dict[str, Any]:
    """Return the child's task for the importance of an experiment's parameters."""
    spec = store.experiment(experiment).spec
    return {"spec": spec.to_dict(), "trials": [plain_record(record) for record in store.records(experiment)]}
