"""Server, suggester and workers are killed (SIGKILL) again and again while an experiment runs: nothing is lost, nothing is doubled."""

import signal
import time
from pathlib import Path

import pytest
from support_kill import Processes, check_complete, stop_gently, store_at, until
from support_specs import narrow, small_spec

from service.schemas.trials import ExperimentState
from service.store import Store
from sparsemod.records import TrialState

# Seconds. No result: only how long a machine may be busy with other things before a test gives up.
PATIENCE = 200
pytestmark = pytest.mark.timeout(900)

SPEC = small_spec("killed", (8, 6, 6), network=narrow(32), limits={"attempts": 20})


def finished(store: Store, identity: int) -> int:
    counts = store.experiment(identity).counts
    return sum(count for state, count in counts.items() if state.finished)


@pytest.mark.long
def test_killed_processes_lose_and_double_nothing(tmp_path: Path) -> None:
    processes = Processes(tmp_path, lease_seconds=2.0)
    store = store_at(tmp_path)
    identity = store.create_experiment(SPEC).id
    try:
        processes.start_server()
        processes.start_suggester()
        for name in ("worker-1", "worker-2"):
            processes.start_worker(name)

        def running() -> bool:
            return store.experiment(identity).counts.get(TrialState.RUNNING, 0) > 0

        def at(count: int) -> None:
            until(lambda: finished(store, identity) >= count, PATIENCE, f"{count} finished trials")

        # The suggester while it loads or suggests, a worker in its trial, the server under both, and again in the later rounds.
        until(lambda: store.observations(identity), PATIENCE, "the first trial")
        processes.kill("suggester")
        processes.start_suggester()
        until(running, PATIENCE, "a running trial")
        processes.kill("worker-1")
        processes.start_worker("worker-1")
        at(3)
        processes.kill("server")
        time.sleep(0.5)
        processes.start_server()
        at(6)
        processes.kill("suggester")
        processes.kill("server")
        processes.start_server()
        processes.start_suggester()
        at(9)
        until(running, PATIENCE, "a running trial")
        processes.kill("worker-2")
        processes.start_worker("worker-2")
        at(15)
        until(running, PATIENCE, "a running trial")
        processes.kill("worker-1")
        processes.kill("server")
        processes.start_server()
        processes.start_worker("worker-1")
        until(lambda: store.experiment(identity).state is not ExperimentState.RUNNING, 90, "the end")
        check_complete(store, identity, processes, {"r1": 8, "r2": 6, "r3": 6})
        for name in ("worker-1", "worker-2", "suggester", "server"):
            stop_gently(processes.running.pop(name))
        until(lambda: not processes.left(), PATIENCE, "all processes to be gone")
    except AssertionError as error:
        raise AssertionError(f"{error}\n{processes.left()}\n{processes.logs()}") from error
    finally:
        processes.end()


@pytest.mark.long
def test_a_killed_supervisor_leaves_no_process_behind(tmp_path: Path) -> None:
    processes = Processes(tmp_path, lease_seconds=2.0)
    arguments = ("serve", "--port", str(processes.port), "--data-dir", str(tmp_path), "--workers", "1")
    try:
        process = processes.start("supervisor", *arguments)
        until(
            lambda: len(processes.left()) >= 5,
            PATIENCE,
            "supervisor, server, suggester, worker and fork server",
        )
        process.kill()
        process.wait()
        until(lambda: not processes.left(), PATIENCE, "all processes to be gone")
        process = processes.start("supervisor", *arguments)
        until(
            lambda: len(processes.left()) >= 5,
            PATIENCE,
            "supervisor, server, suggester, worker and fork server",
        )
        assert stop_gently(process, signal.SIGINT, PATIENCE) == 0
        assert not processes.left()
    except AssertionError as error:
        raise AssertionError(f"{error}\n{processes.left()}\n{processes.logs()}") from error
    finally:
        processes.end()
