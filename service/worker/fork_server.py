"""The worker's side of the fork server: start it, request children, receive their exit codes."""

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

from service.processes.memory import resident_bytes
from service.worker.channel import Channel, Message
from service.worker.trial_process import PRELOADED
from sparsemod.errors import SparsemodError

START_SECONDS = 120.0
"""Time limit for the fork server to load its modules."""

EXIT_SECONDS = 10.0
"""Time limit for a child's exit code to arrive after its channel has closed."""

LONGEST_PRINTED = 1 << 16
"""Bytes after which printed output without a newline is split."""


class ForkServerBroken(SparsemodError):
    """The fork server does not start or has ended. The next `fork` starts a new one."""


@dataclass
class Child:
    """One forked process: its channel, its last printed lines and its exit code."""

    job: str
    channel: Channel
    output: int
    fork_server: "ForkServer"
    pid: int = 0
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=40))
    _partial: bytes = b""
    _exited: threading.Event = field(default_factory=threading.Event)
    code: int | None = None

    def read_output(self) -> list[str] | None:
        """Return the lines printed since the last call, None after the end of the stream."""
        data = os.read(self.output, 1 << 16)
        if not data and not self._partial:
            return None
        *lines, self._partial = (self._partial + (data or b"\n")).split(b"\n")
        if len(self._partial) > LONGEST_PRINTED:
            # Output without a newline must not fill the worker's memory or be copied with every read.
            lines.append(self._partial)
            self._partial = b""
        # A progress bar overwrites its line. Keep the last version, as a terminal shows it.
        text = [line.decode(errors="replace").rstrip().rpartition("\r")[2] for line in lines]
        self.lines.extend(text)
        return text

    def memory(self) -> int:
        """Return the resident bytes of this process, 0 after its end; see `resident_bytes`."""
        return resident_bytes(self.pid)

    def kill(self) -> None:
        """Kill the process."""
        self.fork_server.kill(self.job)

    def exited(self, code: int | None) -> None:
        """Record the exit code (negative: a signal; None: unknown).

        Called by the fork server's listener thread.
        """
        self.code = code
        self._exited.set()

    def wait(self) -> int | None:
        """Wait for the end and return the exit code, negative for a signal, None when unknown."""
        self._exited.wait(EXIT_SECONDS)
        return self.code

    def ending(self) -> str:
        """Describe how the process ended."""
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
        """Close the descriptors."""
        self.channel.close()
        os.close(self.output)


class ForkServer:
    """Starts the fork server process when needed and forks children from it.

    Safe to use from several threads.
    """

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
        """Return the process id of the fork server, None while none is running."""
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
                target=self._listen, args=(self._channel, self._process), name="fork-server", daemon=True
            ).start()

    def fork(self) -> Child:
        """Fork a child that waits for its job. Raises ForkServerBroken."""
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
            except (OSError, ForkServerBroken) as error:
                self._children.pop(job, None)
                child.close()
                raise ForkServerBroken(f"the process that forks trials failed: {error}") from error
            finally:
                theirs.close()
                os.close(write)
            return child

    def kill(self, job: str) -> None:
        """Kill the child of `job` if it still runs. The fork server knows which process ids are valid."""
        self._send({"kind": "kill", "job": job})

    def keep_dataset(self, spec: Message) -> None:
        """Load the dataset of `spec` into the fork server, once per dataset. Later children inherit it."""
        key = json.dumps(spec["dataset"], sort_keys=True)
        with self._lock:
            if key in self._datasets:
                return
            self._datasets.add(key)
        self._send({"kind": "dataset", "spec": spec})

    def close(self) -> None:
        """End the fork server and all its children."""
        with self._lock:
            process, self._process = self._process, None
            if self._socket is not None:
                # Shut down, not only close: the listener thread is blocked in recv on it.
                with contextlib.suppress(OSError):  # the other side may have closed first
                    self._socket.shutdown(socket.SHUT_RDWR)
                self._socket = None
        if process is not None:
            process.kill()  # it has no state to save, and its children end with it
            process.wait()

    def _require_socket(self) -> socket.socket:
        if self._socket is None:
            raise ForkServerBroken("the process that forks trials is not running")
        return self._socket

    def _send(self, message: Message) -> None:
        with self._lock:
            if self._channel is None or self._socket is None:
                return
            try:
                self._channel.send(message)
            except OSError:
                return  # the fork server has ended with its children

    def _wait_for(self, done: Callable[[], bool], seconds: float, complaint: str) -> None:
        limit = time.monotonic() + seconds
        while not done():
            process = self._process
            if process is None or process.poll() is not None:
                code = None if process is None else process.returncode
                raise ForkServerBroken(f"the process that forks trials ended (exit code {code})")
            if not self._news.wait(min(0.5, max(0.0, limit - time.monotonic()))) and time.monotonic() > limit:
                process.kill()
                raise ForkServerBroken(f"the process that forks trials {complaint} in {seconds:g} s")

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
