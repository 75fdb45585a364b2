"""Hypervolume after 20 and 60 trials: ours against Sobol, Optuna (NSGA-II, TPE, GP) and Ax's default, on real networks, four objectives.

    python benchmarks/search.py                                 # live: ours, Sobol, NSGA-II, TPE; recorded: Optuna GP, Ax
    python benchmarks/search.py --live optuna-gp --seeds 10     # run the slow ones again (minutes each); --record keeps them
    python benchmarks/search.py --live ""                       # only report what is recorded
    python benchmarks/search.py --scales log                    # every objective on a logarithmic scale
    python benchmarks/search.py --table mnist --scales log      # another table: mnist, vowels
    python benchmarks/search.py --live ours,warm                # warm: ours with 40 earlier trials of the same table without budgets
    python benchmarks/search.py --problems tight                # the first feasible trial: 1 % of what keeps the budget of the size keeps that of the error

The problems are benchmarks/digits_table.py and benchmarks/tables.py: networks really trained once, so that a trial costs nothing. Each is
searched twice, freely and with a budget that half of the space exceeds. Every contender may have its candidates screened for free: one over the budget is reported to it
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
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import digits_table
import numpy as np
import tables

from sparsemod.objectives import Objectives
from sparsemod.records import TrialState, Value
from sparsemod.scales import Kind
from sparsemod.search import sobol
from sparsemod.search.strategy import Search
from sparsemod.sources.observation import Observation
from sparsemod.space.parameters import Categorical, Integer
from sparsemod.space.space import Space
from sparsemod.spec.experiment import ExperimentSpec

OBJECTIVES = ("error", "model_size", "working_memory", "latency")
Row = dict[str, float]


@dataclass(frozen=True)
class Tabled:
    """A problem whose trials are looked up: what the contenders search, and what they get."""

    name: str
    space: Space
    epochs: int
    error: Callable[[Mapping[str, Value]], float]
    costs: Callable[[Mapping[str, Value]], Row]
    reference: Mapping[str, float]
    budgets: Mapping[str, Mapping[str, float]]
    described: Mapping[str, Any]
    """The spec's dataset and network."""

    @property
    def record(self) -> Path:
        kept = "search_recorded" if self.name == "digits" else f"search_recorded_{self.name}"
        return Path(__file__).parent / "data" / f"{kept}.json"


def tabled(name: str) -> Tabled:
    """The problem of this name."""
    if name == "digits":
        budgets = {"free": {}, "budget": {"model_size": 980.0}, "tight": {"error": 0.08, "model_size": 980.0}}
        described = {"dataset": {"name": "digits"}, "network": {"family": "cnn"}}
        of = digits_table
        return Tabled(name, of.SPACE, of.EPOCHS, of.Table().error, of.costs, of.REFERENCE, budgets, described)
    one = tables.PROBLEMS[name]
    described = {key: one.described[key] for key in ("dataset", "network")}
    return Tabled(
        name, one.space, one.epochs, tables.Table(one).error, one.costs, one.reference, one.budgets, described
    )


START = 10
"""Sobol or random trials before a model chooses: what Optuna's TPE and GP samplers do by themselves, and what Ax is given."""
OUR_START = 6
LINEAR: Mapping[str, Kind] = dict.fromkeys(OBJECTIVES, "linear")
"""The scales of the recorded runs."""
Run = tuple[list[float], float]


class Course:
    """One run's account: the hypervolume after every trial that was trained."""

    def __init__(self, of: Tabled, budgets: Mapping[str, float], scales: Mapping[str, Any]) -> None:
        self.of, self.budgets, self.scales = of, budgets, scales
        self.objectives = spec(of, budgets, 0, START, scales=scales).objectives_in_force()
        # The error's budget is known only after training.
        within = {m: b for m, b in budgets.items() if m != "error"}
        self._costs = Objectives(OBJECTIVES, of.reference, within)
        self.rows: list[Row] = []

    def trial(self, parameters: Mapping[str, Value]) -> Row:
        """All objectives of a candidate; counted when its costs are within the budget."""
        values = {"error": self.of.error(parameters), **self.of.costs(parameters)}
        if self._costs.feasible(values):
            self.rows.append(values)
        return values

    def first(self) -> int | None:
        """The number of the first trial that keeps every budget."""
        return next((i for i, row in enumerate(self.rows, 1) if self.objectives.feasible(row)), None)

    def volumes(self) -> list[float]:
        return self.objectives.history(self.rows)


def spec(
    of: Tabled,
    budgets: Mapping[str, float],
    seed: int,
    trials: int,
    acquisition: str = "ehvi",
    scales: Mapping[str, Any] = LINEAR,
    start: int | None = None,
    earlier: Sequence[Mapping[str, Any]] = (),
) -> ExperimentSpec:
    if start is None:
        start = START if acquisition == "ax" else OUR_START
    return ExperimentSpec.parse(
        {
            **of.described,
            "objectives": list(OBJECTIVES), "reference_point": dict(of.reference), "budgets": dict(budgets), "seed": seed,
            "scales": dict(scales),
            "search": {"acquisition": acquisition, "earlier": list(earlier)},
            "rounds": {
                "r1": {"trials": start, "epochs": of.epochs},
                "r2": {"trials": trials - start, "epochs": of.epochs},
                "r3": {"trials": 0, "epochs": 1},
            },
        }
    )  # fmt: skip


def ours(
    course: Course,
    seed: int,
    trials: int,
    acquisition: str = "ehvi",
    start: int | None = None,
    earlier: Sequence[Mapping[str, Any]] = (),
) -> list[Observation]:
    of = course.of
    searched = spec(of, course.budgets, seed, trials, acquisition, course.scales, start, earlier)
    search = Search(searched, of.space, of.costs)
    seen: list[Observation] = []
    while len(course.rows) < trials:
        for s in search.next(seen, 1):
            if s.feasible:
                values, state = course.trial(s.candidate.parameters), TrialState.COMPLETED
            else:
                values, state = dict(s.costs), TrialState.INFEASIBLE
            seen.append(Observation(len(seen), s.candidate, state, values, of.epochs))
    return seen


def warm(course: Course, seed: int, trials: int) -> None:
    """Ours without Sobol trials, from 40 trials of an earlier search that had no budgets and another seed."""
    earlier = Course(course.of, {}, course.scales)
    found = ours(earlier, seed + 1000, 40)
    known = [
        {"parameters": o.candidate.parameters, "epochs": o.epochs, "value": o.values["error"]}
        for o in found
        if o.state is TrialState.COMPLETED and o.values is not None
    ]
    ours(course, seed, trials, start=0, earlier=known)


def ax(course: Course, seed: int, trials: int) -> None:
    ours(course, seed, trials, "ax")


def by_sobol(course: Course, seed: int, trials: int) -> None:
    for parameters in sobol.candidates(course.of.space, seed, 100_000):
        course.trial(parameters)
        if len(course.rows) >= trials:
            return


def by_optuna(make: Callable[..., Any], flat: bool) -> Callable[[Course, int, int], None]:
    """A contender of Optuna. `flat`: every parameter is always suggested, inactive ones ignored (its GP models only what all trials share)."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def run(course: Course, seed: int, trials: int) -> None:
        budgets, space = course.budgets, course.of.space
        options = {"constraints_func": lambda t: t.user_attrs["over"]} if budgets else {}
        study = optuna.create_study(directions=["minimize"] * len(OBJECTIVES), sampler=make(seed, options))
        while len(course.rows) < trials:
            trial = study.ask()
            values: dict[str, Value] = {}
            for p in space.parameters:
                active = p.name in space.active({**values, p.name: p.default})
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
        "warm": warm,
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
    of: Tabled,
    names: Sequence[str],
    problems: Sequence[str],
    seeds: Sequence[int],
    trials: int,
    record: bool,
    scales: Mapping[str, Any] = LINEAR,
) -> dict[str, dict[str, list[Run]]]:
    """Volumes and CPU seconds of every contender, problem and seed; contenders take turns within a seed."""
    found: dict[str, dict[str, list[Run]]] = {name: {p: [] for p in of.budgets} for name in names}
    run = contenders()
    for seed in seeds:
        for problem in problems:
            for name in names:
                course = Course(of, of.budgets[problem], scales)
                begin = time.process_time()
                run[name](course, seed, trials)
                seconds = time.process_time() - begin
                found[name][problem].append(
                    ([round(v, 5) for v in course.volumes()[:trials]], round(seconds, 1))
                )
                if record:
                    keep(of.record, name, problem, seed, found[name][problem][-1])
                print(
                    f"seed {seed} {problem:6} {name:10} {course.volumes()[-1]:.4f} {seconds:6.1f} s, first feasible: {course.first() or '-'}",
                    flush=True,
                )
    return found


def keep(file: Path, name: str, problem: str, seed: int, run: Run) -> None:
    """Adds a run to the record, at once: these contenders are slow. Several processes may record at a time."""
    with open(Path(tempfile.gettempdir()) / "sparsemod-search-record.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kept = json.loads(file.read_text()) if file.exists() else {}
        kept.setdefault(name, {}).setdefault(problem, {})[str(seed)] = run
        file.write_text(json.dumps(kept, separators=(",", ":")) + "\n")


def recorded(of: Tabled) -> dict[str, dict[str, list[Run]]]:
    """The recorded runs, like the result of `race`."""
    kept = json.loads(of.record.read_text()) if of.record.exists() else {}
    return {n: {p: [(c, s) for c, s in kept[n].get(p, {}).values()] for p in of.budgets} for n in kept}


def report(of: Tabled, found: Mapping[str, Mapping[str, list[Run]]], trials: int) -> None:
    for problem, budgets in of.budgets.items():
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
        peers = [n for n in rows if n not in ("ours", "warm") and median(c[-1] for c in rows[n]) > 0.0]
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
        help="contenders to run, with commas (ours, warm, sobol, nsga2, tpe, optuna-gp, ax)",
    )
    parser.add_argument("--table", default="digits", choices=("digits", *tables.PROBLEMS))
    parser.add_argument("--problems", default="free,budget", help="of free, budget and tight, with commas")
    parser.add_argument(
        "--scales",
        default="linear",
        choices=("linear", "log", "default"),
        help="of every objective; default: the spec's, linear for the error and logarithmic for the costs",
    )
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--record", action="store_true", help="keep the runs in data/")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    import torch

    torch.set_num_threads(1)
    of = tabled(arguments.table)
    kept_scales = "linear" if of.name == "digits" else "default"
    if arguments.record and arguments.scales != kept_scales:
        parser.error(f"--record: the recorded runs have the scales {kept_scales}")
    scales = {} if arguments.scales == "default" else dict.fromkeys(OBJECTIVES, arguments.scales)
    names = [n for n in arguments.live.split(",") if n]
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    problems = arguments.problems.split(",")
    found = race(of, names, problems, seeds, arguments.trials, arguments.record, scales)
    if arguments.trials == 60 and arguments.scales == kept_scales:
        kept = {n: runs for n, runs in recorded(of).items() if n not in names}
        print(f"\nrecorded earlier, not run now: {', '.join(kept) or 'nothing'}")
        found |= kept
    report(of, found, arguments.trials)


if __name__ == "__main__":
    main()
