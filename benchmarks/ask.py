"""CPU seconds and peak memory of one suggestion, by number of trials: ours, Optuna's GP sampler, Ax's default. Four objectives.

    python benchmarks/ask.py                              # 50, 200, 500, 2000 trials; Ax only up to 50
    python benchmarks/ask.py --ax-up-to 500 --optuna-up-to 2000

Every measurement runs in a process of its own, one thread, on the same trials: Sobol points of the problem in benchmarks/digits_table.py with their
interpolated errors. Imports and a first small suggestion come before the clock starts. Ax is given its experiment ready made: only its model fit
and its acquisition are timed. Memory is the process's peak resident set; a process that wants more than --memory is ended and said to have been.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from digits_table import EPOCHS, REFERENCE, SPACE, Table, costs

SIZES = (50, 200, 500, 2000)


def trials(count: int) -> list[tuple[dict[str, Any], dict[str, float]]]:
    from sparsemod.search import sobol

    table = Table()
    return [(p, {"error": table.error(p), **costs(p)}) for p in sobol.candidates(SPACE, 99, count)]


def observations(count: int) -> list[Any]:
    from sparsemod.records import Candidate, TrialState
    from sparsemod.sources.observation import Observation

    return [
        Observation(
            i,
            Candidate(parameters=p, origin="sobol", round="r1"),
            TrialState.COMPLETED,
            values,
            float(EPOCHS),
        )
        for i, (p, values) in enumerate(trials(count))
    ]


def spec(count: int) -> Any:
    from sparsemod.spec.experiment import ExperimentSpec

    return ExperimentSpec.parse(
        {
            "dataset": {"name": "digits"}, "network": {"family": "cnn"}, "reference_point": REFERENCE,
            "rounds": {
                "r1": {"trials": count, "epochs": EPOCHS},
                "r2": {"trials": 10, "epochs": EPOCHS},
                "r3": {"trials": 0, "epochs": 1},
            },
        }
    )  # fmt: skip


def ours(count: int) -> Callable[[], object]:
    from sparsemod.search.strategy import Search

    few = observations(10)
    Search(spec(10), SPACE, costs).next(few, 1)
    search, seen = Search(spec(count), SPACE, costs), observations(count)
    return lambda: search.next(seen, 1)


def optuna_gp(count: int) -> Callable[[], object]:
    import optuna
    from search import _suggest

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    distributions: dict[str, Any] = {}
    for p in SPACE.free:
        if p.type == "categorical":
            distributions[p.name] = optuna.distributions.CategoricalDistribution(p.values)
        elif p.type == "integer":
            distributions[p.name] = optuna.distributions.IntDistribution(p.low, p.high, log=p.log)
        else:
            distributions[p.name] = optuna.distributions.FloatDistribution(p.low, p.high, log=p.log)

    def study(size: int) -> Any:
        made = optuna.create_study(
            directions=["minimize"] * 4, sampler=optuna.samplers.GPSampler(seed=0, n_startup_trials=5)
        )
        for p, values in trials(size):
            flat = {q.name: p.get(q.name, q.default) for q in SPACE.free}
            made.add_trial(
                optuna.trial.create_trial(
                    params=flat, distributions=distributions, values=[values[n] for n in REFERENCE]
                )
            )
        return made

    def ask(of: Any) -> None:
        trial = of.ask()
        for p in SPACE.free:
            _suggest(trial, p)

    ask(study(10))
    full = study(count)
    return lambda: ask(full)


def ax(count: int) -> Callable[[], object]:
    import torch
    from ax.adapter.registry import Generators

    from sparsemod.search.ax_experiment import client, quiet

    experiment = client(spec(count), SPACE, observations(count))._experiment

    def ask() -> object:
        with quiet():
            torch.manual_seed(0)
            return Generators.BOTORCH_MODULAR(experiment=experiment, data=experiment.lookup_data()).gen(1)

    return ask


CONTENDERS = {"ours": ours, "optuna-gp": optuna_gp, "ax": ax}


def one(name: str, count: int) -> None:
    """Measures one suggestion in this process and prints it as JSON."""
    warnings.simplefilter("ignore")
    import torch

    torch.set_num_threads(1)
    ask = CONTENDERS[name](count)
    begin = time.process_time()
    ask()
    seconds = time.process_time() - begin
    print(json.dumps({"seconds": seconds, "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def measure(name: str, count: int, limit: float, gigabytes: float) -> tuple[float, float] | str:
    """CPU seconds and megabytes of one suggestion, or why there are none."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    most = int(gigabytes * 1e9)
    try:
        done = subprocess.run(
            [sys.executable, __file__, "--one", name, str(count)],
            check=False, capture_output=True, text=True, env=environment, timeout=limit,
            # The data segment: the address space holds libraries and reservations that nobody uses.
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (most, most)),
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"not finished after {limit:.0f} s"
    if done.returncode:
        reason = next(
            (line for line in reversed(done.stderr.splitlines()) if line.strip()), f"exit {done.returncode}"
        )
        return f"failed under a limit of {gigabytes:g} GB: {reason[:200]}"
    found = json.loads(done.stdout.splitlines()[-1])
    return found["seconds"], found["mb"]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--ax-up-to", type=int, default=50)
    parser.add_argument("--optuna-up-to", type=int, default=500)
    parser.add_argument("--limit", type=float, default=900, help="wall seconds of one measurement")
    parser.add_argument("--memory", type=float, default=16, help="gigabytes that one measurement may take")
    parser.add_argument("--one", nargs=2, metavar=("NAME", "TRIALS"), help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.one:
        one(given.one[0], int(given.one[1]))
        return
    up_to = {"ours": max(given.sizes), "optuna-gp": given.optuna_up_to, "ax": given.ax_up_to}
    print(f"{'trials':>7}  {'contender':10} {'CPU s':>8} {'peak MB':>8}  ratio of seconds, ours / theirs")
    for count in given.sizes:
        base: float | None = None
        for name, most in up_to.items():
            if count > most:
                continue
            found = measure(name, count, given.limit, given.memory)
            if isinstance(found, str):
                print(f"{count:7}  {name:10} {found}", flush=True)
                continue
            base = found[0] if name == "ours" else base
            ratio = "" if name == "ours" or base is None else f"  1/{found[0] / base:.1f}"
            print(f"{count:7}  {name:10} {found[0]:8.2f} {found[1]:8.0f}{ratio}", flush=True)


if __name__ == "__main__":
    main()
