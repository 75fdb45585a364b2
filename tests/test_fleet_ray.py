"""`sparsemod fleet` on real Ray clusters: a node that dies, the queue, a token, the user's module, Ctrl-C."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support_fleet import write_gated
from support_kill import Processes, store_at, until
from support_specs import small_spec

from service.client.client import Client
from service.schemas.logins import Scope
from service.schemas.trials import AttemptState, ExperimentState
from service.store import Store
from sparsemod.records import TrialState

# Seconds. No result: only how long a machine may be busy with other things before a test gives up.
PATIENCE = 300
pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]

OBJECT_STORE = 78_643_200  # bytes; Ray allows no less
MODULE = "gated_network"


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Processes, Path]]:
    """Processes whose logs are shown when a test fails, and the folder of the user's module.

    Server and suggester find the module by their PYTHONPATH, the workers by the runtime environment only.
    """
    processes = Processes(tmp_path, lease_seconds=20.0)
    # Everything that Ray starts inherits the mark and these settings.
    for name, value in processes.environment.items():
        if name.startswith("SPARSEMOD_TEST_MARK"):
            monkeypatch.setenv(name, value)
    for name, value in {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}.items():
        monkeypatch.setenv(name, value)
        processes.environment[name] = value
    try:
        yield processes, write_gated(tmp_path / "modules")
    except AssertionError as error:
        raise AssertionError(f"{error}\n{processes.left()}\n{processes.logs()}") from error
    finally:
        processes.end()


def start_service(processes: Processes, modules: Path) -> None:
    plain = processes.environment
    path = os.pathsep.join([str(modules), os.environ.get("PYTHONPATH", "")])
    processes.environment = {**plain, "SPARSEMOD_IMPORTS": MODULE, "PYTHONPATH": path}
    processes.start_server()
    processes.answers()
    processes.start_suggester()
    processes.environment = plain


def fleet_words(processes: Processes, modules: Path, gate: Path, *words: str) -> list[str]:
    environment = {"working_dir": str(modules), "env_vars": {"GATE": str(gate)}}
    return [
        "fleet", "--server", processes.url, "--import", MODULE, "--name", "f",
        "--runtime-env", json.dumps(environment), *words,
    ]  # fmt: skip


def spec(name: str, trials: int) -> Any:
    return small_spec(name, (trials, 0, 0), network={"family": "gated"}, limits={"attempts": 20})


def log_of(processes: Processes) -> str:
    """Return the output of the fleet without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", (processes.folder / "fleet.log").read_text())


def placed(processes: Processes) -> dict[str, list[str]]:
    """Return node -> workers that the fleet started there."""
    found: dict[str, list[str]] = {}
    for node, worker in re.findall(r"worker runs\s+node='[^']*node (\w+)' worker=(\S+)", log_of(processes)):
        found.setdefault(node, []).append(worker)
    return found


def running_attempts(store: Store, identity: int) -> dict[str, int]:
    """Return worker -> trial of the running attempts."""
    found = {}
    for index in range(sum(store.experiment(identity).counts.values())):
        for attempt in store.trial(identity, index).attempts:
            if attempt.state is AttemptState.RUNNING:
                found[attempt.worker] = index
    return found


def left(processes: Processes, word: str) -> list[str]:
    """Return the command lines of remaining processes that contain `word`."""
    return [line for line in processes.left() if word in line]


def test_a_killed_node_and_ctrl_c(folders: tuple[Processes, Path], tmp_path: Path) -> None:
    """The fleet follows the queue. A node dies: its trial is retried, its worker is replaced on another node.
    After Ctrl-C, a worker finishes its trial."""
    from ray.cluster_utils import Cluster

    processes, modules = folders
    gate = tmp_path / "gate"
    store = store_at(tmp_path)
    store.create_token("owner", [Scope.ADMIN])
    token, _ = store.create_token("fleet", [Scope.WORKER, Scope.READ])
    identity = store.create_experiment(spec("killed node", 5)).id
    # One CPU each, so that each node gets one of the two workers.
    size = {"num_cpus": 1, "object_store_memory": OBJECT_STORE}
    cluster = Cluster(initialize_head=True, head_node_args={**size, "include_dashboard": False})
    try:
        doomed = cluster.add_node(**size)
        start_service(processes, modules)
        words = fleet_words(processes, modules, gate, "--address", cluster.address, "--max", "2")
        processes.environment["SPARSEMOD_TOKEN"] = token
        fleet = processes.start("fleet", *words)
        until(lambda: len(running_attempts(store, identity)) == 2, PATIENCE, "two trials that wait")
        (victim,) = placed(processes)[doomed.node_id[:8]]
        lost = running_attempts(store, identity)[victim]
        cluster.remove_node(doomed, allow_graceful=False)
        until(lambda: "0 of 1 CPU free" in log_of(processes), PATIENCE, "the reason for the pending worker")
        gate.touch()
        other = cluster.add_node(**size)
        until(lambda: placed(processes).get(other.node_id[:8]), PATIENCE, "the replacement on a new node")
        until(lambda: store.experiment(identity).state is not ExperimentState.RUNNING, PATIENCE, "the end")
        with Client(processes.url, token=token) as client:
            trials = [client.trial(identity, index) for index in range(5)]
        assert {trial.state for trial in trials} == {TrialState.COMPLETED}
        assert all(trial.attempts[-1].state is AttemptState.COMPLETED for trial in trials)
        assert (victim, AttemptState.LOST) in {(one.worker, one.state) for one in trials[lost].attempts}

        gate.unlink()
        identity = store.create_experiment(spec("drained", 3)).id
        until(lambda: running_attempts(store, identity), PATIENCE, "a trial that waits")
        fleet.send_signal(signal.SIGINT)
        until(lambda: re.search(r"draining=[12]", log_of(processes)), PATIENCE, "the drain")
        waiting = set(running_attempts(store, identity).values())
        gate.touch()
        assert fleet.wait(PATIENCE) == 0
        for index in waiting:
            assert [one.state for one in store.trial(identity, index).attempts] == [AttemptState.COMPLETED]
        assert not running_attempts(store, identity)
        until(lambda: not left(processes, "service.cli worker"), PATIENCE, "the workers to be gone")
    finally:
        cluster.shutdown()


def test_ctrl_c_ends_a_local_cluster(folders: tuple[Processes, Path], tmp_path: Path) -> None:
    processes, modules = folders
    words = fleet_words(processes, modules, tmp_path / "gate", "--address", "local", "--max", "1")
    with (tmp_path / "fleet.log").open("wb") as log:
        fleet = subprocess.Popen(
            [sys.executable, "-m", "service.cli", *words],
            env=processes.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0,
        )  # fmt: skip
    processes.running["fleet"] = fleet
    until(lambda: "wanted=0" in log_of(processes), PATIENCE, "a fleet that waits for the server")
    assert left(processes, "raylet")
    # As a terminal does: to all processes of the command, those of the cluster included.
    os.killpg(fleet.pid, signal.SIGINT)
    assert fleet.wait(PATIENCE) == 0
    until(lambda: not processes.left(), PATIENCE, "the cluster to be gone")
