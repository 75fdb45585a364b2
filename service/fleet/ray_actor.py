"""The Ray actor of one worker. It runs `sparsemod worker` as a child process and observes it.

The child is the same program as a worker that a person starts: it has its own leases and drains after SIGTERM.
It ends when the actor's process ends. No method blocks.
"""

import os
import signal
import socket
import subprocess
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from service.client.credentials import VARIABLE
from service.processes.supervised import PARENT_VARIABLE
from service.processes.supervisor import command

KEPT_LINES = 20
"""Last lines of a worker's output that explain its end."""


class WorkerActor:
    """Runs one worker. `name` is the worker's name on the server, `token` is for the server; empty: the node's.

    `options` are the options of `sparsemod worker`; `gpu`: whether the worker uses the GPU that Ray assigned.
    """

    def __init__(self, name: str, options: Sequence[str], token: str, gpu: bool) -> None:
        self._name, self._options, self._token, self._gpu = name, list(options), token, gpu
        self._child: subprocess.Popen[str] | None = None
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._reader: threading.Thread | None = None

    def __repr__(self) -> str:
        return self._name  # Ray writes it before each line of the actor's output

    def spawn(self) -> str:
        """Start the worker; return its host and the first digits of its node's id."""
        self.start_child(["--gpu", gpu_number(assigned_gpus())] if self._gpu else ["--cpu"])
        return f"{socket.gethostname()}, node {node_id()[:8]}"

    def start_child(self, device: Sequence[str]) -> None:
        """Start the worker with the options `device` besides its own."""
        words = command("worker", "--name", self._name, *device, *self._options)
        # The main thread must start it: the kernel ends a child with the thread that started it.
        self._child = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=child_environment(os.environ, self._token),
            process_group=0,
        )
        self._reader = threading.Thread(target=self._read, args=(self._child,), daemon=True)
        self._reader.start()

    def look(self) -> dict[str, Any]:
        """Return the worker's exit code, None while it runs, and the last line of its output."""
        code = None if self._child is None else self._child.poll()
        if code is not None and self._reader is not None:
            self._reader.join(timeout=1.0)  # a detached process may hold the pipe
        return {"code": code, "line": self._lines[-1] if self._lines else ""}

    def end(self) -> None:
        """Send SIGTERM: the worker finishes its trial; after the second time it gives it back."""
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)

    def _read(self, child: "subprocess.Popen[str]") -> None:
        """Pass the worker's output on to Ray's log, and keep its last lines."""
        if child.stdout is not None:
            with child.stdout as lines:
                for line in lines:
                    self._lines.append(line.rstrip())
                    print(line, end="", flush=True)


def node_id() -> str:
    """Return Ray's id of the node that runs this process."""
    import ray

    return str(ray.get_runtime_context().get_node_id())


def assigned_gpus() -> list[str]:
    """Return the GPUs that Ray assigned to this process."""
    return [part.strip() for part in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if part.strip()]


def gpu_number(assigned: Sequence[str]) -> str:
    """Return the number of the assigned GPU. Raises ValueError when it has none."""
    if len(assigned) != 1 or not assigned[0].isdecimal():
        raise ValueError(f"Ray assigned the GPUs {list(assigned)}; a worker needs one GPU with a number")
    return assigned[0]


def child_environment(environment: Mapping[str, str], token: str) -> dict[str, str]:
    """Return the worker's environment: it ends with this process and uses `token` unless that is empty."""
    secret = {VARIABLE: token} if token else {}
    # Python shows no progress to a pipe unless it is unbuffered.
    return {**environment, **secret, PARENT_VARIABLE: str(os.getpid()), "PYTHONUNBUFFERED": "1"}
