"""Claims a second of the service, and the latency of a claim, with many workers at once.

    python benchmarks/service_load.py                          # both databases, 1,000 and 100,000 trials, 100 workers
    python benchmarks/service_load.py --database sqlite --trials 1000 --seconds 5
    python benchmarks/service_load.py --rate 300               # 300 claims a second at given times; latencies from these times
    python benchmarks/service_load.py --baseline ../older      # the same load on the server of another checkout first

Each run starts a server process on a database that holds `--trials` trials with results, and queues as many trials as
the workers can take. The simulated workers evaluate nothing. A cycle of a worker is one request: the report of a trial
of one epoch, recorded from a real worker (curve, log, eleven measurements with their details, two files that were
uploaded before), together with the claim of the next trial. `load_workers.py` checks each answer. At the end the
database must hold exactly what was answered.

Without `--rate`, every worker sends its next request at once: with 100 workers, a latency of 333 ms at 300 claims a
second follows from the waiting alone. With `--rate R`, the workers together send R requests a second at fixed times.
A latency then counts from the time at which the request was due, also when all workers still waited for answers.

The simulated workers run in a process of their own on the same machine. The table states which share of a core they
take, and the CPU seconds of the server process for each claim. On PostgreSQL its own processes need a share too
(`fsync` stays on). `--logins` lets the server check a token with each request.
"""

import argparse
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

HERE = Path(__file__).resolve().parent.parent
CODE = "SPARSEMOD_LOAD_CODE"
"""Environment variable with the checkout whose store fills the database."""

sys.path[:0] = [os.environ.get(CODE, str(HERE)), str(HERE / "tests"), str(Path(__file__).parent)]

from load_workers import REPORT, Swarm, Work

SPEC: dict[str, Any] = {
    "dataset": {"name": "digits"},
    "network": {"family": "cnn"},
    "objectives": ["error", "model_size"],
}
PARAMETERS = {
    "blocks": 1, "b1_layers": 2, "b1_l1_type": "down", "b1_l1_filters": 1, "b1_l1_kernel": 5, "b1_l2_type": "conv",
    "b1_l2_filters": 1, "b1_l2_kernel": 3, "b1_pool": True, "head": "average", "dense": 0, "dropout": 0.125,
}  # fmt: skip
MEASUREMENTS = len(json.loads(REPORT.read_text())["result"]["measurements"])


@dataclass(frozen=True)
class Load:
    """The figures of a run: claims a second; median, 99th percentile and maximum of the latencies [ms]; CPU
    milliseconds of the server a claim; the share of a core that the simulated workers take; requests that were answered
    with 503 and sent again."""

    rate: float
    median: float
    p99: float
    most: float
    cpu: float
    own: float
    repeated: int


def fill(url: str, done: int, queued: int) -> None:
    """Create an experiment with `done` trials that have results and `queued` trials to claim."""
    from service.store import Store
    from service.store.tables import attempts, curve_points, experiments, measurements, trials
    from sparsemod.spec.experiment import ExperimentSpec

    store = Store.open(url)
    experiment = store.create_experiment(ExperimentSpec.parse(SPEC)).id
    now = time.time()
    with store.engine.begin() as connection:
        for begin in range(0, done + queued, 5000):
            indices = range(begin, min(begin + 5000, done + queued))
            rows = [
                {
                    "experiment_id": experiment, "index": i, "state": "completed" if i < done else "queued", "origin": "sobol", "round": "sobol",
                    "parent": None, "parameters": {**PARAMETERS, "width": i}, "operators": [], "epochs": 1, "seed": i, "costs": {}, "stop_requested": False,
                    "trained_epochs": 1.0 if i < done else 0.0, "seconds": {}, "notes": [], "created_at": now,
                    "finished_at": now if i < done else None, "finished_event": i + 1 if i < done else None,
                }
                for i in indices
            ]  # fmt: skip
            numbers = connection.execute(sa.insert(trials).returning(trials.c.id), rows).scalars().all()
            measured = [
                {
                    "trial_id": number, "position": p, "metric": m, "value": 0.5, "unit": "B", "method": "analytic", "target": None,
                    "split": None, "standard_error": None, "detail": {},
                }
                for number, i in zip(sorted(numbers), indices, strict=True) if i < done
                for p, m in enumerate(("error", "model_size"))
            ]  # fmt: skip
            ended = [
                {
                    "trial_id": number, "worker": "w", "device": "cpu", "token": "t", "request": None,
                    "state": "completed", "started_at": now, "heartbeat_at": now, "expires_at": now, "ended_at": now,
                    "failure": None, "outcome": "completed", "login": None,
                }
                for number, i in zip(sorted(numbers), indices, strict=True) if i < done
            ]  # fmt: skip
            if measured:
                connection.execute(sa.insert(measurements), measured)
                added = (
                    connection.execute(sa.insert(attempts).returning(attempts.c.id), ended).scalars().all()
                )
                curves = [
                    {
                        "attempt_id": number, "epoch": 1, "train_loss": 1.0, "validation_loss": 1.0,
                        "validation_error": 0.5, "learning_rate": 0.1, "sparsity": 0.0, "seconds": 1.0,
                    }
                    for number in added
                ]  # fmt: skip
                connection.execute(sa.insert(curve_points), curves)
        connection.execute(sa.update(experiments).values(next_index=done + queued, events=done))
    if store.backend == "postgresql":
        with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("ANALYZE")
    store.close()


def answers(port: int) -> bool:
    """Return whether a server listens on the port."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            return True
    except OSError:
        return False


@contextmanager
def serving(code: Path, url: str, folder: Path) -> Iterator[tuple[int, int]]:
    """Run the server of the checkout `code` on the database; yield its port and its process id."""
    from service.processes.supervisor import free_port

    port = free_port()
    words = [
        sys.executable, "-m", "service.cli", "serve", "--only-server", "--port", str(port), "--data-dir", str(folder), "--database", url,
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(code), "SPARSEMOD_MIN_FREE_BYTES": "0"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(words, cwd=code, env=environment, stdout=log, stderr=log)
        try:
            limit = time.monotonic() + 120
            while not answers(port):
                if time.monotonic() > limit or process.poll() is not None:
                    raise RuntimeError((folder / "log").read_text())
                time.sleep(0.1)
            yield port, process.pid
        finally:
            process.terminate()
            process.wait(30)


def cpu_seconds(process: int) -> float:
    parts = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")


def load_of(code: Path, url: str, arguments: argparse.Namespace) -> Load:
    """Run the load on one database, after two seconds of warming up."""
    with tempfile.TemporaryDirectory() as name, serving(code, url, Path(name)) as (port, process):
        swarm = Swarm(port, arguments.workers, logged_in(url) if arguments.logins else "")
        swarm.work(2.0, arguments.rate)
        begin = cpu_seconds(process)
        done = swarm.work(arguments.seconds, arguments.rate)
        used = cpu_seconds(process) - begin
        swarm.close()
    check(url, swarm.done)
    ordered = sorted(done.latencies)
    return Load(
        rate=done.claims / done.seconds,
        median=1000 * ordered[len(ordered) // 2],
        p99=1000 * ordered[int(len(ordered) * 0.99)],
        most=1000 * ordered[-1],
        cpu=1000 * used / done.claims,
        own=done.cpu / done.seconds,
        repeated=done.repeated,
    )


def logged_in(url: str) -> str:
    """Create a token for all workers: the server then checks it with each request."""
    from service.schemas.logins import Scope
    from service.store import Store

    store = Store.open(url)
    token, _ = store.create_token("workers", [Scope.WORKER])
    store.close()
    time.sleep(1.0)  # an open server asks twice a second whether logins are required
    return token


def check(url: str, done: Work) -> None:
    """Check in the database that each trial that was handed out has exactly one attempt, that all but the last trial
    of each worker are completed, and that all rows of their reports are stored. Raises RuntimeError."""
    from service.store import Store
    from service.store.tables import attempts, curve_points, measurements, trials

    store = Store.open(url)
    with store.engine.connect() as connection:
        mine = attempts.c.worker != "w"  # that of `fill`
        rows = connection.execute(
            sa.select(attempts.c.id, attempts.c.trial_id, attempts.c.state).where(mine)
        ).all()
        ended = {row.id: row.trial_id for row in rows if row.state == "completed"}
        taken = sa.select(attempts.c.trial_id).where(mine)
        held = sa.select(attempts.c.id).where(mine)

        def count(query: Any) -> int:
            return int(connection.execute(query).scalar_one())

        facts = {
            "attempts": {row.id for row in rows} == done.attempts,
            "one attempt for each trial": len({row.trial_id for row in rows}) == len(rows),
            "completed trials": len(ended) == count(
                sa.select(sa.func.count()).where(trials.c.state == "completed", trials.c.id.in_(taken))
            ),
            "running trials": len(rows) - len(ended) == count(
                sa.select(sa.func.count()).where(trials.c.state == "running")
            ),
            "curves": len(ended) == count(
                sa.select(sa.func.count()).where(curve_points.c.attempt_id.in_(held))
            ),
            "measurements": MEASUREMENTS * len(ended) == count(
                sa.select(sa.func.count()).select_from(measurements).where(measurements.c.trial_id.in_(taken))
            ),
        }  # fmt: skip
    store.close()
    if wrong := [name for name, right in facts.items() if not right]:
        raise RuntimeError(f"the database contradicts the answers: {', '.join(wrong)}")


@contextmanager
def databases(kind: str) -> Iterator[Any]:
    """Yield a function that returns the URL of an empty database."""
    with tempfile.TemporaryDirectory() as name:
        if kind == "sqlite":
            yield lambda: f"sqlite:///{Path(name) / uuid.uuid4().hex}.db"
            return
        from support_postgres import Postgres

        server = Postgres(durable=True)
        try:
            yield server.database
        finally:
            server.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--database", choices=["sqlite", "postgresql"], action="append")
    parser.add_argument("--trials", type=int, action="append", help="trials that the database holds already")
    parser.add_argument("--workers", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rate", type=float, help="claims a second that the workers together ask for")
    parser.add_argument(
        "--logins", action="store_true", help="the workers use a token, which the server checks"
    )
    parser.add_argument("--baseline", type=Path, help="a checkout whose server runs the same load first")
    parser.add_argument("--fill", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.fill:
        fill(arguments.fill[0], int(arguments.fill[1]), int(arguments.fill[2]))
        return
    model = next(
        (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )  # fmt: skip
    print(
        f"{len(os.sched_getaffinity(0))} cores of {model}, load {os.getloadavg()[0]:.1f}, {arguments.workers} workers\n"
    )
    print(
        "| database | trials | claims/s | ratio | median ms | p99 ms | most ms | server CPU ms a claim | "
        "CPU of the workers | repeated |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for kind in arguments.database or ["sqlite", "postgresql"]:
        for trials in arguments.trials or [1_000, 100_000]:
            before: Load | None = None
            for code in filter(None, (arguments.baseline, HERE)):
                with databases(kind) as empty:
                    url = empty()
                    queued = str(int((arguments.seconds + 4) * 1000))
                    words = [sys.executable, __file__, "--fill", url, str(trials), queued]
                    subprocess.run(words, check=True, env={**os.environ, CODE: str(code.resolve())})
                    found = load_of(code.resolve(), url, arguments)
                label = kind if code == HERE else f"{kind}, before"
                ratio = f"{found.rate / before.rate:.1f}" if before is not None else ""
                before = found
                print(
                    f"| {label} | {trials:,} | {found.rate:.0f} | {ratio} | {found.median:.0f} | {found.p99:.0f} | "
                    f"{found.most:.0f} | {found.cpu:.2f} | {found.own:.2f} | {found.repeated} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
