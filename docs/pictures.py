"""Create the pictures of the documentation from one real run, and the plot of memory by depth from its benchmark.

    python docs/pictures.py                  # all of docs/images, some minutes
    python docs/pictures.py --out /tmp/look  # the same elsewhere

The demo runs in an empty folder and records what it prints (`sparsemod demo --record`). Its service stays up; a second search, of dense networks,
is submitted to it, so that there is something to compare. Then Debian's chromium, headless, takes pictures of the dashboard at that service.
"""

import argparse
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from service.cli.watching import Watcher, follow
from service.client.client import Client

IMAGES = Path(__file__).resolve().parent / "images"
DEMO = "demo.svg"
MEMORY = "memory-depth.svg"
VIEWS = {"dashboard-experiment.png": "light", "dashboard-trial.png": "dark", "dashboard-compare.png": "light"}
"""The pictures of the dashboard and their themes."""

SIZE = {"width": 1280, "height": 1000}
SETTLE_MS = 1500
"""Time for animations of charts to end before a picture is taken."""

SECOND = """version: 2
name: digits mlp
dataset: {name: digits}
network: {family: mlp, options: {max_width: 64}}
space: {learning_rate: {low: 1e-3, high: 3e-2, log: true}}
rounds: {r1: {trials: 8, epochs: 10}, r2: {trials: 10, epochs: 10}, r3: {trials: 8, epochs: 4}}
objectives: [error, flash, ram, latency]
budgets: ["error <= 30 %", "flash <= 8 KB"]
"""


@contextmanager
def demo(folder: Path, picture: Path) -> Iterator[str]:
    """Run and record the demo in `folder`; yield the address of its service, which stops when the block ends."""
    command = [sys.executable, "-m", "service.cli", "demo", "--serve", "--record", str(picture)]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    try:
        url = ""
        for line in process.stdout or ():
            print(line, end="", flush=True)
            if match := re.search(r"The dashboard stays at (\S+)", line):
                url = match[1]
                break
        if not url:
            raise SystemExit(f"the demo ended with exit code {process.wait()}")
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def chosen(client: Client, experiment: int) -> int:
    """Return the point of the front with the longest lineage; among equals, the one with the smallest error."""
    points = client.pareto(experiment).points
    return min(points, key=lambda point: (-len(point.lineage), point.values()["error"])).index


def shoot(browser: Any, url: str, colours: str, ready: tuple[str, ...], path: Path) -> None:
    """Take a picture of a view when everything in `ready` is visible."""
    page = browser.new_page(viewport=SIZE, color_scheme=colours)
    page.goto(url)
    for selector in ready:
        page.wait_for_selector(selector, timeout=120_000)
    page.wait_for_timeout(SETTLE_MS)
    page.screenshot(path=path)
    page.close()
    print(f"wrote {path}", flush=True)


def dashboard(url: str, out: Path) -> None:
    """Take the dashboard's pictures at the service of a finished demo."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("no chromium on the PATH: apt-get install chromium")
    with Client(url) as client:
        first = max(one.id for one in client.experiments())
        second = client.create_experiment(SECOND).id
        follow(Watcher(client, second))
        trial = chosen(client, first)
        client.importance(first)
        client.graph(first, trial)
    addresses = {
        f"{url}/#/experiments/{first}?t={trial}": ("[data-chart=scatter] canvas", ".bars"),
        f"{url}/#/experiments/{first}/trials/{trial}": ("[data-epochs]", "text=Memory while it runs"),
        f"{url}/#/compare?ids={first},{second}": ("[data-chart=fronts] canvas", "text=In numbers"),
    }
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        for (name, colours), (address, ready) in zip(VIEWS.items(), addresses.items(), strict=True):
            shoot(browser, address, colours, ready, out / name)
        browser.close()


def main() -> None:
    """Run the demo, then take the pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=IMAGES, help="folder of the pictures")
    options = parser.parse_args()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    benchmark = IMAGES.parent.parent / "benchmarks" / "laboratory.py"
    subprocess.run([sys.executable, str(benchmark), "memory", "--plot", str(out / MEMORY)], check=True)
    with tempfile.TemporaryDirectory() as folder, demo(Path(folder), out / DEMO) as url:
        dashboard(url, out)


if __name__ == "__main__":
    main()
