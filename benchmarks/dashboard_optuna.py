"""The same trials in Optuna's dashboard, for `dashboard.py`: its first draw, what the first load weighs, and the bytes of an open page."""

import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from dashboard_page import FLAGS, Counting, calls, process
from dashboard_store import OBJECTIVES, values_of

DRAWN = """(count) => new Promise((done) => {
  const look = () => {
    const plot = document.querySelector('.js-plotly-plot');
    if (plot && plot.querySelectorAll('.scatterlayer .point').length >= count) requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now())));
    else requestAnimationFrame(look);
  };
  look();
})"""
"""The first plot of its page is the Pareto front with all trials, as SVG."""


def _trials(given: list[dict[str, Any]]) -> list[Any]:
    """Finished trials with these parameters and the values that ours have."""
    import optuna

    rng = np.random.default_rng(1)
    distributions: dict[str, Any] = {}
    for parameters in given:
        for name, value in parameters.items():
            if isinstance(value, str | bool):
                choices = (
                    [True, False]
                    if isinstance(value, bool)
                    else sorted({p[name] for p in given if name in p})
                )
                distributions[name] = optuna.distributions.CategoricalDistribution(choices)
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
    return made


def measure(
    folder: Path, given: list[dict[str, Any]], seconds: float, port: int, rate: float = 10.0
) -> dict[str, Any]:
    """What a person sees and what goes over the wire, with the same trials and as many new ones a second."""
    import optuna
    from playwright.sync_api import sync_playwright

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    url = f"sqlite:///{folder / 'optuna.db'}"
    study = optuna.create_study(
        storage=url, study_name="benchmark", directions=["minimize"] * len(OBJECTIVES)
    )
    made = _trials(given)
    study.add_trials(made)

    def write() -> None:
        began, done = time.monotonic(), 0
        while time.monotonic() - began < seconds:
            study.add_trial(made[done % len(made)])
            done += 1
            time.sleep(max(0.0, began + done / rate - time.monotonic()))
        added.append(done)

    added: list[int] = []
    command = [
        str(Path(sys.executable).parent / "optuna-dashboard"), url, "--host", "127.0.0.1", "--port", str(port),
    ]  # fmt: skip
    with process(command, port, "/dashboard"):
        found: dict[str, Any] = calls(port, {"all trials": "/api/studies/1?after=0"}, 3)
        counter = Counting(port)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
            draws, loads = [], []
            for _ in range(3):
                context = browser.new_context(viewport={"width": 1400, "height": 900})
                context.set_default_timeout(180_000)
                page = context.new_page()
                before = counter.bytes
                page.goto(f"http://127.0.0.1:{counter.port}/dashboard/studies/1")
                draws.append(page.evaluate(DRAWN, len(given)))
                loads.append(counter.bytes - before)
                if len(draws) < 3:
                    context.close()
            page.wait_for_timeout(3000)
            before, began = counter.bytes, time.monotonic()
            worker = threading.Thread(target=write)
            worker.start()
            while worker.is_alive():
                page.wait_for_timeout(200)
            # It polls every ten seconds or so: what was added last must have come as well.
            page.wait_for_timeout(12_000)
            live = (counter.bytes - before) / (time.monotonic() - began)
            browser.close()
    return {
        **found, "first_draw_ms": [round(d) for d in draws], "first_load_bytes": loads,
        "live_bytes_per_second": round(live), "live_trials": added[0],
    }  # fmt: skip
