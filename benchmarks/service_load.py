"""Claims a second of the service, and the latency of a claim, with many workers at once.

    python benchmarks/service_load.py                          # both databases, 1,000 and 100,000 trials, 100 workers
    python benchmarks/service_load.py --database sqlite --trials 1000 --seconds 5
    python benchmarks/service_load.py --rate 300               # 300 claims a second at given times; latencies from these times
    python benchmarks/service_load.py --baseline ../older      # the same load on the server of another checkout first

Each run starts a server process on a database that holds `--trials` trials with results, and queues as many trials as
the workers can take. The simulated workers evaluate nothing. A cycle of a worker is what a trial of one epoch sends:
its curve, its result and the claim of the next trial. In a baseline checkout without the combined report, a cycle is
claim, points and finish in three requests (`--separate` does this on the current checkout too).

Without `--rate`, every worker sends its next request at once: with 100 workers, a latency of 333 ms at 300 claims a
second follows from the waiting alone. With `--rate R`, the workers together send R requests a second at fixed times.
A latency then counts from the time at which the request was due, also when all workers still waited for answers.

The simulated workers run in a process of their own on the same machine, so on two cores they take part of the
server's time: the CPU seconds of the server process for each claim are printed as well. On PostgreSQL its own
processes need a share too (`fsync` stays on).
"""

import argparse
import asyncio
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

sys.path[:0] = [os.environ.get(CODE, str(HERE)), str(HERE / "tests")]

SPEC: dict[str, Any] = {
    "dataset": {"name": "digits"},
    "network": {"family": "cnn"},
    "objectives": ["error", "model_size"],
}
POINT = {
    "epoch": 1, "train_loss": 1.0, "validation_loss": 1.0, "validation_error": 0.5, "learning_rate": 0.1, "seconds": 1.0,
}  # fmt: skip
RESULT: dict[str, Any] = {
    "state": "completed",
    "epochs": 1.0,
    "seconds": {"train": 1.0},
    "measurements": [
        {"metric": "error", "value": 0.1, "unit": "fraction", "method": "integer network", "split": "validation"},
        *(
            {"metric": name, "value": 100.0, "unit": "B", "method": "analytic", "target": "stm32f446"}
            for name in ("model_size", "flash", "ram", "working_memory")
        ),
    ],
}  # fmt: skip


@dataclass(frozen=True)
class Load:
    """The figures of a run: claims a second, latencies in milliseconds, CPU milliseconds of the server a claim, and
    requests that were answered with 503 and sent again."""

    rate: float
    median: float
    p99: float
    cpu: float
    repeated: int


class Schedule:
    """When each request is due: `rate` a second, or at once without a rate."""

    def __init__(self, rate: float | None) -> None:
        self._rate, self._begin, self._count = rate, time.perf_counter(), 0

    async def due(self) -> float:
        """Wait until the next request is due and return that moment."""
        if self._rate is None:
            return time.perf_counter()
        moment = self._begin + self._count / self._rate
        self._count += 1
        await asyncio.sleep(max(0.0, moment - time.perf_counter()))
        return moment


def fill(url: str, done: int, queued: int) -> None:
    """Create an experiment with `done` trials that have results and `queued` trials to claim."""
    from service.store import Store
    from service.store.tables import experiments, measurements, trials
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
                    "parent": None, "parameters": {"width": i}, "operators": [], "epochs": 1, "seed": i, "costs": {}, "stop_requested": False,
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
            if measured:
                connection.execute(sa.insert(measurements), measured)
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


class Connection:
    """One kept-alive HTTP connection; as little work as possible for each request."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._head = f"host: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=2**20)

    async def ask(self, path: str, body: Any) -> tuple[int, bytes]:
        content = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\n{self._head}content-length: {len(content)}\r\n\r\n"
        self._writer.write(head.encode() + content)
        lines = (await self._reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
        length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
        answer = await self._reader.readexactly(length) if length else b""
        return int(lines[0].split()[1]), answer


def head_of(answer: bytes) -> tuple[int, str]:
    """The number and the token of the attempt at the start of a claim, without parsing its spec."""
    start = answer.index(b'"attempt":') + 10
    number = int(answer[start : answer.index(b",", start)])
    start = answer.index(b'"token":"') + 9
    return number, answer[start : answer.index(b'"', start)].decode()


@dataclass
class Work:
    """What the workers did: claims, seconds, latencies of the requests that claim, repeated requests."""

    claims: int
    seconds: float
    latencies: list[float]
    repeated: int


async def work(port: int, count: int, seconds: float, combined: bool, rate: float | None = None) -> Work:
    """Cycle with `count` workers, as fast as they can or at `rate` claims a second."""
    done = Work(0, 0.0, [], 0)
    first: list[tuple[Connection, tuple[int, str]]] = []

    def ask_for_trial(number: int) -> dict[str, Any]:
        return {"worker": f"w{number}", "device": "cpu", "slots": 1, "request": uuid.uuid4().hex}

    async def sent(connection: Connection, path: str, body: Any) -> bytes:
        while True:
            status, answer = await connection.ask(path, body)
            if status in (200, 204):
                return answer
            if status != 503:
                raise RuntimeError(f"{path}: {status} {answer[:300]!r}")
            done.repeated += 1
            await connection.open()  # the server closes the connection after some refusals
            await asyncio.sleep(0.2)

    async def begin(number: int) -> None:
        connection = Connection(port)
        await connection.open()
        claim = head_of(await sent(connection, "/claims", ask_for_trial(number))) if combined else (0, "")
        first.append((connection, claim))

    async def one(number: int, connection: Connection, claim: tuple[int, str]) -> None:
        while True:
            moment = await schedule.due()
            if time.monotonic() >= end:
                break
            if combined:
                body = {
                    "token": claim[1],
                    "result": {**RESULT, "curve": [POINT]},
                    "next": ask_for_trial(number),
                }
                claim = head_of(await sent(connection, f"/attempts/{claim[0]}/finish", body))
            else:
                claim = head_of(await sent(connection, "/claims", ask_for_trial(number)))
            done.latencies.append(time.perf_counter() - moment)
            done.claims += 1
            if not combined:
                attempt, token = claim
                await sent(connection, f"/attempts/{attempt}/points", {"token": token, "points": [POINT]})
                await sent(connection, f"/attempts/{attempt}/finish", {"token": token, "result": RESULT})

    await asyncio.gather(*(begin(number) for number in range(count)))
    start = time.monotonic()
    end = start + seconds
    schedule = Schedule(rate)
    await asyncio.gather(*(one(number, *pair) for number, pair in enumerate(first)))
    done.seconds = time.monotonic() - start
    return done


def cpu_seconds(process: int) -> float:
    parts = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")


def load_of(code: Path, url: str, arguments: argparse.Namespace, combined: bool) -> Load:
    """Run the load on one database, after two seconds of warming up."""
    with tempfile.TemporaryDirectory() as name, serving(code, url, Path(name)) as (port, process):
        asyncio.run(work(port, arguments.workers, 2.0, combined))
        begin = cpu_seconds(process)
        done = asyncio.run(work(port, arguments.workers, arguments.seconds, combined, arguments.rate))
        used = cpu_seconds(process) - begin
    ordered = sorted(done.latencies)
    return Load(
        rate=done.claims / done.seconds,
        median=1000 * ordered[len(ordered) // 2],
        p99=1000 * ordered[int(len(ordered) * 0.99)],
        cpu=1000 * used / (done.claims + (arguments.workers if combined else 0)),
        repeated=done.repeated,
    )


def combines(code: Path) -> bool:
    """Return whether the server of a checkout knows the combined report."""
    return "finish_and_claim" in (code / "service" / "store" / "attempts.py").read_text()


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
    parser.add_argument("--separate", action="store_true", help="claim, points and finish as three requests")
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
    print("| database | trials | claims/s | ratio | median ms | p99 ms | server CPU ms a claim | repeated |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for kind in arguments.database or ["sqlite", "postgresql"]:
        for trials in arguments.trials or [1_000, 100_000]:
            before: Load | None = None
            for code in filter(None, (arguments.baseline, HERE)):
                combined = combines(code) and not arguments.separate
                with databases(kind) as empty:
                    url = empty()
                    queued = str(int((arguments.seconds + 4) * 1000))
                    words = [sys.executable, __file__, "--fill", url, str(trials), queued]
                    subprocess.run(words, check=True, env={**os.environ, CODE: str(code.resolve())})
                    found = load_of(code.resolve(), url, arguments, combined)
                label = kind if code == HERE else f"{kind}, before"
                ratio = f"{found.rate / before.rate:.1f}" if before is not None else ""
                before = found
                print(
                    f"| {label} | {trials:,} | {found.rate:.0f} | {ratio} | {found.median:.0f} | {found.p99:.0f} | {found.cpu:.2f} | {found.repeated} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
