"""The dashboard on a store of 10,000 trials: first draw, sort and filter, bytes per second of an open page; Optuna's dashboard beside it.

    python benchmarks/dashboard.py                   # 10,000 trials, 20 seconds at ten new ones a second
    python benchmarks/dashboard.py --trials 500 --seconds 5 --without-optuna

The store is filled with SQL: candidates of the digits CNN space, seven measurements, an attempt and four events each. The server is a process of
its own, the page runs in Debian's chromium, headless, with a fresh profile; between them a forwarder counts the bytes that go to the page.
"First draw" is the time from the navigation until the scatter plot of all trials stands and a frame was painted. "Sort" and "filter" are the
times from the click until the table shows the new rows. Optuna's dashboard gets the same trials (parameters and four values) in an SQLite file of
its own: the request for all trials, the time until its plot of the front holds all of them, and what goes over the wire while the page is open.
It has no table of trials that could be sorted.
"""

import argparse
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dashboard_optuna
from dashboard_page import FLAGS, Counting, calls, process
from dashboard_store import candidates, seed, write

os.environ.setdefault("OMP_NUM_THREADS", "1")

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


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--without-optuna", action="store_true")
    parser.add_argument("--without-page", action="store_true")
    chosen = parser.parse_args()
    from service.processes.supervisor import command, free_port

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
            print(
                "optuna",
                json.dumps(dashboard_optuna.measure(folder, given, chosen.seconds, free_port()), indent=1),
            )


if __name__ == "__main__":
    main()
