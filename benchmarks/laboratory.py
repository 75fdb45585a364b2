"""The figures of docs/laboratory.md.

Substitutes and training rules: the validation error on digits over five seeds. Memory: predicted peaks of
one iteration beyond parameters and other existing tensors.

python benchmarks/laboratory.py rules
python benchmarks/laboratory.py substitutes
python benchmarks/laboratory.py memory
python benchmarks/laboratory.py memory --plot docs/images/memory-depth.svg
python benchmarks/laboratory.py budgets

Budgets: grid experiments, whose errors, flash and latency are those of the int8 networks. Each substitute has three budgets
of parameters; at the middle one it also learns from a teacher, and without scaled weight decay.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from torch import nn

from sparsemod.data import load
from sparsemod.errors import BuildError
from sparsemod.networks.zoo import network
from sparsemod.pipeline.local_run import LocalRun
from sparsemod.pipeline.training_memory import by_rule, predicted
from sparsemod.records import DataInfo
from sparsemod.report.combinations import combinations
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.spec.parts import DatasetSpec
from sparsemod.spec.training import TrainingSpec
from sparsemod.substitutes import SUBSTITUTES, create, substitute
from sparsemod.substitutes.acdc_layer import AcdcConv
from sparsemod.substitutes.budget import Fit, fit
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


def budgets(limit: int, epochs: int, shares: tuple[float, ...] = (0.5, 0.25, 0.125)) -> None:
    """Compare every substitute in WRN-10-0.5 at shares of its parameters, as int8 networks on the device."""
    cost = parameters_of(network("wrn-10-0.5").build((1, 8, 8), 10))
    chosen: dict[float, dict[str, Fit]] = {}
    for share in shares:
        found = {
            name: fit(create(name, free=True), share * cost(create("Conv")), cost)
            for name in SUBSTITUTES.names()
            if SUBSTITUTES.get(name).setting is not None
        }
        chosen[share] = {
            str(one.substitute): one for one in found.values() if one.cost < cost(create("Conv"))
        }
    everything = list(dict.fromkeys(["none", "Sep", *(name for names in chosen.values() for name in names)]))
    middle = ["none", *chosen[sorted(shares)[len(shares) // 2]]]
    teacher = {"network": "wrn-16-1", "epochs": 2 * epochs, "alpha": 0.0, "beta": 1000.0}
    runs = (
        ("alone", everything, {}),
        ("with a teacher", middle, {"teacher": teacher}),
        ("decay not scaled", middle, {"scale_decay": "off"}),
    )
    met = {name for names in chosen.values() for name, one in names.items() if one.met}
    for title, names, training in runs:
        print(f"{title}: {len(names)} x {SEEDS} trainings of {epochs} epochs", flush=True)
        spec = {
            "name": title, "dataset": {"name": "digits", "limit": limit}, "measure": {"device": "model"},
            "network": {
                "family": "zoo", "options": {"networks": "wrn-10-0.5"}, "substitutes": ["none", *names[1:]],
            },
            "source": {
                "name": "grid", "values": {"substitute": names}, "repetitions": SEEDS, "epochs": epochs,
            },
            "objectives": ["error", "flash", "latency"],
            "training": {
                "preset": "wrn", "learning_rate": 0.05, "batch_size": 64, "augmentation": [], **training,
            },
        }  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            run = LocalRun(ExperimentSpec.parse(spec), Path(folder))
            run.run()
            for one in combinations([trial.record for trial in run.trials]):
                name = str(one.parameters["substitute"])
                values = {metric: one.metrics[metric] for metric in ("error", "flash", "latency", "macs")}
                error = values.pop("error")
                size = cost(create("Conv" if name == "none" else name))
                facts = "  ".join(f"{metric} {value.mean:,.3f}" for metric, value in values.items())
                print(
                    f"{name:<24} {error.mean:.4f} ± {error.deviation / one.completed**0.5:.4f}  {size:7,.0f} parameters  {facts} "
                    f"{'' if name in met or name in ('none', 'Sep') else 'nearest'}",
                    flush=True,
                )


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
    parser.add_argument("what", choices=("rules", "substitutes", "memory", "budgets"))
    parser.add_argument("--plot", type=Path, help="file for the plot of memory by depth, .svg")
    parser.add_argument("--limit", type=int, default=1797, help="samples of digits for budgets")
    parser.add_argument("--epochs", type=int, default=10, help="epochs of budgets")
    options = parser.parse_args()
    what = options.what
    torch.set_num_threads(1)
    if what == "memory" and options.plot is not None:
        depths(options.plot)
    elif what == "memory":
        memory()
    elif what == "budgets":
        budgets(options.limit, options.epochs)
    else:
        digits = Resident.of(load(DatasetSpec(name="digits")))
        (rules if what == "rules" else substitutes)(digits)
