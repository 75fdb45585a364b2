"""The one way to run a task outside of the server's process: a child with limits of time and memory.

The child (`service.processes.task_child`) starts with the first task and stays alive between tasks, because
loading torch takes seconds. A task is a function, named "module:name", that takes and returns JSON data.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import IO, Any, Self

from service.processes.memory import half_of_memory, over_limit, resident_bytes
from sparsemod.errors import SparsemodError

END_SECONDS = 5.0
"""Seconds that the process may take to end by itself."""

LOOK_SECONDS = 0.2
"""Pause between two checks of a running task's memory."""


class TaskFailed(SparsemodError):
    """The task raised an error. The message is the error's message."""


class TaskDied(SparsemodError):
    """The process ended before its answer, or could not start. Another attempt may succeed."""


class TaskOverLimit(SparsemodError):
    """The task exceeded its limit of time or memory."""


class TaskProcess:
    """Handle of one child.

    `title` names its tasks in messages ("the export"). `seconds` limits the time of one task; `setting` is
    the name of the setting that holds it. `memory` limits the child's resident bytes; default: half of the
    machine's memory. `imports`: modules that the child imports before a task.

    Call `run` and `end` from one thread, which must live as long as the child. Any thread may call `kill`
    and `close`.
    """

    def __init__(
        self,
        title: str,
        *,
        seconds: float,
        setting: str,
        memory: int | None = None,
        imports: Sequence[str] = (),
    ) -> None:
        self._title, self._seconds, self._setting, self._imports = title, seconds, setting, list(imports)
        self._memory = half_of_memory() if memory is None else memory
        self._child: subprocess.Popen[str] | None = None
        self._stderr: IO[bytes] | None = None
        self._lock = threading.Lock()
        self._closed = False

    def run(self, function: str, task: Any) -> Any:
        """Call `function` with `task` in the child and return its result.

        Raises TaskFailed, TaskDied with the last line of stderr, TaskOverLimit.
        """
        if self._child is not None and self._child.poll() is not None:
            self.end()  # it was killed after the previous task had ended
        child = self._started()
        begin = 0 if self._stderr is None else os.fstat(self._stderr.fileno()).st_size
        request = json.dumps({"function": function, "imports": self._imports, "task": task})
        with _Watch(child.pid, min(LOOK_SECONDS, self._seconds), self._over_limit, self.kill) as watch:
            line = _exchange(child, request)
        if line.endswith("\n"):
            if watch.reason is not None:
                self.end()  # the answer came just before the kill
            answer: dict[str, Any] = json.loads(line)
            if "error" in answer:
                raise TaskFailed(answer["error"])
            return answer["result"]
        self.kill()
        code = child.wait()
        message = self._last_line(begin)
        self.end()
        if watch.reason is not None:
            raise TaskOverLimit(f"{self._title} {watch.reason}")
        ending = signal.strsignal(-code) if code < 0 else f"status {code}"
        raise TaskDied(f"{self._title} ended early: {message or ending}")

    def kill(self) -> None:
        """Kill the child and its subprocesses."""
        with self._lock:
            if self._child is not None and self._child.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._child.pid, signal.SIGKILL)

    def close(self) -> None:
        """Kill the child and refuse further tasks."""
        with self._lock:
            self._closed = True
        self.kill()

    def end(self) -> None:
        """Close the child's pipes and wait for its end. Do nothing when there is no child."""
        with self._lock:
            child, self._child = self._child, None
        if child is not None:
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()
            try:
                child.wait(timeout=END_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        if self._stderr is not None:
            self._stderr.close()
            self._stderr = None

    def _started(self) -> "subprocess.Popen[str]":
        with self._lock:
            if self._closed:
                raise TaskDied("the server is ending")
            if self._child is None:
                try:
                    self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by end
                    self._child = subprocess.Popen(
                        [sys.executable, "-m", "service.processes.task_child", str(os.getpid())],
                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr, text=True,
                        process_group=0,
                    )  # fmt: skip
                except OSError as error:
                    if self._stderr is not None:
                        self._stderr.close()
                        self._stderr = None
                    raise TaskDied(f"{self._title} cannot start its process: {error}") from error
            return self._child

    def _over_limit(self, pid: int, elapsed: float) -> str | None:
        """Return the limit that the process `pid` exceeds after `elapsed` seconds, as the end of a sentence."""
        if elapsed >= self._seconds:
            return f"took more than {self._setting} = {self._seconds:g} s"
        resident = resident_bytes(pid)
        return over_limit(resident, self._memory) if resident > self._memory else None

    def _last_line(self, begin: int) -> str:
        """Return the last line of stderr written after offset `begin`."""
        if self._stderr is None:
            return ""
        size = os.fstat(self._stderr.fileno()).st_size
        begin = max(begin, size - 10_000)
        text = os.pread(self._stderr.fileno(), size - begin, begin).decode(errors="replace").strip()
        return text.splitlines()[-1] if text else ""


class _Watch:
    """Checks a process every `pause` seconds until the end of a `with` block, and kills it when it exceeds a
    limit. `reason` then holds the limit."""

    def __init__(
        self,
        pid: int,
        pause: float,
        over_limit: Callable[[int, float], str | None],
        kill: Callable[[], None],
    ) -> None:
        self.reason: str | None = None
        self._pid, self._pause, self._over_limit, self._kill = pid, pause, over_limit, kill
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="task limits", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        started = time.monotonic()
        while self.reason is None and not self._over.wait(self._pause):
            self.reason = self._over_limit(self._pid, time.monotonic() - started)
        if self.reason is not None:
            self._kill()


def _exchange(child: "subprocess.Popen[str]", line: str) -> str:
    """Send `line` and return the answer. It has no newline at its end when the process has ended."""
    if child.stdin is None or child.stdout is None:
        raise TaskDied("the process has no pipes")
    with contextlib.suppress(BrokenPipeError):
        child.stdin.write(line + "\n")
        child.stdin.flush()
    return child.stdout.readline()
