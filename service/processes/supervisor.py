"""Supervisor of the embedded service: it keeps server, suggester and workers alive, and ends them in order.

Each process runs in its own process group, so Ctrl-C in a terminal reaches only the supervisor. The
supervisor ends the workers first, then the suggester, then the server. The kernel kills each process when
the supervisor dies.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import structlog

from service.processes.supervised import PARENT_VARIABLE
from sparsemod.errors import InvalidInput, ServerUnavailable, SparsemodError

log = structlog.get_logger("supervisor")

RESTART_SECONDS = (0.5, 15.0)
"""First and longest pause before an ended process is restarted."""

STEADY_SECONDS = 20.0
"""Lifetime after which a process counts as healthy. Its next restart uses the first pause."""

GIVE_UP_AFTER = 8
"""Consecutive failures within STEADY_SECONDS of a start after which the supervisor gives up."""


class SupervisionFailed(SparsemodError):
    """A process of the service cannot be kept alive."""


@dataclass
class Program:
    """One process to keep alive.

    `output`: log file, None for the terminal. `stop_seconds`: time limit to end.
    """

    name: str
    command: Sequence[str]
    stop_seconds: float = 10.0
    output: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    failures: int = 0
    started: float = 0.0
    next_start: float = 0.0

    @property
    def running(self) -> bool:
        """Return whether the process runs."""
        return self.process is not None and self.process.poll() is None


def restart_pause(failures: int) -> float:
    """Return the seconds before the next start after this many failures in a row, at least 1."""
    first, longest = RESTART_SECONDS
    return min(first * 2.0 ** min(failures - 1, 30), longest)


def command(*arguments: str) -> list[str]:
    """Return the command line of a sparsemod process."""
    return [sys.executable, "-m", "service.cli", *arguments]


class Supervisor:
    """Starts programs in the given order, restarts those that end, stops all in reverse order."""

    def __init__(self, programs: Sequence[Program]) -> None:
        self.programs = list(programs)
        self._stopping = False

    def start(self) -> None:
        """Start all programs."""
        for program in self.programs:
            self._start(program)

    def tend(self) -> None:
        """Restart programs that have ended. Call it often. Raises SupervisionFailed."""
        now = time.monotonic()
        for program in self.programs:
            if program.running or self._stopping:
                continue
            if program.process is not None:
                code = program.process.returncode
                program.process = None
                steady = now - program.started > STEADY_SECONDS
                program.failures = 1 if steady else program.failures + 1
                if program.failures > GIVE_UP_AFTER:
                    place = f"; its output is in {program.output}" if program.output else ""
                    raise SupervisionFailed(
                        f"the {program.name} process ended {program.failures} times in a row (exit code {code}){place}"
                    )
                pause = restart_pause(program.failures)
                program.next_start = now + pause
                log.warning("process ended, restarting", process=program.name, code=code, pause=pause)
            if now >= program.next_start:
                self._start(program)

    def stop(self) -> None:
        """Stop all programs in reverse order.

        Kill those that exceed their time limit, or all after a second Ctrl-C.
        """
        self._stopping = True
        for group in self._groups():
            for program in group:
                if program.running and program.process is not None:
                    program.process.send_signal(signal.SIGTERM)
            for program in group:
                self._await_end(program)

    def _groups(self) -> list[list[Program]]:
        """Return groups of programs that end concurrently (such as the workers), in the order of ending."""
        groups: list[list[Program]] = []
        for program in reversed(self.programs):
            kind = program.name.split("-")[0]
            if groups and groups[-1][0].name.split("-")[0] == kind:
                groups[-1].append(program)
            else:
                groups.append([program])
        return groups

    def _await_end(self, program: Program) -> None:
        if program.process is None:
            return
        try:
            program.process.wait(timeout=program.stop_seconds)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            program.process.kill()
            program.process.wait()

    def _start(self, program: Program) -> None:
        environment = {**os.environ, **program.environment, PARENT_VARIABLE: str(os.getpid())}
        output: IO[bytes] | None = None
        if program.output is not None:
            program.output.parent.mkdir(parents=True, exist_ok=True)
            output = program.output.open("ab")
        try:
            program.process = subprocess.Popen(
                list(program.command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                process_group=0,
            )
        finally:
            if output is not None:
                output.close()
        program.started = time.monotonic()


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that was free at the time of the call."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def require_free_port(host: str, port: int) -> int:
    """Return `port`, or a free port for 0.

    Raises InvalidInput when the port is in use or this machine does not have the address.
    """
    if port == 0:
        return free_port(host)
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            allowed = f"a free port on {host} ({error.strerror}); --port 0 takes any"
            raise InvalidInput("port", port, allowed) from error
    return port


def wait_until_ready(url: str, supervisor: Supervisor, seconds: float = 60.0) -> None:
    """Wait for the server's first answer and restart processes that end before it.

    Raises ServerUnavailable, SupervisionFailed.
    """
    import stamina

    from service.client.client import Client

    for attempt in stamina.retry_context(
        on=ServerUnavailable, attempts=None, timeout=seconds, wait_initial=0.1, wait_max=0.1, wait_jitter=0
    ):
        supervisor.tend()
        with attempt, Client(url) as client:
            client.health()
