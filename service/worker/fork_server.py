"""The worker's side of the nursery: start it, ask it for children, hear how they end."""

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from service.worker.trial_process import PRELOADED, Channel, Message
from sparsemod.errors import SparsemodError

START_SECONDS = 120.0
"""How long a nursery may take to load its modules before it counts as broken."""

EXIT_SECONDS = 10.0
"""How long after the end of its channel a child's exit status may take to arrive."""


LONGEST_PRINTED = 1 << 16
"""Bytes after which a line that does not end is taken as one."""


class NurseryBroken(SparsemodError):
    """The process that forks children does not start or has ended; the next `fork` starts a new one."""


@dataclass
class Child:
    """One forked process: its channel, the last lines it printed, and its end."""

    job: str
    channel: Channel
    output: int
    nursery: "Nursery"
    pid: int = 0
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=40))
    _partial: bytes = b""
    _exited: threading.Event = field(default_factory=threading.Event)
    code: int | None = None

    def read_output(self) -> list[str] | None:
        """The lines printed since the last call; None once the stream has ended."""
        data = os.read(self.output, 1 << 16)
        if not data and not self._partial:
            return None
        *lines, self._partial = (self._partial + (data or b"\n")).split(b"\n")
        if len(self._partial) > LONGEST_PRINTED:
            # Output without an end of line must neither fill the worker's memory nor be copied again with every read.
            lines.append(self._partial)
            self._partial = b""
        # What a progress bar writes over is not repeated: a terminal would show the last of it.
        text = [line.decode(errors="replace").rstrip().rpartition("\r")[2] for line in lines]
        self.lines.extend(text)
        return text

    def memory(self) -> int:
        """Bytes that are resident for this process alone (anonymous and shared memory, not mapped files); 0 once it has ended."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return 0
        kilobytes = 0
        for line in status.splitlines():
            if line.startswith(("RssAnon:", "RssShmem:")):
                kilobytes += int(line.split()[1])
        return kilobytes * 1024

    def kill(self) -> None:
        """End it at once."""
        self.nursery.kill(self.job)

    def exited(self, code: int | None) -> None:
        """Called by the nursery's reader: the process has ended with `code` (negative: a signal; None: unknown)."""
        self.code = code
        self._exited.set()

    def wait(self) -> int | None:
        """The exit code, negative for a signal; None when it is not known."""
        self._exited.wait(EXIT_SECONDS)
        return self.code

    def ending(self) -> str:
        """How the process ended, in words."""
        code = self.wait()
        if code is None:
            return "ended in an unknown way"
        if code >= 0:
            return f"ended by itself with exit code {code}"
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return f"was ended by {name}"

    def close(self) -> None:
        """Release the descriptors."""
        self.channel.close()
        os.close(self.output)


class Nursery:
    """Starts the nursery process when needed and forks children from it; safe from several threads."""

    def __init__(
        self,
        *,
        environment: dict[str, str] | None = None,
        threads: int = 1,
        preload: tuple[str, ...] = PRELOADED,
    ) -> None:
        self._environment, self._threads, self._preload = environment or {}, threads, preload
        self._lock = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self._socket: socket.socket | None = None
        self._children: dict[str, Child] = {}
        self._news = threading.Condition(self._lock)
        self._ready = False
        self._datasets: set[str] = set()
        self._jobs = itertools.count(1)

    @property
    def pid(self) -> int | None:
        """Process id of the nursery, None while there is none."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the process without waiting for its imports."""
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                return
            self._ready = False
            self._datasets.clear()
            ours, theirs = socket.socketpair()
            command = [
                sys.executable,
                "-m",
                "service.worker.trial_process",
                "--control",
                str(theirs.fileno()),
            ]
            command += ["--threads", str(self._threads), "--preload", *self._preload]
            environment = {**os.environ, **self._environment}
            threads = str(self._threads)
            environment.update(OMP_NUM_THREADS=threads, MKL_NUM_THREADS=threads, PYTHONUNBUFFERED="1")
            environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
            self._process = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], env=environment, stdin=subprocess.DEVNULL
            )
            theirs.close()
            self._socket, self._channel = ours, Channel(ours)
            threading.Thread(
                target=self._listen, args=(self._channel, self._process), name="nursery", daemon=True
            ).start()

    def fork(self) -> Child:
        """A new child that waits for its job. Raises NurseryBroken."""
        with self._lock:
            self.start()
            self._wait_for(lambda: self._ready, START_SECONDS, "did not load its modules")
            job = f"job-{next(self._jobs)}"
            ours, theirs = socket.socketpair()
            read, write = os.pipe()
            child = self._children[job] = Child(job, Channel(ours), read, self)
            request = json.dumps({"kind": "fork", "job": job}).encode() + b"\n"
            try:
                socket.send_fds(self._require_socket(), [request], [theirs.fileno(), write])
                self._wait_for(lambda: child.pid > 0, START_SECONDS, "did not fork")
            except (OSError, NurseryBroken) as error:
                self._children.pop(job, None)
                child.close()
                raise NurseryBroken(f"the process that forks trials failed: {error}") from error
            finally:
                theirs.close()
                os.close(write)
            return child

    def kill(self, job: str) -> None:
        """SIGKILL for the child of `job`, if it still runs: the nursery knows which process ids are still its own."""
        self._tell({"kind": "kill", "job": job})

    def keep_dataset(self, spec: Message) -> None:
        """Load the dataset of `spec` into the nursery, from which later children inherit it; once per dataset."""
        key = json.dumps(spec["dataset"], sort_keys=True)
        with self._lock:
            if key in self._datasets:
                return
            self._datasets.add(key)
        self._tell({"kind": "dataset", "spec": spec})

    def close(self) -> None:
        """End the nursery and with it every child."""
        with self._lock:
            process, self._process = self._process, None
            if self._socket is not None:
                # Shut down, not only closed: the listening thread sits in recv on it.
                with contextlib.suppress(OSError):  # the other side may have been faster
                    self._socket.shutdown(socket.SHUT_RDWR)
                self._socket = None
        if process is not None:
            process.kill()  # it holds nothing, and its children end with it
            process.wait()

    def _require_socket(self) -> socket.socket:
        if self._socket is None:
            raise NurseryBroken("the process that forks trials is not running")
        return self._socket

    def _tell(self, message: Message) -> None:
        with self._lock:
            if self._channel is None or self._socket is None:
                return
            try:
                self._channel.send(message)
            except OSError:
                return  # it has ended, and its children with it

    def _wait_for(self, done: Callable[[], bool], seconds: float, complaint: str) -> None:
        limit = time.monotonic() + seconds
        while not done():
            process = self._process
            if process is None or process.poll() is not None:
                code = None if process is None else process.returncode
                raise NurseryBroken(f"the process that forks trials ended (exit code {code})")
            if not self._news.wait(min(0.5, max(0.0, limit - time.monotonic()))) and time.monotonic() > limit:
                process.kill()
                raise NurseryBroken(f"the process that forks trials {complaint} in {seconds:g} s")

    def _listen(self, channel: Channel, process: subprocess.Popen[bytes]) -> None:
        for message in channel.messages():
            with self._lock:
                if message["kind"] == "ready":
                    self._ready = True
                elif message["kind"] == "forked":
                    self._children[message["job"]].pid = message["pid"]
                elif message["kind"] == "exited":
                    self._children.pop(message["job"]).exited(message["code"])
                self._news.notify_all()
        channel.close()
        process.wait()
        with self._lock:
            if channel is self._channel:
                for child in self._children.values():
                    child.exited(None)
                self._children.clear()
                self._ready = False
                self._news.notify_all()
