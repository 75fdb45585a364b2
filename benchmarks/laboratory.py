"""Substitutes at one budget and training rules, on digits: the validation error over five seeds.

python benchmarks/laboratory.py rules
python benchmarks/laboratory.py substitutes
"""

import argparse

import torch
from torch import nn

from sparsemod.data import load
from sparsemod.errors import BuildError
from sparsemod.networks.zoo import network
from sparsemod.spec.parts import DatasetSpec
from sparsemod.spec.training import TrainingSpec
from sparsemod.substitutes import SUBSTITUTES, create, substitute
from sparsemod.substitutes.budget import fit
from sparsemod.substitutes.costs import parameters_of
from sparsemod.training import Resident, train
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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("rules", "substitutes"))
    torch.set_num_threads(1)
    digits = Resident.of(load(DatasetSpec(name="digits")))
    (rules if parser.parse_args().what == "rules" else substitutes)(digits)
