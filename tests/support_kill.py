"""Real processes of the service for tests that kill them."""

import collections
import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.client.client import Client
from service.processes.supervisor import free_port
from service.schemas.trials import AttemptState, ExperimentState
from service.store import Store
from sparsemod.errors import ServerUnavailable
from sparsemod.records import TrialState


class Processes:
    """Server, suggester and workers on one data folder, each started and killed by name.

    Every process inherits an environment variable, so that `left` finds whatever outlives them. A lease
    must outlast the pauses of a busy machine; only tests that kill workers shorten it.
    """

    def __init__(self, folder: Path, lease_seconds: float = 12.0) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._mark = f"SPARSEMOD_TEST_MARK={uuid.uuid4().hex}"
        name, _, value = self._mark.partition("=")
        self.environment = {
            **os.environ,
            name: value,
            "SPARSEMOD_LEASE_SECONDS": str(lease_seconds),
            "OMP_NUM_THREADS": "1",
        }
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start one of our commands; its output goes to NAME.log."""
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "service.cli", *arguments],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.running[name] = process
        return process

    def start_server(self) -> None:
        """The HTTP server alone."""
        self.start(
            "server", "serve", "--only-server", "--port", str(self.port), "--data-dir", str(self.folder)
        )

    def answers(self) -> None:
        """Wait until the server does."""

        def ready() -> bool:
            try:
                with Client(self.url) as client:
                    return client.health().status == "ok"
            except ServerUnavailable:
                return False

        until(ready, 60, "the server")

    def start_suggester(self) -> None:
        """Under the same name each time, so that it need not wait for its own old lease."""
        self.start("suggester", "suggester", "--data-dir", str(self.folder), "--name", "one", "--ahead", "3")

    def start_worker(self, name: str) -> None:
        """A CPU worker."""
        self.start(name, "worker", "--cpu", "--server", self.url, "--name", name)

    def kill(self, name: str) -> None:
        """SIGKILL."""
        process = self.running.pop(name)
        process.kill()
        process.wait()

    def end(self) -> None:
        """End what still runs, the hard way."""
        for name in list(self.running):
            self.kill(name)

    def left(self) -> list[str]:
        """Command lines of processes that carry the mark."""
        return list(self.marked().values())

    def marked(self) -> dict[int, str]:
        """Process id -> command line of the processes that carry the mark."""
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal() or int(entry.name) == os.getpid():
                continue
            with contextlib.suppress(OSError):
                if self._mark.encode() in (entry / "environ").read_bytes().split(b"\0"):
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    found[int(entry.name)] = command
        return found

    def logs(self) -> str:
        """Return the logs of the processes, for a failing test."""
        return "\n".join(
            f"== {path.name}\n{path.read_text()[-3000:]}" for path in sorted(self.folder.glob("*.log"))
        )


def until(condition: Callable[[], Any], seconds: float, what: str) -> None:
    """Wait for `condition`."""
    limit = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > limit:
            raise AssertionError(f"waited {seconds:g} s for {what}")
        time.sleep(0.02)


def stop_gently(process: subprocess.Popen[bytes], sign: int = signal.SIGTERM, seconds: float = 30.0) -> int:
    """Send `sign` and wait; the exit code."""
    process.send_signal(sign)
    return process.wait(timeout=seconds)


def store_at(folder: Path) -> Store:
    """The store that the processes use."""
    return Store.open(f"sqlite:///{folder.absolute() / 'sparsemod.db'}")


def check_complete(store: Store, identity: int, processes: Processes, rounds: dict[str, int]) -> None:
    """Assert that the experiment has completed `rounds` (name -> completed trials), without loss or
    duplicates.

    Each trial exists exactly once, indices, events and curves have no gaps, files match their digests, and
    every history is consistent.
    """
    experiment = store.experiment(identity)
    assert (experiment.state, experiment.reason) == (ExperimentState.DONE, "all rounds are complete")
    with Client(processes.url) as client:
        trials = [client.trial(identity, record.index) for record in store.observations(identity)]
        pareto = client.pareto(identity)
        events = client.events(identity)
        curves = [client.curve(identity, trial.index) for trial in trials]
    assert [trial.index for trial in trials] == list(range(len(trials)))
    assert {trial.state for trial in trials} <= {TrialState.COMPLETED, TrialState.INFEASIBLE}
    done = collections.Counter(
        trial.candidate.round for trial in trials if trial.state is TrialState.COMPLETED
    )
    assert done == rounds
    assert len({str(sorted(trial.candidate.parameters.items())) for trial in trials}) == len(trials)
    for trial, curve in zip(trials, curves, strict=True):
        endings = collections.Counter(attempt.state for attempt in trial.attempts)
        assert endings[AttemptState.COMPLETED] == 1, f"trial {trial.index}: {endings}"
        # A worker whose fork server is killed returns its attempt unfinished.
        assert set(endings) <= {
            AttemptState.COMPLETED,
            AttemptState.LOST,
            AttemptState.FAILED,
            AttemptState.RELEASED,
        }, f"trial {trial.index}: {endings}"
        assert [point.epoch for point in curve] == list(range(1, trial.epochs + 1)), f"trial {trial.index}"
        assert {artifact.kind for artifact in trial.artifacts} >= {"weights", "network"}
        for artifact in trial.artifacts:
            name = artifact.digest.removeprefix("sha256:")
            content = (processes.folder / "artifacts" / name[:2] / name[2:]).read_bytes()
            assert hashlib.sha256(content).hexdigest() == name
    assert [event.counter for event in events] == list(range(1, len(events) + 1))
    over = [
        event.data["index"]
        for event in events
        if event.kind == "trial" and event.data["state"] == "completed"
    ]
    assert sorted(over) == list(range(len(trials))), "each trial completed in exactly one event"
    objectives = experiment.spec.objectives_in_force()
    expected = objectives.history([trials[index].values() for index in over])
    assert [entry.hypervolume for entry in pareto.history] == pytest.approx(expected)
    assert pareto.hypervolume == pytest.approx(expected[-1])
    assert [entry.index for entry in pareto.history] == over
