"""The figures of docs/laboratory.md.

Substitutes at one budget and training rules: the validation error on digits over five seeds. Memory: predicted peaks of
one iteration beyond parameters and other existing tensors.

python benchmarks/laboratory.py rules
python benchmarks/laboratory.py substitutes
python benchmarks/laboratory.py memory
"""

import argparse

import torch
from torch import nn

from sparsemod.data import load
from sparsemod.errors import BuildError
from sparsemod.networks.zoo import network
from sparsemod.pipeline.training_memory import by_rule, predicted
from sparsemod.records import DataInfo
from sparsemod.spec.parts import DatasetSpec
from sparsemod.spec.training import TrainingSpec
from sparsemod.substitutes import SUBSTITUTES, create, substitute
from sparsemod.substitutes.acdc_layer import AcdcConv
from sparsemod.substitutes.budget import fit
from sparsemod.substitutes.costs import parameters_of
from sparsemod.training import Resident, train
from sparsemod.training.optimizers import OPTIMIZERS
from sparsemod.training.rules import RULES

SEEDS = 5
SHARE = 0.25


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


def memory() -> None:
    """Predict peaks by depth and by rule, and those of ACDC layers with and without the second computation."""
    with torch.device("meta"):
        networks = [(f"{depth} convolutions", convolutions(depth), (1, 16, 16)) for depth in (5, 10, 20, 40)]
        networks.append(("vgg-16-fc", network("vgg-16-fc").build((3, 32, 32), 10), (3, 32, 32)))
    for name, module, shape in networks:
        info = DataInfo(name="images", shape=shape, classes=10)
        settings = TrainingSpec(batch_size=100, optimizer=OPTIMIZERS.config("sgd", momentum=0.0))
        for rule, trace in by_rule(module, info, settings, ["bp", "mem-dfa"]).items():
            print(f"{name:<24} {rule:<24} {trace.beyond / 2**20:8.1f} MiB", flush=True)
    with torch.device("meta"):
        module = network("wrn-28-10").build((3, 32, 32), 10)
    substitute(module, "ACDC_64")
    info = DataInfo(name="images", shape=(3, 32, 32), classes=10)
    for samples in (128, 1):
        for again in (False, True):
            for part in module.modules():
                if isinstance(part, AcdcConv):
                    part.checkpointed = again
            peak = predicted(module, info, TrainingSpec(batch_size=samples)).beyond / 2**30
            print(f"ACDC_64, batch {samples:<9} {'computed again' if again else 'held':<24} {peak:8.2f} GiB")


def convolutions(depth: int) -> nn.Sequential:
    """Return a network of this many convolutions of 20 channels and a linear layer."""
    layers: list[nn.Module] = []
    for place in range(depth):
        layers += [nn.Conv2d(20 if place else 1, 20, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(320, 10))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("rules", "substitutes", "memory"))
    what = parser.parse_args().what
    torch.set_num_threads(1)
    if what == "memory":
        memory()
    else:
        digits = Resident.of(load(DatasetSpec(name="digits")))
        (rules if what == "rules" else substitutes)(digits)
