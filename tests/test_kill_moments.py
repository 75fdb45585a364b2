"""Processes of a running experiment are killed (SIGKILL) at moments that a seed draws: nothing is lost, nothing is doubled.

A failure names its seed; `SPARSEMOD_KILL_SEED=SEED pytest tests/test_kill_moments.py` draws the same victims and moments again.
"""

import contextlib
import os
import random
import secrets
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from support_kill import Processes, check_complete, stop_gently, store_at, until
from support_specs import narrow, small_spec

from service.schemas.trials import ExperimentState

# Seconds. No result: only how long a machine may be busy with other things before a test gives up.
PATIENCE = 200
pytestmark = pytest.mark.timeout(900)

WORKERS = ("worker-1", "worker-2")
BELOW = "below a worker"
VICTIMS = ("server", "suggester", *WORKERS, BELOW)
KILLS = 8
ROUNDS = {"r1": 5, "r2": 4, "r3": 3}

SPEC = small_spec(
    "killed at random", tuple(ROUNDS.values()), (2, 2, 2), network=narrow(32), limits={"attempts": 20}
)


def start(processes: Processes, name: str) -> None:
    if name in WORKERS:
        processes.start_worker(name)
    elif name == "server":
        processes.start_server()
    else:
        processes.start_suggester()


def kill_below(processes: Processes, share: float) -> None:
    """Kill a process that forks trials, or one of the trials: what workers have below them now, `share` of the way through the list."""
    found = sorted(
        pid for pid, command in processes.marked().items() if "service.worker.trial_process" in command
    )
    if found:
        with contextlib.suppress(ProcessLookupError):  # it was over just then
            os.kill(found[int(share * len(found))], signal.SIGKILL)


@dataclass(frozen=True)
class Blow:
    """`wait` seconds after the one before, `victim` is killed, and started again after `away` seconds; `share` chooses among several."""

    wait: float
    victim: str
    away: float
    share: float

    def fall(self, processes: Processes) -> None:
        time.sleep(self.wait)
        if self.victim == BELOW:
            kill_below(processes, self.share)
            return
        processes.kill(self.victim)
        time.sleep(self.away)
        start(processes, self.victim)


def blows(seed: str) -> list[Blow]:
    """Return the victims in random order, each at least once."""
    draw = random.Random(seed)
    victims = [*VICTIMS, *draw.choices(VICTIMS, k=KILLS - len(VICTIMS))]
    draw.shuffle(victims)
    return [
        Blow(draw.uniform(0.0, 2.5), victim, draw.choice((0.0, draw.uniform(0.0, 1.5))), draw.random())
        for victim in victims
    ]


@pytest.mark.long
def test_kills_at_random_moments_lose_and_double_nothing(tmp_path: Path) -> None:
    seed = os.environ.get("SPARSEMOD_KILL_SEED") or secrets.token_hex(4)
    processes = Processes(tmp_path, lease_seconds=2.0)
    store = store_at(tmp_path)
    identity = store.create_experiment(SPEC).id
    plan = blows(seed)
    try:
        for name in ("server", "suggester", *WORKERS):
            start(processes, name)
        until(lambda: store.observations(identity), PATIENCE, "the first trial")
        for blow in plan:
            blow.fall(processes)
        until(lambda: store.experiment(identity).state is not ExperimentState.RUNNING, PATIENCE, "the end")
        check_complete(store, identity, processes, ROUNDS)
        for name in (*WORKERS, "suggester", "server"):
            stop_gently(processes.running.pop(name))
        until(lambda: not processes.left(), PATIENCE, "all processes to be gone")
    except AssertionError as error:
        told = "\n".join(map(str, plan))
        raise AssertionError(
            f"SPARSEMOD_KILL_SEED={seed}: {error}\n{told}\n{processes.left()}\n{processes.logs()}"
        ) from error
    finally:
        processes.end()
        store.close()
