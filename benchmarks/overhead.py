"""What a trial costs beside its training: digits trials through server, worker and child process, by stage.

    python benchmarks/overhead.py [--trials 20] [--out FILE]

A server and one worker run as real processes; the queue is filled beforehand, so that nothing waits for suggestions. A trial's wall time is the time
from one claim to the next in the server's records; "train" is the pipeline's own measurement of training. Target: under 1 s for the rest.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from service.client.client import Client
from service.processes.supervisor import free_port
from service.store import Store
from service.suggester.suggester import build_search
from sparsemod.errors import ServerUnavailable
from sparsemod.spec.experiment import ExperimentSpec

SPEC: dict[str, Any] = {
    "name": "overhead",
    "dataset": {"name": "digits"},
    "network": {
        "family": "cnn",
        "options": {"max_layers": 2, "max_filters": 32, "max_dense": 1, "max_dense_width": 64},
    },
    "rounds": {
        "r1": {"trials": 0, "epochs": 5},
        "r2": {"trials": 0, "epochs": 5},
        "r3": {"trials": 0, "epochs": 5},
    },
    "objectives": ["error", "model_size", "working_memory", "latency"],
    "budgets": ["flash <= 64 KB"],
    "training": {"batch_size": 64},
    "pruning": {"method": "magnitude"},
}


def start(*arguments: str) -> "subprocess.Popen[bytes]":
    """One of our commands as a process."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "service.cli", *arguments], env=environment, stderr=subprocess.DEVNULL
    )


def run(trials: int) -> dict[str, Any]:
    """Evaluate `trials` trials on one worker; medians in seconds."""
    spec_data = json.loads(json.dumps(SPEC))
    spec_data["rounds"]["r1"]["trials"] = trials
    spec = ExperimentSpec.parse(spec_data)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        port = free_port()
        store = Store.open(f"sqlite:///{folder / 'sparsemod.db'}")
        identity = store.create_experiment(spec).id
        lease = store.lease_suggester(identity, "benchmark")
        if lease is None:
            raise RuntimeError("the lease of a new experiment is free")
        store.queue(lease, build_search(spec).next([], trials))
        processes = [start("serve", "--only-server", "--port", str(port), "--data-dir", str(folder))]
        url = f"http://127.0.0.1:{port}"
        try:
            with Client(url) as client:
                wait(client)
                processes.append(
                    start("worker", "--cpu", "--server", url, "--until-idle", "1", "--name", "benchmark")
                )
                processes[-1].wait(timeout=600)
                views = [client.trial(identity, record.index) for record in store.observations(identity)]
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait()
            store.close()
    return summarize([view for view in views if view.state == "completed"])


def wait(client: Client) -> None:
    """Until the server answers."""
    limit = time.monotonic() + 60
    while True:
        try:
            client.health()
            return
        except ServerUnavailable:
            if time.monotonic() > limit:
                raise
            time.sleep(0.1)


def summarize(views: list[Any]) -> dict[str, Any]:
    """Medians over the trials: the pipeline's stages, and what passes around them."""
    attempts = sorted((view.attempts[-1] for view in views), key=lambda attempt: attempt.started_at)
    by_attempt = {view.attempts[-1].attempt: view for view in views}
    cycles: list[dict[str, float]] = []
    for this, following in pairwise(attempts):
        seconds = dict(by_attempt[this.attempt].seconds)
        inside = sum(seconds.values())
        held = (this.ended_at - this.started_at).total_seconds()
        cycle = (following.started_at - this.started_at).total_seconds()
        cycles.append({
            **seconds,
            "worker, child, reports": held - inside,
            "from report to next claim": cycle - held,
            "cycle": cycle,
            "overhead": cycle - seconds["train"],
        })  # fmt: skip
    names = list(dict.fromkeys(name for cycle in cycles for name in cycle))
    medians = {name: statistics.median(cycle.get(name, 0.0) for cycle in cycles) for name in names}
    return {
        "trials": len(views),
        "median_seconds": medians,
        "worst_overhead": max(cycle["overhead"] for cycle in cycles),
    }


def main() -> None:
    """Print the table; write it as JSON with --out."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = run(options.trials)
    print(f"{found['trials']} digits trials, one worker, medians in ms")
    for name, seconds in found["median_seconds"].items():
        print(f"  {name:<28} {1000 * seconds:8.1f}")
    overhead = found["median_seconds"]["overhead"]
    print(
        f"beside training: {overhead:.3f} s (target 1 s, ratio {overhead:.2f}); worst {found['worst_overhead']:.3f} s"
    )
    if options.out is not None:
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
