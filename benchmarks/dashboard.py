"""The dashboard on a store of 10,000 trials: first draw, sort and filter, bytes per second of an open page; Optuna's dashboard beside it.

    python benchmarks/dashboard.py                   # 10,000 trials, 20 seconds at ten new ones a second
    python benchmarks/dashboard.py --trials 500 --seconds 5 --without-optuna

The store is filled with SQL: candidates of the digits CNN space, seven measurements, an attempt and four events each. The server is a process of
its own, the page runs in Debian's chromium, headless, with a fresh profile; between them a forwarder counts the bytes that go to the page.
"First draw" is the time from the navigation until the scatter plot of all trials stands and a frame was painted. "Sort" and "filter" are the
times from the click until the table shows the new rows. Optuna's dashboard gets the same trials (parameters and four values) in an SQLite file of
its own, and is measured where it can be: the API call that its page polls, and what goes over the wire while the page is open.
"""

import argparse
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import sqlalchemy as sa

os.environ.setdefault("OMP_NUM_THREADS", "1")

OBJECTIVES = ("error", "model_size", "working_memory", "latency")
METRICS = (*OBJECTIVES, "macs", "parameters", "nonzeros")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]


def spec(trials: int) -> Any:
    """The experiment's spec."""
    from sparsemod.spec import ExperimentSpec

    rounds = {name: {"trials": trials, "epochs": 5} for name in ("r1", "r2", "r3")}
    return ExperimentSpec.parse(
        {"name": "benchmark", "dataset": {"name": "digits"}, "network": {"family": "cnn"}, "rounds": rounds,
         "objectives": list(OBJECTIVES), "budgets": {"model_size": 60_000.0}}
    )  # fmt: skip


def values_of(parameters: dict[str, Any], rng: np.random.Generator) -> dict[str, float]:
    """Made-up results: sizes grow with the parameters, errors shrink."""
    size = 500.0 + sum(40.0 * v for v in parameters.values() if isinstance(v, int)) * (0.5 + rng.random())
    error = float(np.clip(0.02 + 200.0 / size * (0.3 + rng.random()), 0.0, 0.9))
    return {"error": error, "model_size": size, "working_memory": size / 3, "latency": size / 900,
            "macs": size * 30, "parameters": size, "nonzeros": size * 0.8}  # fmt: skip


def candidates(count: int) -> list[dict[str, Any]]:
    """Random candidates of the digits CNN space."""
    from sparsemod.data.registry import declared
    from sparsemod.problem import Problem

    info = declared("digits")
    if info is None:
        raise SystemExit("digits declares no shape")
    space, rng = Problem.of(spec(1), info).space, np.random.default_rng(0)
    return [space.sample(rng) for _ in range(count)]


def seed(url: str, given: list[dict[str, Any]]) -> int:
    """An experiment with these trials, all completed; its number."""
    from service.models import attempts, events, experiments, measurements, trials
    from service.store import Store

    store, rng, now = Store.open(url), np.random.default_rng(1), time.time() - 36_000
    number, count = store.create_experiment(spec(len(given))).id, len(given)
    with store.engine.connect().execution_options(sparsemod_write=True) as connection, connection.begin():
        rows: dict[str, list[dict[str, Any]]] = {
            "trials": [],
            "attempts": [],
            "measurements": [],
            "events": [],
        }
        for index, parameters in enumerate(given):
            at = now + index * 3.0
            first = 2 + 4 * index
            morph = index > 2 * count // 3
            rows["trials"].append(
                {"id": index + 1, "experiment_id": number, "index": index, "state": "completed", "round": "r3" if morph else "r2" if index > count // 3 else "r1",
                 "origin": "morphism" if morph else "gp" if index > count // 3 else "sobol", "parent": index - 7 if morph else None, "parameters": parameters,
                 "operators": ["widen"] if morph else [], "epochs": 5, "seed": index, "costs": {}, "stop_requested": False, "trained_epochs": 5.0,
                 "seconds": {"train": 2.5}, "notes": [], "created_at": at, "finished_at": at + 3, "finished_event": first + 3}
            )  # fmt: skip
            rows["attempts"].append(
                {"id": index + 1, "trial_id": index + 1, "worker": f"w{index % 8}", "device": "cpu", "token": "t", "state": "completed", "started_at": at,
                 "heartbeat_at": at + 3, "expires_at": at + 60, "ended_at": at + 3, "outcome": "completed"}
            )  # fmt: skip
            rows["measurements"] += [
                {"trial_id": index + 1, "position": place, "metric": name, "value": value, "unit": "B", "method": "made up", "target": "stm32f446",
                 "split": "validation" if name == "error" else None, "standard_error": None, "detail": {}}
                for place, (name, value) in enumerate(values_of(parameters, rng).items())
            ]  # fmt: skip
            kinds = (("trial", "queued"), ("trial", "running"), ("points", ""), ("trial", "completed"))
            rows["events"] += [
                {"experiment_id": number, "counter": first + place, "time": at, "kind": kind, "data": {"index": index, "state": state}}
                for place, (kind, state) in enumerate(kinds)
            ]  # fmt: skip
        for table in (trials, attempts, measurements, events):
            connection.execute(sa.insert(table), rows[table.name])
        change = sa.update(experiments).where(experiments.c.id == number)
        connection.execute(change.values(next_index=count, events=1 + 4 * count))
    store.close()
    return number


class Counting:
    """A forwarder that counts the bytes from the server at `port` to whoever connects to its own `port`."""

    def __init__(self, port: int) -> None:
        self._target, self.bytes = port, 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _ = self._listening.accept()
            server = socket.create_connection(("127.0.0.1", self._target))
            for source, sink, counted in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._pump, args=(source, sink, counted), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                self.bytes += len(data) if counted else 0
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def process(command: list[str], port: int, path: str = "/") -> Iterator[None]:
    """A server until the end of the block, once it answers."""
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            with contextlib.suppress(OSError):
                fetch(port, path)
                break
            time.sleep(0.1)
        yield
    finally:
        running.terminate()
        running.wait()


def fetch(port: int, path: str) -> int:
    """Ask; the size of the answer as it comes over the wire."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"accept-encoding": "gzip"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return len(answer.read())


def calls(port: int, paths: dict[str, str], times: int) -> dict[str, Any]:
    """Median milliseconds and bytes of requests."""
    found = {}
    for name, path in paths.items():
        took = []
        for _ in range(times):
            began = time.perf_counter()
            size = fetch(port, path)
            took.append(1000 * (time.perf_counter() - began))
        found[name] = {
            "first_ms": round(took[0], 1),
            "median_ms": round(statistics.median(took), 1),
            "bytes": size,
        }
    return found


def write(url: str, number: int, given: list[dict[str, Any]], seconds: float, rate: float = 10.0) -> int:
    """New trials at `rate` a second through the store, as a suggester and workers make them; how many."""
    from service.store import Store
    from sparsemod.records import Candidate, CurvePoint, Measurement, TrialResult, TrialState
    from sparsemod.units import METRICS

    class Suggested:
        epochs, feasible, error = 5, True, None
        costs: ClassVar[dict[str, float]] = {}
        over: ClassVar[dict[str, float]] = {}

        def __init__(self, parameters: dict[str, Any]) -> None:
            self.candidate = Candidate(parameters=parameters, origin="gp", round="r2")

    store, rng = Store.open(url), np.random.default_rng(2)
    lease = store.lease_suggester(number, "benchmark")
    if lease is None:
        raise SystemExit("somebody else suggests")
    began, done = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        parameters = given[done % len(given)]
        store.queue(lease, [Suggested(parameters)])
        claim = store.claim(f"w{done % 8}")
        if claim is None:
            raise SystemExit("nothing to claim")
        point = CurvePoint(
            epoch=1, train_loss=1.0, validation_loss=1.0, validation_error=0.5, learning_rate=0.1
        )
        store.points(claim.attempt, claim.token, [point])
        measured = tuple(
            Measurement(
                metric=name,
                value=value,
                unit=METRICS[name].unit if name in METRICS else "B",
                method="made up",
            )
            for name, value in values_of(parameters, rng).items()
        )
        store.finish(
            claim.attempt,
            claim.token,
            TrialResult(state=TrialState.COMPLETED, measurements=measured, epochs=5.0),
        )
        done += 1
        time.sleep(max(0.0, began + done / rate - time.monotonic()))
    store.close()
    return done


DRAWN = """(count) => new Promise((done) => {
  const look = () => {
    const grid = document.querySelector('.grid[data-trials]');
    const drawn = grid && Number(grid.dataset.trials) >= count && grid.querySelector('[data-chart=scatter][data-drawn=yes] canvas');
    if (drawn) requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now())));
    else requestAnimationFrame(look);
  };
  look();
})"""
TABLE = """(change) => new Promise((done) => {
  const rows = () => [...document.querySelectorAll('[aria-label="Table of trials"] tbody tr')].map((row) => row.textContent).join('|');
  const before = rows();
  const began = performance.now();
  change === 'sort' ? [...document.querySelectorAll('[aria-label="Table of trials"] th button')][4].click()
    : (() => { const pick = [...document.querySelectorAll('select')].find((one) => [...one.options].some((option) => option.value === 'r3'));
        pick.value = change; pick.dispatchEvent(new Event('change', {bubbles: true})); })();
  const look = () => (rows() !== before ? requestAnimationFrame(() => done(performance.now() - began)) : requestAnimationFrame(look));
  look();
})"""


def page(port: int, number: int, trials: int, during: Callable[[], Any], counter: Counting) -> dict[str, Any]:
    """What a person sees: first draw three times, sort and filter, then the page stays open while `during` runs."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        draws, loads = [], []
        for _ in range(3):
            context = browser.new_context(viewport={"width": 1400, "height": 900})
            context.set_default_timeout(60_000)
            one = context.new_page()
            before = counter.bytes
            one.goto(f"http://127.0.0.1:{port}/#/experiments/{number}")
            draws.append(one.evaluate(DRAWN, trials))
            one.wait_for_selector('[aria-label="Table of trials"] tbody tr')
            loads.append(counter.bytes - before)
            if len(draws) < 3:
                context.close()
        table = {"sort": [], "filter": []}
        for value in ("r1", "r3", "r2", "r1", "r3"):
            one.wait_for_timeout(400)
            table["sort"].append(one.evaluate(TABLE, "sort"))
            one.wait_for_timeout(400)
            table["filter"].append(one.evaluate(TABLE, value))
        one.wait_for_timeout(3000)
        before, began = counter.bytes, time.monotonic()
        made: list[Any] = []
        worker = threading.Thread(target=lambda: made.append(during()))
        worker.start()
        while worker.is_alive():
            one.wait_for_timeout(200)
        one.evaluate(DRAWN, trials + made[0])
        lasted = time.monotonic() - began
        live = (counter.bytes - before) / lasted
        browser.close()
    return {
        "first_draw_ms": [round(d) for d in draws], "first_load_bytes": loads,
        **{f"{name}_ms": [round(t) for t in times] for name, times in table.items()},
        "live_bytes_per_second": round(live), "live_seconds": round(lasted, 1), "live_trials": made[0],
    }  # fmt: skip


def optuna_side(folder: Path, given: list[dict[str, Any]], seconds: float, port: int) -> dict[str, Any]:
    """The same trials in Optuna's dashboard."""
    import optuna
    from playwright.sync_api import sync_playwright

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    url, rng = f"sqlite:///{folder / 'optuna.db'}", np.random.default_rng(1)
    study = optuna.create_study(
        storage=url, study_name="benchmark", directions=["minimize"] * len(OBJECTIVES)
    )
    distributions: dict[str, Any] = {}
    for parameters in given:
        for name, value in parameters.items():
            kind = optuna.distributions.CategoricalDistribution if isinstance(value, str | bool) else None
            if kind is not None:
                distributions[name] = kind(
                    [True, False]
                    if isinstance(value, bool)
                    else sorted({p[name] for p in given if name in p})
                )
            elif isinstance(value, int):
                distributions[name] = optuna.distributions.IntDistribution(0, 10_000)
            else:
                distributions[name] = optuna.distributions.FloatDistribution(0.0, 10_000.0)
    made = []
    for parameters in given:
        values = values_of(parameters, rng)
        made.append(
            optuna.trial.create_trial(
                params=parameters, distributions={n: distributions[n] for n in parameters}, values=[values[n] for n in OBJECTIVES]
            )
        )  # fmt: skip
    study.add_trials(made)
    command = [
        str(Path(sys.executable).parent / "optuna-dashboard"),
        url,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    with process(command, port, "/dashboard"):
        found: dict[str, Any] = calls(port, {"poll": "/api/studies/1?after=0"}, 3)
        counter = Counting(port)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
            one = browser.new_page(viewport={"width": 1400, "height": 900})
            one.set_default_timeout(90_000)
            began = time.monotonic()
            one.goto(f"http://127.0.0.1:{counter.port}/dashboard/studies/1")
            one.wait_for_selector(".js-plotly-plot .plot, canvas")
            found["first_plot_ms"], found["first_load_bytes"] = (
                round(1000 * (time.monotonic() - began)),
                counter.bytes,
            )
            before = counter.bytes
            one.wait_for_timeout(1000 * seconds)
            found["idle_bytes_per_second"] = round((counter.bytes - before) / seconds)
            browser.close()
    return found


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--without-optuna", action="store_true")
    parser.add_argument("--without-page", action="store_true")
    chosen = parser.parse_args()
    from service.supervisor import command, free_port

    given = candidates(chosen.trials)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        url = f"sqlite:///{folder / 'sparsemod.db'}"
        number = seed(url, given)
        port = free_port()
        base = f"/experiments/{number}"
        with process(
            command("serve", "--only-server", "--port", str(port), "--data-dir", str(folder)), port, "/health"
        ):
            revision = 1 + 4 * chosen.trials
            paths = {
                "points, all": f"{base}/points", "points, ten new": f"{base}/points?after={revision - 40}", "front": f"/pareto/{number}",
                "table sorted by error": f"{base}/trials?sort=error&limit=25", "table filtered": f"{base}/trials?round=r3&state=completed&limit=25",
                "timeline of the last hour": f"{base}/timeline?since={time.time() - 7200:.0f}", "experiment": base,
            }  # fmt: skip
            print("server", json.dumps(calls(port, paths, 7), indent=1), flush=True)
            if not chosen.without_page:
                counter = Counting(port)
                found = page(
                    counter.port,
                    number,
                    chosen.trials,
                    lambda: write(url, number, given, chosen.seconds),
                    counter,
                )
                print("page", json.dumps(found, indent=1), flush=True)
        if not chosen.without_optuna:
            print("optuna", json.dumps(optuna_side(folder, given, chosen.seconds, free_port()), indent=1))


if __name__ == "__main__":
    main()
