"""The server's side of the export child.

The child starts with the first task, runs one task at a time, and ends with `end`.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from typing import IO, Any

from sparsemod.errors import SparsemodError

END_SECONDS = 5.0
"""Seconds that the process may take to end by itself."""


class ExportDied(SparsemodError):
    """The process ended before its answer. Another attempt may succeed."""


class ExportLate(SparsemodError):
    """The task exceeded its time limit."""


class ExportProcess:
    """Handle of one export child.

    Call `ask` and `end` from one thread, which must live as long as the process. Any thread may call `kill`
    and `close`.
    """

    def __init__(self) -> None:
        self._child: subprocess.Popen[str] | None = None
        self._stderr: IO[bytes] | None = None
        self._lock = threading.Lock()
        self._closed = False

    def ask(self, task: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Run `task` and return its answer.

        Raises ExportLate after `seconds`, ExportDied with the last line of stderr.
        """
        if self._child is not None and self._child.poll() is not None:
            self.end()  # it was killed after the previous task had ended
        child = self._started()
        begin = 0 if self._stderr is None else os.fstat(self._stderr.fileno()).st_size
        late = threading.Event()

        def stop() -> None:
            late.set()
            self.kill()

        timer = threading.Timer(seconds, stop)
        timer.start()
        try:
            line = _exchange(child, json.dumps(task))
        finally:
            timer.cancel()
        if line.endswith("\n"):
            answer: dict[str, Any] = json.loads(line)
            return answer
        self.kill()
        code = child.wait()
        message = self._last_line(begin)
        self.end()
        if late.is_set():
            raise ExportLate(f"the export took more than export_seconds = {seconds:g} s")
        ending = signal.strsignal(-code) if code < 0 else f"status {code}"
        raise ExportDied(f"the export ended early: {message or ending}")

    def kill(self) -> None:
        """Kill the process and its subprocesses."""
        with self._lock:
            if self._child is not None and self._child.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._child.pid, signal.SIGKILL)

    def close(self) -> None:
        """Kill the process and refuse further tasks."""
        with self._lock:
            self._closed = True
        self.kill()

    def end(self) -> None:
        """Close the process's pipes and wait for its end. Do nothing when there is no process."""
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
                raise ExportDied("the server is ending")
            if self._child is None:
                self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by end
                self._child = subprocess.Popen(
                    [sys.executable, "-m", "service.jobs.export_child", str(os.getpid())],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr, text=True,
                    process_group=0,
                )  # fmt: skip
            return self._child

    def _last_line(self, begin: int) -> str:
        """Return the last line of stderr written after offset `begin`."""
        if self._stderr is None:
            return ""
        size = os.fstat(self._stderr.fileno()).st_size
        begin = max(begin, size - 10_000)
        text = os.pread(self._stderr.fileno(), size - begin, begin).decode(errors="replace").strip()
        return text.splitlines()[-1] if text else ""


def _exchange(child: "subprocess.Popen[str]", line: str) -> str:
    """Send `line` and return the answer. It has no newline at its end when the process has ended."""
    if child.stdin is None or child.stdout is None:
        raise ExportDied("the export process has no pipes")
    with contextlib.suppress(BrokenPipeError):
        child.stdin.write(line + "\n")
        child.stdin.flush()
    return child.stdout.readline()
