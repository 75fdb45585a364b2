"""Epochs saved by the stopping rules, and what they cost in hypervolume, on recorded learning curves.

    python benchmarks/stopping.py                     # every rule on replayed trainings, in random order
    python benchmarks/stopping.py --search            # inside the search: minutes
    python benchmarks/stopping.py --learn epochs      # stopped trials told as trainings of fewer epochs; or: nothing

A replay draws 40 recorded trainings of digits_curves.py and feeds them to the rule, epoch by epoch. "hypervolume" is that of the
completed trainings, as a share of that of the same trainings without a rule. "lost": stopped trainings that would be on the final front.
"equal epochs" spends what the rule saves on further trainings, until all epochs are used.

Inside the search, any network has a curve: extremely randomized trees predict it from the recorded ones, and the prediction error of a
recorded network, chosen by the candidate's key, is added, so that curves are as noisy as real ones. "equal epochs": the search without a
rule, cut after as many epochs.
"""

import argparse
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np
from digits_curves import EPOCHS, SPACE, Curves, costs

from sparsemod.objectives import Objectives
from sparsemod.quality import error_of, logit
from sparsemod.records import StopDecision, TrialState, Value
from sparsemod.sources.observation import Observation
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.stopping import Judge, Training

REFERENCE = {"error": 1.0, "model_size": 10_000.0, "working_memory": 500.0, "latency": 0.2}
OBJECTIVES = {"2": ("error", "model_size"), "4": tuple(REFERENCE)}
RULES: dict[str, Any] = {
    "none": None,
    "curves 0.01": {"name": "curves", "probability": 0.01},
    "curves 0.05": {"name": "curves", "probability": 0.05},
    "curves 0.1": {"name": "curves", "probability": 0.1},
    "curves 0.2": {"name": "curves", "probability": 0.2},
    "halving 2": {"name": "halving", "factor": 2.0},
    "halving 3": {"name": "halving", "factor": 3.0},
    "halving 4": {"name": "halving", "factor": 4.0},
}
TRIALS = 40


def spec(names: Sequence[str], stopping: Any, seed: int = 0, trials: int = TRIALS) -> ExperimentSpec:
    return ExperimentSpec.parse(
        {
            "dataset": {"name": "digits"}, "network": {"family": "mlp"}, "objectives": list(names), "seed": seed,
            "reference_point": {name: REFERENCE[name] for name in names}, "stopping": stopping,
            "rounds": {
                "r1": {"trials": 8, "epochs": EPOCHS}, "r2": {"trials": trials - 8, "epochs": EPOCHS}, "r3": {"trials": 0, "epochs": 1},
            },
        }
    )  # fmt: skip


@dataclass
class Course:
    """A run's account: completed values, and the epochs spent after each trial."""

    judge: Judge
    objectives: Objectives
    trainings: list[Training]
    rows: list[dict[str, float]]
    spent: int = 0
    stopped: int = 0

    @classmethod
    def of(cls, experiment: ExperimentSpec) -> "Course":
        return cls(Judge(experiment), experiment.objectives_in_force(), [], [])

    def train(
        self, known: Mapping[str, float], curve: Sequence[float]
    ) -> tuple[dict[str, float], StopDecision | None]:
        """Train a network epoch by epoch; return its values, and the decision that ended it."""
        index, values = len(self.trainings), {"error": min(curve), **known}
        for epoch in range(1, EPOCHS + 1):
            training = Training(index, EPOCHS, False, known, tuple(curve[:epoch]))
            decision = self.judge.decide(training, self.trainings)
            self.spent += 1
            if decision is not None:
                self.trainings.append(training)
                self.stopped += 1
                return values, decision
        self.trainings.append(Training(index, EPOCHS, False, known, tuple(curve), values))
        self.rows.append(values)
        return values, None

    @property
    def volume(self) -> float:
        return self.objectives.hypervolume(self.rows)


def replay(
    names: Sequence[str], rule: Any, table: Curves, order: Sequence[int]
) -> tuple[Course, int, Course]:
    """Return the course of TRIALS trainings, how many were lost, and the course with equal epochs."""
    course, all_values, stopped = Course.of(spec(names, rule)), [], []
    equal = course
    for place, i in enumerate(order):
        if place == TRIALS:
            equal = replace(course, trainings=list(course.trainings), rows=list(course.rows))
        if place >= TRIALS and equal.spent + EPOCHS > TRIALS * EPOCHS:
            break
        target = course if place < TRIALS else equal
        values, decision = target.train(table.costs[i], list(table.errors[i]))
        if place < TRIALS:
            all_values.append(values)
            stopped.append(decision is not None)
    front = course.objectives.front(all_values)
    return course, sum(stopped[i] for i in front), equal


def replays(table: Curves, seeds: int, rules: Sequence[str]) -> None:
    print(f"{TRIALS} of {len(table.errors)} recorded trainings of {EPOCHS} epochs, {seeds} orders\n")
    print("| objectives | rule | stopped | epochs saved | hypervolume | lost | hypervolume, equal epochs |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for label, names in OBJECTIVES.items():
        orders = [np.random.default_rng(seed).permutation(len(table.errors)) for seed in range(seeds)]
        whole = [replay(names, None, table, order)[0].volume for order in orders]
        for title in rules:
            found = [replay(names, RULES[title], table, order) for order in orders]
            saved = median(1 - course.spent / (TRIALS * EPOCHS) for course, *_ in found)
            ratio = [c.volume / w for (c, *_), w in zip(found, whole, strict=True)]
            equal = [e.volume / w for (*_, e), w in zip(found, whole, strict=True)]
            print(
                f"| {label} | {title} | {median(c.stopped for c, *_ in found):.0f} | {100 * saved:.0f} % | {median(ratio):.4f} ({min(ratio):.4f}) "
                f"| {np.mean([lost for _, lost, _ in found]):.1f} | {median(equal):.4f} ({min(equal):.4f}) |",
                flush=True,
            )


class Made:
    """A curve for any network of the space."""

    def __init__(self, table: Curves) -> None:
        from sklearn.ensemble import ExtraTreesRegressor
        from sklearn.model_selection import cross_val_predict

        x, y = np.array([SPACE.encode(p) for p in table.parameters]), logit(table.errors)
        trees = ExtraTreesRegressor(200, min_samples_leaf=2, random_state=0)
        self._noise = y - cross_val_predict(trees, x, y, cv=10)
        self._trees = trees.fit(x, y)

    def curve(self, parameters: Mapping[str, Value]) -> list[float]:
        key = hashlib.sha256(SPACE.key(parameters).encode()).digest()
        noise = self._noise[int.from_bytes(key[:4], "big") % len(self._noise)]
        errors = error_of(self._trees.predict(SPACE.encode(parameters)[None, :])[0] + noise)
        return [float(error) for error in errors]


def search(
    names: Sequence[str], rule: Any, made: Made, seed: int, trials: int, learn: str
) -> tuple[Course, list[tuple[int, float]]]:
    """Return the course of a search, and (epochs spent, hypervolume) after each trial."""
    from sparsemod.search.strategy import Search

    experiment = spec(names, rule, seed, trials)
    course, source = Course.of(experiment), Search(experiment, SPACE, costs)
    seen: list[Observation] = []
    history: list[tuple[int, float]] = []
    while len(history) < trials:
        for s in source.next(seen, 1):
            index = len(seen)
            if not s.feasible:
                seen.append(Observation(index, s.candidate, TrialState.INFEASIBLE, dict(s.costs)))
                continue
            parameters = s.candidate.parameters
            values, decision = course.train(s.costs, made.curve(parameters))
            if decision is None:
                seen.append(Observation(index, s.candidate, TrialState.COMPLETED, values, EPOCHS))
            elif learn == "epochs":
                # What the search would see of a training that was planned with so few epochs.
                reached = {**s.costs, "error": min(course.trainings[-1].errors)}
                seen.append(Observation(index, s.candidate, TrialState.COMPLETED, reached, decision.epoch))
            else:
                told = decision if learn == "forecast" else None
                seen.append(
                    Observation(
                        index, s.candidate, TrialState.STOPPED, dict(s.costs), decision.epoch, stopping=told
                    )
                )
            history.append((course.spent, course.volume))
    return course, history


def searches(table: Curves, seeds: int, trials: int, rules: Sequence[str], learn: str) -> None:
    made = Made(table)
    print(f"searches of {trials} trials of {EPOCHS} epochs, {seeds} seeds; stopped trials told as: {learn}\n")
    print(
        "| objectives | rule | stopped | epochs saved | hypervolume (worst) | without a rule, equal epochs |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for label, names in OBJECTIVES.items():
        whole = [search(names, None, made, seed, trials, learn) for seed in range(seeds)]
        volumes = [course.volume for course, _ in whole]
        print(f"| {label} | none | 0 | 0 % | {median(volumes):.4f} ({min(volumes):.4f}) | |", flush=True)
        for title in rules:
            found = [search(names, RULES[title], made, seed, trials, learn)[0] for seed in range(seeds)]
            cut = [
                max((v for e, v in history if e <= course.spent), default=0.0)
                for course, (_, history) in zip(found, whole, strict=True)
            ]
            saved = median(1 - course.spent / (trials * EPOCHS) for course in found)
            volumes = [course.volume for course in found]
            print(
                f"| {label} | {title} | {median(c.stopped for c in found):.0f} | {100 * saved:.0f} % | {median(volumes):.4f} ({min(volumes):.4f}) "
                f"| {median(cut):.4f} ({min(cut):.4f}) |",
                flush=True,
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--search", action="store_true", help="inside the search")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=40, help="trials of a search")
    parser.add_argument("--rules", default=",".join(RULES), help="by commas")
    parser.add_argument("--learn", choices=("forecast", "epochs", "nothing"), default="forecast")
    arguments = parser.parse_args()
    chosen = [name for name in arguments.rules.split(",") if RULES[name] is not None]
    if arguments.search:
        searches(Curves(), arguments.seeds, arguments.trials, chosen, arguments.learn)
    else:
        replays(Curves(), arguments.seeds, chosen)
