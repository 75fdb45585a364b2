"""Time to front: CPU seconds of whole searches on digits, from nothing, ours against Optuna's TPE on the same pipeline.

    python benchmarks/front.py                                    # all variants
    python benchmarks/front.py --seconds 60 --seeds 3 --variants ours,tpe

Every variant has the same CPU seconds of one process, imports and the loading of the data excluded. A trial is a whole one in each: build,
train, quantize, measure by `sparsemod.pipeline.trial.evaluate`. The hypervolume is that of the trials within the budget, on the default scales.

- ours: candidates over the budget are not trained, the rule `curves` stops trainings, round 3 inherits weights for half of the epochs.
- no stopping, no inheritance (round 2 goes on), no screening (every candidate is trained; the budget only judges the results): ours without
  one part.
- tpe: Optuna's multi-objective TPE with the budget as a constraint. It trains every candidate for all epochs from new weights.

"time to TPE's front": CPU seconds until a run first has the median final hypervolume of tpe.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

EPOCHS = 8
BUDGET = {"model_size": 4000.0}
Course = list[tuple[float, float]]
"""CPU seconds and hypervolume after each trained candidate."""


def spec(seed: int, *, stopping: bool = True, inherit: bool = True, screen: bool = True) -> Any:
    from sparsemod.spec.experiment import ExperimentSpec

    return ExperimentSpec.parse(
        {
            "name": "front", "dataset": {"name": "digits"}, "seed": seed,
            "network": {"family": "cnn", "options": {"max_blocks": 2, "max_layers": 2, "max_filters": 48, "max_dense": 1, "max_dense_width": 64}},
            "space": {"learning_rate": {"low": 1e-3, "high": 3e-2, "log": True}},
            "objectives": ["error", "model_size"], "reference_point": {"error": 1.0, **BUDGET},
            "budgets": BUDGET if screen else {}, "measure": {"device": "model"},
            "training": {"batch_size": 64}, "stopping": "curves" if stopping else None,
            "rounds": {
                "r1": {"trials": 8, "epochs": EPOCHS}, "r2": {"trials": 12 if inherit else 10_000, "epochs": EPOCHS},
                "r3": {"trials": 10_000 if inherit else 0, "epochs": EPOCHS // 2},
            },
        }
    )  # fmt: skip


class Watch:
    """Counts CPU seconds and the hypervolume of completed trials."""

    def __init__(self, seed: int, seconds: float) -> None:
        self.objectives, self.seconds = spec(seed).objectives_in_force(), seconds
        self.rows: list[dict[str, float]] = []
        self.course: Course = []
        self.began = time.process_time()

    def trial(self, result: Any) -> bool:
        """Note a trial; return whether time is left."""
        from sparsemod.records import TrialState

        if result.state is TrialState.COMPLETED:
            self.rows.append(result.values())
        spent = time.process_time() - self.began
        if result.curve and spent <= self.seconds:
            self.course.append((spent, self.objectives.hypervolume(self.rows)))
        return spent < self.seconds


class Over(BaseException):
    """The CPU seconds are spent."""


def ours(**parts: bool) -> Callable[[int, float], Course]:
    def run(seed: int, seconds: float) -> Course:
        from sparsemod.pipeline.local_run import LocalRun

        with tempfile.TemporaryDirectory() as folder:
            local = LocalRun(spec(seed, **parts), Path(folder))
            watch = Watch(seed, seconds)

            def finished(trial: Any) -> None:
                if not watch.trial(trial.result):
                    raise Over

            try:
                local.run(finished)
            except Over:
                return watch.course
        return watch.course

    return run


def tpe(seed: int, seconds: float) -> Course:
    import optuna

    from sparsemod.data import load
    from sparsemod.pipeline.problem import Problem, trial_seed
    from sparsemod.pipeline.trial import evaluate
    from sparsemod.records import Candidate
    from sparsemod.space.parameters import Categorical, Integer

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    free = spec(seed, screen=False, stopping=False)
    data = load(free.dataset, targets=free.task.targets)
    space = Problem.of(free, data.info).space
    sampler = optuna.samplers.TPESampler(
        n_startup_trials=8, seed=seed, constraints_func=lambda trial: trial.user_attrs["over"]
    )
    study = optuna.create_study(directions=["minimize"] * 2, sampler=sampler)
    watch, index = Watch(seed, seconds), 0
    while True:
        trial = study.ask()
        values: dict[str, Any] = {}
        for p in space.parameters:
            if p.name not in space.active({**values, p.name: p.default}):
                continue
            if p.cardinality == 1:
                values[p.name] = p.default
            elif isinstance(p, Categorical):
                values[p.name] = trial.suggest_categorical(p.name, p.values)
            elif isinstance(p, Integer):
                values[p.name] = trial.suggest_int(p.name, p.low, p.high, log=p.log)
            else:
                values[p.name] = trial.suggest_float(p.name, p.low, p.high, log=p.log)
        candidate = Candidate(parameters=values, origin="manual", round="manual")
        result = evaluate(free, candidate, epochs=EPOCHS, seed=trial_seed(seed, index), data=data)
        index += 1
        found = result.values()
        trial.set_user_attr("over", [found.get(m, 1e9) / limit - 1.0 for m, limit in BUDGET.items()])
        if result.curve and "error" in found:
            study.tell(trial, [found["error"], found["model_size"]])
        else:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        if not watch.trial(result):
            return watch.course


VARIANTS: dict[str, Callable[[int, float], Course]] = {
    "ours": ours(),
    "no stopping": ours(stopping=False),
    "no inheritance": ours(inherit=False),
    "no screening": ours(screen=False),
    "tpe": tpe,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=40.0, help="CPU seconds of a run")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--variants", default=",".join(VARIANTS))
    arguments = parser.parse_args()
    from sparsemod.training.process import tune_process

    tune_process(1)
    names = arguments.variants.split(",")
    courses: dict[str, list[Course]] = {name: [] for name in names}
    for seed in range(arguments.seeds):
        for name in names:
            courses[name].append(VARIANTS[name](seed, arguments.seconds))
            spent, volume = courses[name][-1][-1]
            print(
                f"seed {seed} {name}: {len(courses[name][-1])} trained, {volume:.4f} after {spent:.0f} s",
                flush=True,
            )
    target = median(course[-1][1] for course in courses["tpe"]) if "tpe" in courses else float("inf")
    print(f"\n{arguments.seconds:g} CPU seconds, {arguments.seeds} seeds; TPE's median front: {target:.4f}\n")
    print("| variant | trained | hypervolume (worst) | CPU s to TPE's front (reached) |")
    print("| --- | --- | --- | --- |")
    for name, found in courses.items():
        volumes = [course[-1][1] for course in found]
        first = [next((s for s, v in course if v >= target), float("inf")) for course in found]
        reached = sum(one < float("inf") for one in first)
        middle = median(first)
        shown = f"{middle:.0f}" if middle < float("inf") else "-"
        print(
            f"| {name} | {median(len(course) for course in found):.0f} | {median(volumes):.4f} ({min(volumes):.4f}) | {shown} ({reached} of {len(found)}) |"
        )


if __name__ == "__main__":
    main()
