"""Faults for a given time: kills, pauses, a full disk, cut connections and clock jumps, with an auditor.

    python benchmarks/faults.py --seconds 600
    python benchmarks/faults.py --seconds 120 --seed 7 --only kill --only cut

Server, suggester and two workers are real processes that train real networks. Faults follow each other at random
moments, often several at once. An auditor reads the database all the time; after the last fault, the service must
complete trials again, and everything is checked: every rule of docs/reliability.md. Exit code 1: a rule was broken.

The clock and the full disk need a C compiler: a small library that is preloaded into the processes changes the wall
clock and refuses writes to the disk of the data folder.
"""

import argparse
import contextlib
import json
import mmap
import os
import random
import secrets
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests"), str(HERE)]

from faults_audit import Watch, audit
from support_kill import Processes, stop_gently, until
from support_specs import narrow, small_spec

from service.files.artifacts import ArtifactFiles
from service.processes.supervisor import free_port
from service.store import Store
from sparsemod.errors import SparsemodError
from sparsemod.records import TrialState

LEASE_SECONDS = 10.0
WORKERS = ("worker-1", "worker-2")
NAMES = ("server", "suggester", *WORKERS)
KINDS = ("kill", "pause", "full", "cut", "clock")
SPEC = small_spec("faults", (10, 6, 5000), (2, 2, 2), network=narrow(32), limits={"attempts": 20})


class Proxy:
    """Forwards connections to the server. `cut`: refuse new ones and break the others; `hold`: pass nothing on."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._flowing = threading.Event()
        self._flowing.set()
        self._refusing = False
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    @contextlib.contextmanager
    def cut(self) -> Iterator[None]:
        """Break all connections, and every new one."""
        self._refusing = True
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        try:
            yield
        finally:
            self._refusing = False

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Pass nothing on, as when packets are lost."""
        self._flowing.clear()
        try:
            yield
        finally:
            self._flowing.set()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            try:
                if self._refusing:
                    raise ConnectionRefusedError
                server = socket.create_connection(("127.0.0.1", self._target), timeout=5)
                server.settimeout(None)
            except OSError:
                client.close()
                continue
            self._open |= {client, server}
            for one, other in ((client, server), (server, client)):
                threading.Thread(target=self._copy, args=(one, other), daemon=True).start()

    def _copy(self, one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(65536):
                self._flowing.wait()
                other.sendall(data)
        except OSError:
            pass
        finally:
            for connection in (one, other):
                self._open.discard(connection)
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            one.close()


class Machine:
    """The processes with their faults. Every fault is undone before its method returns."""

    def __init__(self, folder: Path, draw: random.Random, database: str) -> None:
        self.folder, self._draw = folder, draw
        self.processes = Processes(folder, lease_seconds=LEASE_SECONDS)
        self.proxy = Proxy(self.processes.port)
        self._workers_url = f"http://127.0.0.1:{self.proxy.port}"
        self._lock = threading.Lock()
        self._control = folder / "faults"
        self._control.write_bytes(struct.pack("qq", 0, 0))
        with self._control.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), 16)
        self.shim = self._compile()
        environment = {"SPARSEMOD_DATABASE_URL": database, "SPARSEMOD_MIN_FREE_BYTES": "0"}
        if self.shim is not None:
            environment |= {"LD_PRELOAD": str(self.shim), "SPARSEMOD_FAULTS": str(self._control)}
        self.processes.environment |= environment

    def _compile(self) -> Path | None:
        library = self.folder / "faults_shim.so"
        command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(HERE / "faults_shim.c"), "-ldl"]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"without a full disk and clock jumps, because the library cannot be built: {error}")
            return None
        return library

    def start(self, name: str) -> None:
        """Start a process by name."""
        if name == "server":
            self.processes.start_server()
        elif name == "suggester":
            self.processes.start_suggester()
        else:
            self.processes.start(name, "worker", "--cpu", "--server", self._workers_url, "--name", name)

    def tend(self) -> None:
        """Start what has ended by itself, as a supervisor does."""
        with self._lock:
            for name, process in list(self.processes.running.items()):
                if process.poll() is not None:
                    del self.processes.running[name]
                    self.start(name)

    # -- faults -----------------------------------------------------------------------------------------

    def kill(self) -> None:
        """SIGKILL one process, perhaps one of the processes below a worker."""
        below = [p for p, line in self.processes.marked().items() if "service.worker.trial_process" in line]
        name = self._draw.choice((*NAMES, "below"))
        if name == "below":
            if below:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._draw.choice(below), signal.SIGKILL)
            return
        with self._lock:
            if name in self.processes.running:
                self.processes.kill(name)
                time.sleep(self._draw.choice((0.0, self._draw.uniform(0.0, 2.0))))
                self.start(name)

    def pause(self) -> None:
        """SIGSTOP one process, often for longer than a lease."""
        pids = list(self.processes.marked())
        if not pids:
            return
        pid = self._draw.choice(pids)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            time.sleep(self._draw.uniform(0.2, 1.8 * LEASE_SECONDS))
            os.kill(pid, signal.SIGCONT)

    def full(self) -> None:
        """The disk is full for every process."""
        struct.pack_into("q", self._shared, 8, 1)
        time.sleep(self._draw.uniform(0.5, 5.0))
        struct.pack_into("q", self._shared, 8, 0)

    def cut(self) -> None:
        """The workers cannot reach the server: connections break, or nothing passes."""
        with self._draw.choice((self.proxy.cut, self.proxy.hold))():
            time.sleep(self._draw.uniform(0.2, 1.8 * LEASE_SECONDS))

    def clock(self) -> None:
        """The wall clock of all processes jumps, forwards or backwards, and later back."""
        jump = self._draw.choice((-1, 1)) * self._draw.uniform(1.0, 3 * LEASE_SECONDS)
        struct.pack_into("q", self._shared, 0, int(jump * 1e9))
        time.sleep(self._draw.uniform(0.5, 5.0))
        struct.pack_into("q", self._shared, 0, 0)


def inflict(
    machine: Machine, kinds: list[str], seconds: float, draw: random.Random, gap: float
) -> Counter[str]:
    """Let faults happen for `seconds` and return their numbers by kind. `gap`: longest pause between two of a kind."""
    counts: Counter[str] = Counter()
    ended = threading.Event()

    def repeat(kind: str) -> None:
        fault: Callable[[], None] = getattr(machine, kind)
        while not ended.wait(draw.uniform(gap / 8, gap)):
            fault()
            counts[kind] += 1

    threads = [threading.Thread(target=repeat, args=(kind,), daemon=True) for kind in kinds]
    for thread in threads:
        thread.start()
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        machine.tend()
        time.sleep(0.2)
    ended.set()
    for thread in threads:
        thread.join()
    return counts


def finished(store: Store, identity: int) -> int:
    """Return the number of completed trials."""
    return store.experiment(identity).counts.get(TrialState.COMPLETED, 0)


def settle(machine: Machine, store: Store, identity: int, seconds: float) -> float:
    """Wait until trials complete again and return the seconds. Then let the running ones end."""
    begin, before = time.monotonic(), finished(store, identity)

    def again() -> bool:
        machine.tend()
        return finished(store, identity) >= before + 3

    until(again, seconds, "three more trials after the last fault")
    took = time.monotonic() - begin
    store.stop(identity)
    until(
        lambda: not store.experiment(identity).counts.get(TrialState.RUNNING, 0),
        seconds,
        "the running trials to end",
    )
    return took


def run(
    seconds: float, kinds: list[str], seed: str, folder: Path, database: str, patience: float, gap: float
) -> int:
    """Run the service under faults, audit it, print the figures; return the exit code."""
    draw = random.Random(seed)
    store = Store.open(database or f"sqlite:///{folder / 'sparsemod.db'}", lease_seconds=LEASE_SECONDS)
    identity = store.create_experiment(SPEC).id
    machine = Machine(folder, draw, database)
    if machine.shim is None:
        kinds = [kind for kind in kinds if kind not in ("full", "clock")]
    watch, ended = Watch(store, identity), threading.Event()
    auditor = threading.Thread(target=watch.run, args=(ended,), daemon=True)
    broken: list[str] = []
    counts: Counter[str] = Counter()
    took = 0.0
    try:
        for name in NAMES:
            machine.start(name)
        until(lambda: finished(store, identity) >= 1, patience, "the first trial")
        auditor.start()
        counts = inflict(machine, kinds, seconds, draw, gap)
        took = settle(machine, store, identity, patience)
        ended.set()
        auditor.join()
        for name in reversed(NAMES):
            stop_gently(machine.processes.running.pop(name), seconds=patience)
        until(lambda: not machine.processes.left(), patience, "all processes to be gone")
        broken += audit(store, ArtifactFiles(folder / "artifacts", 1 << 30), identity)
    except (AssertionError, SparsemodError, subprocess.TimeoutExpired) as error:
        broken.append(f"{type(error).__name__}: {error}\n{machine.processes.logs()}")
    finally:
        ended.set()
        machine.processes.end()
    broken += watch.violations
    states = {state.value: count for state, count in store.experiment(identity).counts.items() if count}
    figures = {
        "seed": seed, "database": store.backend, "seconds": round(seconds), "faults": dict(sorted(counts.items())),
        "trials": states, "attempts": dict(store.figures().attempts), "looks": watch.looks,
        "seconds_until_trials_completed_again": round(took, 1), "broken_rules": len(broken),
    }  # fmt: skip
    print(json.dumps(figures, indent=1))
    for one in broken:
        print(f"BROKEN: {one}")
    store.close()
    return 1 if broken else 0


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0] if __doc__ else "", formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=600.0, help="how long faults happen")
    parser.add_argument("--only", action="append", choices=KINDS, help="only faults of this kind; repeatable")
    parser.add_argument("--seed", default="", help="seed of the faults; default: a random one")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument(
        "--patience", type=float, default=240.0, help="seconds to wait for the service to recover"
    )
    parser.add_argument(
        "--gap", type=float, default=8.0, help="longest pause between two faults of a kind, seconds"
    )
    options = parser.parse_args()
    seed = options.seed or secrets.token_hex(4)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sparsemod-faults-")))
        url = ""
        if options.database == "postgresql":
            from support_postgres import Postgres

            url = stack.enter_context(contextlib.closing(Postgres(free_port()))).database()
        return run(
            options.seconds, options.only or list(KINDS), seed, folder, url, options.patience, options.gap
        )


if __name__ == "__main__":
    sys.exit(main())
