"""The figures of docs/laboratory.md.

Substitutes and training rules: the validation error on digits over five seeds. Memory: predicted peaks of
one iteration beyond parameters and other existing tensors.

python benchmarks/laboratory.py rules
python benchmarks/laboratory.py substitutes
python benchmarks/laboratory.py memory
python benchmarks/laboratory.py memory --plot docs/images/memory-depth.svg
python benchmarks/laboratory.py kernels
python benchmarks/laboratory.py resident

`resident` runs one iteration in a process of its own, and prints by how much the process's resident memory grows.
"""

import argparse
import multiprocessing
import os
import resource
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from sparsemod.data import load
from sparsemod.errors import BuildError
from sparsemod.networks.zoo import network
from sparsemod.pipeline.training_memory import by_rule, predicted
from sparsemod.records import DataInfo
from sparsemod.spec.parts import DatasetSpec
from sparsemod.spec.training import TrainingSpec
from sparsemod.substitutes import SUBSTITUTES, create, substitute
from sparsemod.substitutes.budget import fit
from sparsemod.substitutes.costs import parameters_of
from sparsemod.substitutes.layers import ComputedConv
from sparsemod.training import Resident, train
from sparsemod.training.optimizers import OPTIMIZERS
from sparsemod.training.rules import RULES

SEEDS = 5
SHARE = 0.25
COMPUTED = ("Hashed_0.1", "SepHashed_0.1", "TensorTrain_0.26", "Tucker_0.25", "CP_0.1", "ACDC_12", "ACDC_64")


def report(name: str, errors: list[float], facts: str = "") -> None:
    """Print mean and standard error."""
    spread = torch.tensor(errors).std().item() / len(errors) ** 0.5
    print(f"{name:<24} {sum(errors) / len(errors):.4f} ± {spread:.4f} {facts}", flush=True)


def rules(data: Resident) -> None:
    """Compare every rule on a network of two convolutions."""
    for rule in RULES.names():
        errors = []
        for seed in range(SEEDS):
            torch.manual_seed(seed)
            module = nn.Sequential(
                nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                nn.Flatten(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10),
            )  # fmt: skip
            settings = TrainingSpec(rule=RULES.config(rule), batch_size=32, learning_rate=2e-3)
            outcome = train(module, data, settings, epochs=12, seed=seed)
            errors.append(outcome.best.validation_error if outcome.best else 1.0)
        report(rule, errors)


def substitutes(data: Resident) -> None:
    """Compare every substitute in WRN-10-0.5 with a quarter of the parameters, or the nearest setting."""
    cost = parameters_of(network("wrn-10-0.5").build((1, 8, 8), 10))
    target = SHARE * cost(create("Conv"))
    for name in ("none", *SUBSTITUTES.names()):
        chosen, facts = name, ""
        if name != "none" and SUBSTITUTES.get(name).setting is not None:
            found = fit(create(name, free=True), target, cost)
            chosen, facts = str(found.substitute), "" if found.met else "nearest"
        errors, size = [], 0
        for seed in range(SEEDS):
            torch.manual_seed(seed)
            module = network("wrn-10-0.5").build((1, 8, 8), 10)
            try:
                substitute(module, chosen)
            except BuildError as error:
                print(name, error)
                break
            size = sum(parameter.numel() for parameter in module.parameters())
            settings = TrainingSpec(batch_size=64, learning_rate=1e-2)
            outcome = train(module, data, settings, epochs=10, seed=seed)
            errors.append(outcome.best.validation_error if outcome.best else 1.0)
        if errors:
            report(chosen, errors, f"{size:,} parameters {facts}")


def depths(file: Path, rules: tuple[str, ...] = ("bp", "fa", "dfa", "mem-dfa")) -> None:
    """Plot the predicted peak beyond existing tensors against the depth, by rule, as an SVG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 3.6), layout="constrained")
    axes, places = figure.subplots(), (5, 10, 15, 20, 25, 30, 35, 40)
    settings = TrainingSpec(batch_size=100, optimizer=OPTIMIZERS.config("sgd", momentum=0.0))
    info = DataInfo(name="images", shape=(1, 16, 16), classes=10)
    peaks: dict[str, list[float]] = {rule: [] for rule in rules}
    for depth in places:
        with torch.device("meta"):
            module = convolutions(depth)
        for rule, trace in by_rule(module, info, settings, list(rules)).items():
            peaks[rule].append(trace.beyond / 2**20)
    for rule, values in peaks.items():
        axes.plot(places, values, "o-", label=rule, markersize=4)
    axes.set_xlabel("convolutions of 20 channels on 16 x 16, batch of 100")
    axes.set_ylabel("peak beyond existing tensors, MiB")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(file, metadata={"Date": None})


def memory() -> None:
    """Predict peaks by depth and by rule."""
    with torch.device("meta"):
        networks = [(f"{depth} convolutions", convolutions(depth), (1, 16, 16)) for depth in (5, 10, 20, 40)]
        networks.append(("vgg-16-fc", network("vgg-16-fc").build((3, 32, 32), 10), (3, 32, 32)))
    for name, module, shape in networks:
        info = DataInfo(name="images", shape=shape, classes=10)
        settings = TrainingSpec(batch_size=100, optimizer=OPTIMIZERS.config("sgd", momentum=0.0))
        for rule, trace in by_rule(module, info, settings, ["bp", "mem-dfa"]).items():
            print(f"{name:<24} {rule:<24} {trace.beyond / 2**20:8.1f} MiB", flush=True)


def kernels() -> None:
    """Predict peaks of WRN-28-10 with the computed kernels held for the backward pass, and with them computed again."""
    info = DataInfo(name="images", shape=(3, 32, 32), classes=10)
    for name in COMPUTED:
        with torch.device("meta"):
            module = network("wrn-28-10").build(info.shape, info.classes)
        substitute(module, name)
        parts = [part for part in module.modules() if isinstance(part, ComputedConv)]
        for samples in (128, 1):
            peaks = []
            for again in (False, True):
                for part in parts:
                    part.checkpointed = again
                peaks.append(predicted(module, info, TrainingSpec(batch_size=samples)).beyond / 2**20)
            print(
                f"{name:<20} batch {samples:<4} held {peaks[0]:8,.0f} MiB, again {peaks[1]:8,.0f} MiB",
                flush=True,
            )


def resident() -> None:
    """Run an iteration of WRN-28-10 with ACDC layers on two samples, and print the growth of the resident memory."""
    os.environ |= {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
    context = multiprocessing.get_context("spawn")
    for name in ("ACDC_12", "ACDC_64"):
        for again in (False, True):
            process = context.Process(target=iteration, args=(name, again))
            process.start()
            process.join()


def iteration(name: str, again: bool) -> None:
    """Run forward and backward pass of WRN-28-10 with a substitute; `again`: its kernels are computed again in the backward pass."""
    torch.set_num_threads(1)
    module = network("wrn-28-10").build((3, 32, 32), 10)
    substitute(module, name)
    for part in module.train().modules():
        if isinstance(part, ComputedConv):
            part.checkpointed = again
    x, y = torch.randn(2, 3, 32, 32), torch.zeros(2, dtype=torch.int64)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    functional.cross_entropy(module(x), y).backward()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"{name:<20} {'again' if again else 'held':<6} {grown:8,.0f} MiB", flush=True)


def convolutions(depth: int) -> nn.Sequential:
    """Return a network of this many convolutions of 20 channels and a linear layer."""
    layers: list[nn.Module] = []
    for place in range(depth):
        layers += [nn.Conv2d(20 if place else 1, 20, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(320, 10))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("rules", "substitutes", "memory", "kernels", "resident"))
    parser.add_argument("--plot", type=Path, help="file for the plot of memory by depth, .svg")
    options = parser.parse_args()
    what = options.what
    torch.set_num_threads(1)
    if what == "memory" and options.plot is not None:
        depths(options.plot)
    elif what == "memory":
        memory()
    elif what in ("kernels", "resident"):
        (kernels if what == "kernels" else resident)()
    else:
        digits = Resident.of(load(DatasetSpec(name="digits")))
        (rules if what == "rules" else substitutes)(digits)
