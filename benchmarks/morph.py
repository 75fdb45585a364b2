"""Epochs that an inherited child needs to reach the error of the same network trained from scratch.

    python benchmarks/morph.py                    # digits: 3 parents x 4 children x 2 seeds, 8 epochs from scratch
    python benchmarks/morph.py --mnist            # MNIST, 6,000 samples, if its files are there
    python benchmarks/morph.py --quick

Parents are the best of random candidates of the CNN space, trained as long as the scratch runs. Each child is trained from scratch and from
inherited weights, for several numbers of epochs, each a run of its own with its whole (cosine) learning rate schedule, and both with the same order
of samples. "Sliced" inherits by name and overlapping corner, as tools do that do not care for the function. A run's error is its
best validation error. The child's ratio is the least number of epochs from inherited weights (0: none at all) whose error is at most that of the
longest scratch run, divided by that run's epochs; a child that never gets there counts as 2.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch import Tensor, nn

from sparsemod.data import load
from sparsemod.errors import BuildError, DataMissing
from sparsemod.morphisms import Morph, inherit, morphs
from sparsemod.morphisms.inheritance.generic import inherit_generic
from sparsemod.morphisms.operators import CNN
from sparsemod.networks import Family, create_family
from sparsemod.records import DataInfo, Value
from sparsemod.space.parameters import Integer
from sparsemod.spec.parts import DatasetSpec, SplitsSpec
from sparsemod.spec.training import TrainingSpec
from sparsemod.training import Resident, train
from sparsemod.training.evaluation import evaluate

NEVER = 2.0
State = dict[str, Tensor]
Parameters = dict[str, Value]


@dataclass
class Child:
    """One child under one seed: errors by epochs, for each way to begin."""

    morph: Morph
    preserved: bool
    errors: dict[str, dict[int, float]] = field(default_factory=dict)

    def ratio(self, way: str, epochs: int) -> float:
        """Least epochs to the error of `epochs` from scratch, as a share of them."""
        goal = self.errors["scratch"][epochs]
        enough = [e for e, error in self.errors[way].items() if error <= goal]
        return min(enough) / epochs if enough else NEVER


class Bench:
    """The data, the family and the runs."""

    def __init__(self, dataset: DatasetSpec, options: dict[str, Value], epochs: int) -> None:
        loaded = load(dataset)
        self.info: DataInfo = loaded.info
        self.data = Resident.of(loaded)
        self.family: Family = create_family("cnn", options)
        # No bottlenecks of one or two filters, which make bad parents and are no more than noise here.
        space = self.family.space(self.info)
        names = [n for n in space.names if n.endswith("_filters")]
        self.space = space.override({n: Integer(name=n, low=6, high=24, log=True) for n in names})
        self.epochs = epochs
        # 67 steps an epoch: eight epochs from scratch come near the end of what these networks learn.
        self.settings = TrainingSpec(batch_size=16)

    def build(self, parameters: Parameters, seed: int) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return self.family.build(parameters, self.info)

    def run(self, parameters: Parameters, state: State | None, epochs: int, seed: int) -> tuple[float, State]:
        """Best validation error after so many epochs, and the weights."""
        module = self.build(parameters, seed)
        if state is not None:
            module.load_state_dict(state)
        if epochs == 0:
            return evaluate(module.eval(), self.data.validation)[1], module.state_dict()
        outcome = train(module, self.data, self.settings, epochs=epochs, seed=seed)
        return 1.0 if outcome.best is None else outcome.best.validation_error, module.state_dict()

    def parents(self, tries: int, count: int) -> list[tuple[float, Parameters, State]]:
        """The best of random candidates: error, parameters, weights."""
        rng = np.random.default_rng(0)
        found: list[tuple[float, Parameters, State]] = []
        while len(found) < tries:
            parameters = self.space.sample(rng)
            try:
                error, state = self.run(parameters, None, self.epochs, 0)
            except BuildError:
                continue
            found.append((error, parameters, state))
        return sorted(found, key=lambda entry: entry[0])[:count]

    def children(self, parameters: Parameters, count: int, seed: int) -> list[Morph]:
        """Morphs that can be built."""
        usable: list[Morph] = []
        for morph in morphs(self.family, self.space, parameters, np.random.default_rng(seed), 4 * count):
            try:
                self.build(morph.parameters, 0)
            except BuildError:
                continue
            usable.append(morph)
        return usable[:count]

    def child(
        self, parent: Parameters, state: State, morph: Morph, seed: int, budgets: Sequence[int]
    ) -> Child:
        """All runs of one child."""
        module = self.build(morph.parameters, seed)
        inherited = inherit(self.family, parent, state, morph.parameters, module, self.info)
        sliced = inherit_generic(parent, state, morph.parameters, module, self.info)
        ways = {"scratch": None, "inherited": inherited.state_dict, "sliced": sliced.state_dict}
        result = Child(morph, inherited.preserved)
        quarter = self.epochs // 4
        for way, start in ways.items():
            # The three ways are interleaved within each child, so that load on the machine hits them alike.
            own = [e for e in budgets if e <= quarter] if way == "sliced" else budgets
            result.errors[way] = {e: self.run(morph.parameters, start, e, seed)[0] for e in own}
        return result


def report(children: list[Child], epochs: int, budgets: Sequence[int]) -> float:
    """Print the tables; returns the median ratio of inherited weights."""
    print(f"\nmedian validation error of {len(children)} runs after so many epochs")
    print(f"{'':12}" + "".join(f"{e:>8}" for e in budgets))
    for way in ("scratch", "sliced", "inherited"):
        known = [e for e in budgets if e in children[0].errors[way]]
        row = [statistics.median(child.errors[way][e] for child in children) for e in known]
        print(f"{way:12}" + "".join(f"{error:8.4f}" for error in row))
    inherited = {e: statistics.median(c.errors["inherited"][e] for c in children) for e in budgets}
    for goal in [e for e in budgets if e >= 4]:
        error = statistics.median(c.errors["scratch"][goal] for c in children)
        enough = [e for e in budgets if inherited[e] <= error]
        reached = f"after {enough[0]} epochs inherited" if enough else f"not within {epochs} inherited"
        print(f"the median of {goal} epochs from scratch is reached {reached}")
    print(f"\nepochs to reach the error of {epochs} epochs from scratch, as a share of them")
    print(f"{'':22}{'runs':>6}{'median':>9}{'within 1/4':>12}{'never':>7}{'sliced within 1/4':>20}")
    groups = {
        "all": children,
        "function kept": [c for c in children if c.preserved],
        "function not kept": [c for c in children if not c.preserved],
    }
    for operator in sorted({operator.name for operator in CNN}):
        only = [
            c for c in children if len(c.morph.operators) == 1 and c.morph.operators[0].startswith(operator)
        ]
        groups[f"  only {operator}"] = only
    for name, group in groups.items():
        if not group:
            continue
        ratios = [c.ratio("inherited", epochs) for c in group]
        within = sum(r <= 0.25 for r in ratios) / len(group)
        sliced = sum(c.ratio("sliced", epochs) <= 0.25 for c in group) / len(group)
        never = sum(r == NEVER for r in ratios)
        print(f"{name:22}{len(group):6}{statistics.median(ratios):9.3f}{within:12.0%}{never:7}{sliced:20.0%}")
    median = statistics.median(c.ratio("inherited", epochs) for c in children)
    print(f"\nmedian ratio {median:.3f} (target: at most 0.25)")
    return median


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mnist", action="store_true", help="MNIST, 6,000 samples, instead of digits")
    parser.add_argument("--quick", action="store_true", help="a few small runs, to see that it works")
    parser.add_argument("--parents", type=int, default=3)
    parser.add_argument("--children", type=int, default=4, help="of each parent")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=8, help="of the scratch runs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.quick:
        options.parents, options.children, options.seeds, options.epochs = 1, 2, 1, 4
    budgets = sorted({0, 1, 2, 3, options.epochs // 4, options.epochs // 2, options.epochs})
    splits = SplitsSpec(validation=0.35, test=0.05)
    dataset = (
        DatasetSpec(name="mnist", limit=6000, splits=splits)
        if options.mnist
        else DatasetSpec(name="digits", splits=splits)
    )
    try:
        bench = Bench(dataset, {"max_filters": 24, "max_dense_width": 64}, options.epochs)
    except DataMissing as error:
        print(f"skipped: {error}")
        return 0
    began = time.perf_counter()
    parents = bench.parents(8 * options.parents, options.parents)
    print(
        f"{bench.info.name}: parents' errors {', '.join(f'{error:.4f}' for error, *_ in parents)}", flush=True
    )
    found: list[Child] = []
    for number, (_, parameters, state) in enumerate(parents):
        for morph in bench.children(parameters, options.children, number):
            for seed in range(1, options.seeds + 1):
                child = bench.child(parameters, state, morph, seed, budgets)
                found.append(child)
                print(
                    f"{child.errors['scratch'][options.epochs]:.4f} from scratch; inherited "
                    + " ".join(f"{e}: {child.errors['inherited'][e]:.4f}" for e in budgets)
                    + f"  {'kept' if child.preserved else '    '} {'; '.join(morph.operators)}",
                    flush=True,
                )
    report(found, options.epochs, budgets)
    print(f"{time.perf_counter() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
