"""CPU milliseconds to attach and complete a trial, and to load 2,000 of them: our store against Ax's SQL storage, both on SQLite.

    python benchmarks/store.py                    # 2,000 trials
    python benchmarks/store.py --trials 200       # a quick look

Both sides get the same trials: 13 parameters, four objectives. Every second one of ours is timed as the service does it: handed out under a lease in
between, completed with ten measurements. The two take turns, block by block. Ax saves `--ax-saved` trials one by one; the rest reaches its database in
one save, which is not timed: the time of loading depends only on how many there are. Needs `tabulate`, which Ax's first save imports.
"""

import argparse
import logging
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("OMP_NUM_THREADS", "1")

PARAMETERS = 13
OBJECTIVES = ("error", "model_size", "working_memory", "latency")
MORE = ("macs", "parameters", "nonzeros", "sparse_size", "deployed_size", "float_error")
BLOCK = 10


def cpu(action: Callable[[], Any]) -> float:
    """CPU seconds of this process that `action` takes."""
    begin = time.process_time()
    action()
    return time.process_time() - begin


class Ours:
    """The service's store on an SQLite file."""

    def __init__(self, folder: Path) -> None:
        from service.store import Store
        from sparsemod.spec.experiment import ExperimentSpec

        self.url = f"sqlite:///{folder / 'ours.db'}"
        self.store = Store.open(self.url)
        spec: dict[str, Any] = {
            "dataset": {"name": "digits"},
            "network": {"family": "cnn"},
            "objectives": list(OBJECTIVES),
        }
        self.experiment = self.store.create_experiment(ExperimentSpec.parse(spec)).id

    def add(self, parameters: dict[str, float], values: dict[str, float], more: bool) -> tuple[float, float]:
        """Attach, hand out, complete; with `more`, complete with ten measurements instead of the four objectives.

        CPU seconds of attaching and completing, and of handing out, which Ax's storage does not do.
        """
        from sparsemod.records import Measurement, TrialResult, TrialState
        from sparsemod.units import METRICS

        begin = time.process_time()
        self.store.attach(self.experiment, parameters)
        attached = time.process_time()
        claim = self.store.claim("bench")
        claimed = time.process_time()
        measured = {**values, **dict.fromkeys(MORE, 1.0)} if more else values
        found = tuple(
            Measurement(
                metric=name,
                value=value,
                unit=METRICS[name].unit if name in METRICS else "B",
                method="analytic",
                target="stm32f446",
            )
            for name, value in measured.items()
        )
        result = TrialResult(
            state=TrialState.COMPLETED, measurements=found, epochs=5.0, seconds={"train": 1.0}
        )
        self.store.finish(claim.attempt, claim.token, result)
        return time.process_time() - claimed + attached - begin, claimed - attached

    def load(self) -> int:
        """Everything that is known of all trials."""
        from service.store import Store

        store = Store.open(self.url)
        count = len(store.trials(self.experiment)[0])
        store.close()
        return count

    def load_records(self) -> int:
        """What the search needs of all trials."""
        from service.store import Store

        store = Store.open(self.url)
        count = len(store.observations(self.experiment))
        store.close()
        return count


class Ax:
    """Ax's client with its SQL storage on an SQLite file."""

    def __init__(self, folder: Path) -> None:
        from ax.api.client import Client
        from ax.api.configs import RangeParameterConfig, StorageConfig
        from ax.storage.sqa_store.db import create_all_tables, get_engine, init_engine_and_session_factory

        self.url = f"sqlite:///{folder / 'ax.db'}"
        init_engine_and_session_factory(url=self.url, force_init=True)
        create_all_tables(get_engine())
        self.client = Client(storage_config=StorageConfig(url=self.url), random_seed=0)
        names = [f"p{i}" for i in range(PARAMETERS)]
        self.client.configure_experiment(
            name="bench",
            parameters=[
                RangeParameterConfig(name=n, bounds=(0.0, 1.0), parameter_type="float") for n in names
            ],
        )
        self.client.configure_optimization(objective=", ".join(f"-{name}" for name in OBJECTIVES))

    def add(self, parameters: dict[str, float], values: dict[str, float]) -> None:
        """Attach, complete."""
        self.client.complete_trial(self.client.attach_trial(parameters), raw_data=values)

    def add_unsaved(self, trials: list[tuple[dict[str, float], dict[str, float]]]) -> None:
        """Many trials with one save at the end."""
        settings, self.client._db_settings = self.client._db_settings, None
        for parameters, values in trials:
            self.add(parameters, values)
        self.client._db_settings = settings
        self.client._save_experiment_to_db_if_possible(experiment=self.client._experiment)

    def load(self) -> int:
        """The experiment, without the save that Ax's client adds to its own loading."""
        from ax.storage.sqa_store.load import load_experiment

        return len(load_experiment("bench", config=self.client._db_settings.decoder.config).trials)


def main() -> None:
    """Run and print."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--trials", type=int, default=2000)
    arguments.add_argument("--ax-saved", type=int, default=200, help="trials that Ax saves one by one")
    arguments.add_argument(
        "--folder", type=Path, help="where the databases are made; default: a temporary folder"
    )
    given = arguments.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)
    rng = np.random.default_rng(0)
    trials = [
        (
            {f"p{i}": float(v) for i, v in enumerate(rng.random(PARAMETERS))},
            dict(zip(OBJECTIVES, (float(v) for v in rng.random(len(OBJECTIVES))), strict=True)),
        )
        for _ in range(given.trials)
    ]
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        ours, ax = Ours(Path(folder)), Ax(Path(folder))
        times: dict[str, list[float]] = {"ours": [], "service": [], "ax": []}
        saved = min(given.ax_saved, given.trials)
        for start in range(0, given.trials, BLOCK):
            for number, (parameters, values) in enumerate(trials[start : start + BLOCK]):
                kept, handed_out = ours.add(parameters, values, more=number % 2 == 1)
                if number % 2 == 1:
                    times["service"].append(kept + handed_out)
                else:
                    times["ours"].append(kept)
            if start < saved:
                for parameters, values in trials[start : start + BLOCK]:
                    times["ax"].append(cpu(lambda p=parameters, v=values: ax.add(p, v)))
        if saved < given.trials:
            ax.add_unsaved(trials[saved:])
        print(
            f"attach and complete a trial with four values, CPU ms ({len(times['ours'])} trials, Ax {len(times['ax'])});"
        )
        print("service: handed out under a lease as well, ten measurements")
        for name, values in times.items():
            tenth = max(1, len(values) // 10)
            ends = f"first tenth {1e3 * statistics.mean(values[:tenth]):.2f}, last {1e3 * statistics.mean(values[-tenth:]):.2f}"
            print(
                f"  {name:7} mean {1e3 * statistics.mean(values):8.2f}   median {1e3 * statistics.median(values):8.2f}   ({ends})"
            )
        ratios = {n: statistics.mean(times["ax"]) / statistics.mean(times[n]) for n in ("ours", "service")}
        print(
            f"  ratio 1/{ratios['ours']:.0f} (target 1/50); all that the service does 1/{ratios['service']:.0f}"
        )
        counts = (
            {ours.load(), ours.load_records(), ax.load()}
            if given.trials <= 200
            else {ours.load(), ours.load_records()}
        )
        loads = {
            "ours": [cpu(ours.load) for _ in range(3)],
            "records": [cpu(ours.load_records) for _ in range(3)],
            "ax": [cpu(ax.load)],
        }
        if counts != {given.trials}:
            raise SystemExit(f"loaded {counts} trials, not {given.trials}")
        print(f"load {given.trials} trials, CPU seconds")
        print(f"  ours  {statistics.median(loads['ours']):8.3f}   everything about every trial")
        print(f"  ours  {statistics.median(loads['records']):8.3f}   what the search needs")
        print(f"  ax    {loads['ax'][0]:8.3f}   the experiment")
        whole, needed = (loads["ax"][0] / statistics.median(loads[name]) for name in ("ours", "records"))
        print(f"  ratio 1/{whole:.0f}, for the search 1/{needed:.0f} (target 1/100)")


if __name__ == "__main__":
    main()
