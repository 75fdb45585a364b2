"""Hypervolume after 20 and 60 trials: ours against Sobol, Optuna (NSGA-II, TPE, GP) and Ax's default, on real digits CNNs, four objectives.

    python benchmarks/search.py                                 # live: ours, Sobol, NSGA-II, TPE; recorded: Optuna GP, Ax
    python benchmarks/search.py --live optuna-gp --seeds 10     # run the slow ones again (minutes each); --record keeps them
    python benchmarks/search.py --live ""                       # only report what is recorded
    python benchmarks/search.py --scales log                    # every objective on a logarithmic scale
    python benchmarks/search.py --problems tight                # the first feasible trial: 1 % of what keeps the budget of the size keeps that of the error

The problem is benchmarks/digits_table.py: networks really trained once, so that a trial costs nothing. It is searched twice, freely and with a
budget that half of the space exceeds. Every contender may have its candidates screened for free: one over the budget is reported to it
(Optuna: as a violated constraint, with all values; Ax and ours: with its costs) and does not count as a trial. The hypervolume is a share of the
box between zero and a fixed reference point.
"""

import argparse
import fcntl
import json
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from digits_table import EPOCHS, REFERENCE, SPACE, Table, costs

from sparsemod.objectives import Objectives
from sparsemod.records import TrialState, Value
from sparsemod.scales import Kind
from sparsemod.search import sobol
from sparsemod.search.strategy import Search
from sparsemod.sources.observation import Observation
from sparsemod.space.parameters import Categorical, Integer
from sparsemod.spec.experiment import ExperimentSpec

OBJECTIVES = tuple(REFERENCE)
BUDGETS: dict[str, dict[str, float]] = {
    "free": {},
    "budget": {"model_size": 980.0},
    "tight": {"error": 0.08, "model_size": 980.0},
}
RECORD = Path(__file__).parent / "data" / "search_recorded.json"
START = 10
"""Sobol or random trials before a model chooses: what Optuna's TPE and GP samplers do by themselves, and what Ax is given."""
OUR_START = 6
LINEAR: Mapping[str, Kind] = dict.fromkeys(OBJECTIVES, "linear")
"""The scales of the recorded runs."""
Error = Callable[[Mapping[str, Value]], float]
Run = tuple[list[float], float]


class Course:
    """One run's account: the hypervolume after every trial that was trained."""

    def __init__(self, error: Error, budgets: Mapping[str, float], scales: Kind = "linear") -> None:
        self._error, self.budgets = error, budgets
        self.scales = dict.fromkeys(OBJECTIVES, scales)
        self.objectives = spec(budgets, 0, START, scales=self.scales).objectives_in_force()
        # The error's budget is known only after training.
        self._costs = Objectives(OBJECTIVES, REFERENCE, {m: b for m, b in budgets.items() if m != "error"})
        self.rows: list[dict[str, float]] = []

    def trial(self, parameters: Mapping[str, Value]) -> dict[str, float]:
        """All objectives of a candidate; counted when its costs are within the budget."""
        values = {"error": self._error(parameters), **costs(parameters)}
        if self._costs.feasible(values):
            self.rows.append(values)
        return values

    def first(self) -> int | None:
        """The number of the first trial that keeps every budget."""
        return next((i for i, row in enumerate(self.rows, 1) if self.objectives.feasible(row)), None)

    def volumes(self) -> list[float]:
        return self.objectives.history(self.rows)


def spec(
    budgets: Mapping[str, float],
    seed: int,
    trials: int,
    acquisition: str = "ehvi",
    scales: Mapping[str, Kind] = LINEAR,
) -> ExperimentSpec:
    start = START if acquisition == "ax" else OUR_START
    return ExperimentSpec.parse(
        {
            "dataset": {"name": "digits"}, "network": {"family": "cnn"},
            "objectives": list(OBJECTIVES), "reference_point": REFERENCE, "budgets": dict(budgets), "seed": seed,
            "scales": dict(scales),
            "search": {"acquisition": acquisition},
            "rounds": {
                "r1": {"trials": start, "epochs": EPOCHS},
                "r2": {"trials": trials - start, "epochs": EPOCHS},
                "r3": {"trials": 0, "epochs": 1},
            },
        }
    )  # fmt: skip


def ours(course: Course, seed: int, trials: int, acquisition: str = "ehvi") -> None:
    of = spec(course.budgets, seed, trials, acquisition, course.scales)
    search = Search(of, SPACE, costs)
    seen: list[Observation] = []
    while len(course.rows) < trials:
        for s in search.next(seen, 1):
            if s.feasible:
                values, state = course.trial(s.candidate.parameters), TrialState.COMPLETED
            else:
                values, state = dict(s.costs), TrialState.INFEASIBLE
            seen.append(Observation(len(seen), s.candidate, state, values, EPOCHS))


def ax(course: Course, seed: int, trials: int) -> None:
    ours(course, seed, trials, "ax")


def by_sobol(course: Course, seed: int, trials: int) -> None:
    for parameters in sobol.candidates(SPACE, seed, 100_000):
        course.trial(parameters)
        if len(course.rows) >= trials:
            return


def by_optuna(make: Callable[..., Any], flat: bool) -> Callable[[Course, int, int], None]:
    """A contender of Optuna. `flat`: every parameter is always suggested, inactive ones ignored (its GP models only what all trials share)."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def run(course: Course, seed: int, trials: int) -> None:
        budgets = course.budgets
        options = {"constraints_func": lambda t: t.user_attrs["over"]} if budgets else {}
        study = optuna.create_study(directions=["minimize"] * len(OBJECTIVES), sampler=make(seed, options))
        while len(course.rows) < trials:
            trial = study.ask()
            values: dict[str, Value] = {}
            for p in SPACE.parameters:
                active = p.name in SPACE.active({**values, p.name: p.default})
                if p.cardinality == 1:
                    if active:
                        values[p.name] = p.default
                elif active or flat:
                    given = _suggest(trial, p)
                    if active:
                        values[p.name] = given
            found = course.trial(values)
            trial.set_user_attr("over", [found[m] / limit - 1.0 for m, limit in budgets.items()])
            study.tell(trial, [found[n] for n in OBJECTIVES])

    return run


def _suggest(trial: Any, p: Any) -> Value:
    if isinstance(p, Categorical):
        return trial.suggest_categorical(p.name, p.values)
    if isinstance(p, Integer):
        return trial.suggest_int(p.name, p.low, p.high, log=p.log)
    return trial.suggest_float(p.name, p.low, p.high, log=p.log)


def contenders() -> dict[str, Callable[[Course, int, int], None]]:
    from optuna.samplers import GPSampler, NSGAIISampler, TPESampler

    return {
        "ours": ours,
        "sobol": by_sobol,
        # 60 trials are few for a population of Optuna's default 50: ten does better.
        "nsga2": by_optuna(lambda s, o: NSGAIISampler(population_size=10, seed=s, **o), flat=True),
        "tpe": by_optuna(lambda s, o: TPESampler(n_startup_trials=START, seed=s, **o), flat=False),
        "optuna-gp": by_optuna(
            lambda s, o: GPSampler(n_startup_trials=START, seed=s, deterministic_objective=False, **o),
            flat=True,
        ),
        "ax": ax,
    }


def race(
    names: Sequence[str],
    problems: Sequence[str],
    seeds: Sequence[int],
    trials: int,
    record: bool,
    scales: Kind = "linear",
) -> dict[str, dict[str, list[Run]]]:
    """Volumes and CPU seconds of every contender, problem and seed; contenders take turns within a seed."""
    table = Table()
    found: dict[str, dict[str, list[Run]]] = {name: {p: [] for p in BUDGETS} for name in names}
    run = contenders()
    for seed in seeds:
        for problem in problems:
            for name in names:
                course = Course(table.error, BUDGETS[problem], scales)
                begin = time.process_time()
                run[name](course, seed, trials)
                seconds = time.process_time() - begin
                found[name][problem].append(
                    ([round(v, 5) for v in course.volumes()[:trials]], round(seconds, 1))
                )
                if record:
                    keep(name, problem, seed, found[name][problem][-1])
                print(
                    f"seed {seed} {problem:6} {name:10} {course.volumes()[-1]:.4f} {seconds:6.1f} s, first feasible: {course.first() or '-'}",
                    flush=True,
                )
    return found


def keep(name: str, problem: str, seed: int, run: Run) -> None:
    """Adds a run to the record, at once: these contenders are slow. Several processes may record at a time."""
    with open(Path(tempfile.gettempdir()) / "sparsemod-search-record.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kept = json.loads(RECORD.read_text()) if RECORD.exists() else {}
        kept.setdefault(name, {}).setdefault(problem, {})[str(seed)] = run
        RECORD.write_text(json.dumps(kept, separators=(",", ":")) + "\n")


def recorded() -> dict[str, dict[str, list[Run]]]:
    """The recorded runs, like the result of `race`."""
    kept = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    return {n: {p: [(c, s) for c, s in kept[n].get(p, {}).values()] for p in BUDGETS} for n in kept}


def report(found: Mapping[str, Mapping[str, list[Run]]], trials: int) -> None:
    for problem, budgets in BUDGETS.items():
        if not any(by_problem[problem] for by_problem in found.values()):
            continue
        print(f"\n{problem}: {budgets or 'no budget'}")
        print(
            f"{'':12}{'seeds':>6}{'20: median':>12}{f'{trials}: median':>12}{'worst':>9}{'best':>9}{'CPU s':>8}"
        )
        rows: dict[str, list[list[float]]] = {}
        for name, by_problem in found.items():
            runs = by_problem[problem]
            if not runs:
                continue
            curves = [curve for curve, _ in runs]
            rows[name] = curves
            last = [c[-1] for c in curves]
            print(
                f"{name:12}{len(runs):6}{median(c[min(19, len(c) - 1)] for c in curves):12.4f}{median(last):12.4f}"
                f"{min(last):9.4f}{max(last):9.4f}{median(s for _, s in runs):8.1f}"
            )
        # A peer without any hypervolume is no measure.
        peers = [n for n in rows if n != "ours" and median(c[-1] for c in rows[n]) > 0.0]
        if "ours" in rows and peers:
            best = max(peers, key=lambda n: median(c[-1] for c in rows[n]))
            level = median(c[-1] for c in rows[best])
            mean = np.median(np.array(rows["ours"]), axis=0)
            within = next((i + 1 for i, v in enumerate(mean) if v >= level), None)
            print(
                f"ours / best peer ({best}): median {mean[-1] / level:.3f}, worst seed {min(c[-1] for c in rows['ours']) / level:.3f}"
            )
            at20 = max(median(c[min(19, len(c) - 1)] for c in rows[n]) for n in peers)
            print(f"after 20 trials, ours / best peer: {mean[min(19, len(mean) - 1)] / at20:.3f}")
            print(
                f"the best peer's level after {trials} trials is reached after {within} trials (median curve)"
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--live",
        default="ours,sobol,nsga2,tpe",
        help="contenders to run, with commas (ours, sobol, nsga2, tpe, optuna-gp, ax)",
    )
    parser.add_argument("--problems", default="free,budget", help=f"of {', '.join(BUDGETS)}, with commas")
    parser.add_argument("--scales", default="linear", choices=("linear", "log"), help="of every objective")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--record", action="store_true", help=f"keep the runs in {RECORD.name}")
    arguments = parser.parse_args()
    if arguments.record and arguments.scales != "linear":
        parser.error("--record: the recorded runs have linear scales")
    warnings.simplefilter("ignore")
    import torch

    torch.set_num_threads(1)
    names = [n for n in arguments.live.split(",") if n]
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    problems = arguments.problems.split(",")
    found = race(names, problems, seeds, arguments.trials, arguments.record, arguments.scales)
    if arguments.trials == 60 and arguments.scales == "linear":
        kept = {n: runs for n, runs in recorded().items() if n not in names}
        print(f"\nrecorded earlier, not run now: {', '.join(kept) or 'nothing'}")
        found |= kept
    report(found, arguments.trials)


if __name__ == "__main__":
    main()
