"""The server's side of the process that writes exports: started with the first task, asked one task after another, ended by `end`."""

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
"""How long the process may take to end by itself."""


class ExportDied(SparsemodError):
    """The process ended before its answer; another attempt may go well."""


class ExportLate(SparsemodError):
    """The task took longer than it may."""


class ExportProcess:
    """One at a time. `ask` and `end` belong to one thread, which lives as long as the process; `kill` may be called from any."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[str] | None = None
        self._said: IO[bytes] | None = None
        self._lock = threading.Lock()
        self._closed = False

    def ask(self, task: dict[str, Any], seconds: float) -> dict[str, Any]:
        """The answer to `task`. Raises ExportLate after `seconds`, ExportDied with what the process said last."""
        if self._child is not None and self._child.poll() is not None:
            self.end()  # killed when the task before was over already
        child = self._started()
        begin = 0 if self._said is None else os.fstat(self._said.fileno()).st_size
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
        words = self._last_words(begin)
        self.end()
        if late.is_set():
            raise ExportLate(f"the export took more than export_seconds = {seconds:g} s")
        ending = signal.strsignal(-code) if code < 0 else f"status {code}"
        raise ExportDied(f"the export ended early: {words or ending}")

    def kill(self) -> None:
        """End the process at once, with what it has started."""
        with self._lock:
            if self._child is not None and self._child.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._child.pid, signal.SIGKILL)

    def close(self) -> None:
        """The same, and start no other."""
        with self._lock:
            self._closed = True
        self.kill()

    def end(self) -> None:
        """End the process in order; nothing happens when there is none."""
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
        if self._said is not None:
            self._said.close()
            self._said = None

    def _started(self) -> "subprocess.Popen[str]":
        with self._lock:
            if self._closed:
                raise ExportDied("the server is ending")
            if self._child is None:
                self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed by end
                self._child = subprocess.Popen(
                    [sys.executable, "-m", "service.jobs.export_child", str(os.getpid())],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, text=True,
                    process_group=0,
                )  # fmt: skip
            return self._child

    def _last_words(self, begin: int) -> str:
        if self._said is None:
            return ""
        size = os.fstat(self._said.fileno()).st_size
        begin = max(begin, size - 10_000)
        text = os.pread(self._said.fileno(), size - begin, begin).decode(errors="replace").strip()
        return text.splitlines()[-1] if text else ""


def _exchange(child: "subprocess.Popen[str]", line: str) -> str:
    """The line that answers `line`; one without an end where the process has ended."""
    if child.stdin is None or child.stdout is None:
        raise ExportDied("the export has no pipes")
    with contextlib.suppress(BrokenPipeError):
        child.stdin.write(line + "\n")
        child.stdin.flush()
    return child.stdout.readline()
