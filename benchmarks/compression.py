"""Does pruning pay on the device? Pruned networks against dense small networks of a search, by measured cost.

    python benchmarks/compression.py [digits] [mnist] [cifar10] [--out FOLDER] [--middle | --full] [--report]

For each dataset a study prunes one trained network by twelve methods, so that 1/2 to 1/32 of its weights stay, and
retrains it. A search finds small dense networks of the same family. They train for as many epochs as a reference and
its retraining together. All networks are quantized to int8; flash, RAM and instructions are those of the linked
program on an emulated Cortex-M4. The error is that of the integer network on validation data.

FOLDER holds the runs, which an interrupted benchmark continues, and the results: compression.md with the tables and
compression.svg. --report only writes these from finished runs. Images come from $SPARSEMOD_DATA.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sparsemod.pipeline.local_run import LocalFolder, LocalRun
from sparsemod.records import TrialRecord, TrialState
from sparsemod.report.prunability import REFERENCE, series_of, sparsity
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.training.process import tune_process

METHODS = (
    "magnitude", "snip", "synflow", "random_weights", "filters", "pfp", "thinet", "fpgm", "random_filters", "svd",
    "alds", "tucker",
)  # fmt: skip
RATIOS = (2, 4, 8, 16, 32)
COSTS = ("flash", "ram", "instructions")
UNITS = {"flash": "flash, kB", "ram": "RAM, kB", "instructions": "instructions, thousands"}
TITLES = {"digits": "digits", "mnist": "MNIST", "cifar10": "CIFAR-10 (JPEG)"}
REFERENCE_NETWORK: dict[str, Any] = {
    "blocks": 1, "b1_layers": 3, "b1_pool": True, "head": "flatten", "dense": 1, "d1_width": 64, "dropout": 0.0,
    "b1_l1_type": "conv", "b1_l1_filters": 16, "b1_l1_kernel": 3,
    "b1_l2_type": "down", "b1_l2_filters": 32, "b1_l2_kernel": 3,
    "b1_l3_type": "down", "b1_l3_filters": 64, "b1_l3_kernel": 3,
}  # fmt: skip
FAMILY = {"max_blocks": 1, "max_layers": 3, "max_filters": 64, "max_dense": 1, "max_dense_width": 64}
TRAINING = {"learning_rate": 3e-3, "batch_size": 64}


@dataclass(frozen=True)
class Size:
    """Samples (None: all), epochs of references and of retraining, reference networks, dense networks of the search.

    `sobol`: how many of the dense networks are Sobol points; half of them if it is not given.
    """

    limit: int | None
    epochs: int
    retraining: int
    nets: int
    dense: int
    sobol: int | None = None


SHORT = {
    "digits": Size(None, 20, 8, 3, 40),
    "mnist": Size(3_000, 8, 4, 1, 56, sobol=12),
    "cifar10": Size(2_000, 6, 3, 1, 16),
}
MIDDLE = {
    "digits": SHORT["digits"],
    "mnist": Size(6_000, 10, 5, 3, 60, sobol=16),
    "cifar10": Size(2_500, 6, 3, 3, 60, sobol=16),
}
FULL = {
    "digits": Size(None, 60, 30, 5, 120),
    "mnist": Size(None, 30, 15, 5, 120),
    "cifar10": Size(None, 60, 30, 5, 120),
}


def specs(name: str, size: Size) -> dict[str, ExperimentSpec]:
    """Return the study and the search of a dataset."""
    common: dict[str, Any] = {
        "dataset": {"name": name} | ({} if size.limit is None else {"limit": size.limit}),
        "network": {"family": "cnn", "options": FAMILY},
        "training": TRAINING,
    }
    study = common | {
        "name": f"{name} pruned",
        "space": {key: {"type": "fixed", "value": value} for key, value in REFERENCE_NETWORK.items()},
        "pruning": {"method": "filters", "of": "weights", "schedule": {"name": "one-shot", "begin": 0.0}},
        "source": {
            "name": "study", "methods": METHODS, "nets": size.nets, "epochs": size.epochs,
            "retrain_epochs": size.retraining, "spacing": [{"type": "manual", "values": [1 / r for r in RATIOS]}],
        },
    }  # fmt: skip
    epochs, first = size.epochs + size.retraining, size.dense // 2 if size.sobol is None else size.sobol
    rounds = {
        "r1": {"trials": first, "epochs": epochs},
        "r2": {"trials": size.dense - first, "epochs": epochs},
        "r3": {"trials": 0, "epochs": epochs},
    }
    dense = common | {
        "name": f"{name} dense",
        "space": {"dropout": {"type": "fixed", "value": 0.0}},
        "pruning": {"method": "none"},
        "objectives": ["error", "flash", "latency"],
        "source": {"name": "search", "rounds": rounds},
    }
    return {"pruned": ExperimentSpec.parse(study), "dense": ExperimentSpec.parse(dense)}


def run(name: str, size: Size, folder: Path) -> None:
    """Run study and search of a dataset, or continue them."""
    for kind, spec in specs(name, size).items():
        began, cpu = time.perf_counter(), time.process_time()
        local = LocalRun(spec, folder / name / kind)
        local.run(lambda trial: print(".", end="", flush=True))
        seconds = time.perf_counter() - began
        print(
            f"\n{name} {kind}: {len(local.trials)} trials, {seconds:.0f} s, {time.process_time() - cpu:.0f} CPU s",
            flush=True,
        )


@dataclass(frozen=True)
class Found:
    """The networks of one dataset: the pruned ones by method and ratio, the references, the dense ones."""

    name: str
    references: Sequence[TrialRecord]
    pruned: Mapping[tuple[str, int], Sequence[TrialRecord]]
    dense: Sequence[TrialRecord]

    @classmethod
    def read(cls, name: str, folder: Path) -> "Found":
        """Return the networks in the runs of a dataset."""
        study = LocalFolder(folder / name / "pruned")
        rows = [trial.record for trial in study.trials]
        pruned: dict[tuple[str, int], list[TrialRecord]] = {}
        for one in series_of(rows, study.spec.name):
            for row in one.networks:
                pruned.setdefault((one.method, round(1 / (1 - sparsity(row)))), []).append(row)
        references = [r for r in rows if r.candidate.round == REFERENCE and r.state is TrialState.COMPLETED]
        trials = LocalFolder(folder / name / "dense").trials
        dense = [t.record for t in trials if t.record.state is TrialState.COMPLETED]
        return cls(name, references, pruned, dense)

    def beaten(self, row: TrialRecord, costs: Sequence[str]) -> bool:
        """Return whether a dense network has no larger error and none of the costs larger."""
        values = row.values()
        return any(all(one.values()[m] <= values[m] for m in ("error", *costs)) for one in self.dense)

    def dense_error(self, row: TrialRecord, cost: str) -> float | None:
        """Return the least error of a dense network that costs no more than `row`."""
        errors = [one.values()["error"] for one in self.dense if one.values()[cost] <= row.values()[cost]]
        return min(errors, default=None)


def mean(rows: Sequence[TrialRecord], metric: str) -> float:
    """Return the mean of a metric."""
    return float(np.mean([row.values()[metric] for row in rows]))


def tables(found: Found) -> str:
    """Return the tables of a dataset as Markdown."""
    reference = found.references
    lines = [
        f"### {TITLES[found.name]}",
        "",
        (
            f"Reference: error {100 * mean(reference, 'error'):.1f} %, flash {mean(reference, 'flash') / 1000:.1f} kB, "
            f"RAM {mean(reference, 'ram') / 1000:.1f} kB, {mean(reference, 'instructions') / 1e6:.2f} M instructions "
            f"({len(reference)} network{'s' if len(reference) > 1 else ''})."
        ),
        "",
        *grid(found, "Error in % · flash in kB", ("error", 100, 1), ("flash", 1e-3, 1)),
        *grid(found, "RAM in kB · instructions in thousands", ("ram", 1e-3, 2), ("instructions", 1e-3, 0)),
        "Against dense networks:",
        "",
        *against_dense(found),
        "",
    ]
    return "\n".join(lines)


Cell = tuple[str, float, int]
"""A metric, the factor of its unit in a table, and the digits shown."""


def grid(found: Found, title: str, *cells: Cell) -> list[str]:
    """Return means over networks by method and share of weights that stay, as a Markdown table."""
    lines = [
        f"{title}, by the share of the weights that stays:",
        "",
        "| method | " + " | ".join(f"1/{r}" for r in RATIOS) + " |",
        "| --- |" + " --- |" * len(RATIOS),
    ]
    for method in METHODS:
        texts = []
        for ratio in RATIOS:
            rows = found.pruned.get((method, ratio), ())
            told = [f"{factor * mean(rows, metric):.{digits}f}" for metric, factor, digits in cells if rows]
            texts.append(" · ".join(told) or "none")
        lines.append(f"| `{method}` | " + " | ".join(texts) + " |")
    return [*lines, ""]


def against_dense(found: Found) -> list[str]:
    """Return the comparison of each method with dense networks as a Markdown table."""
    lines = [
        "| method | beaten | difference at equal flash | at equal instructions |",
        "| --- | --- | --- | --- |",
    ]
    for method in METHODS:
        rows = [row for (name, _), part in found.pruned.items() if name == method for row in part]
        if not rows:
            continue
        cells = [f"{sum(found.beaten(row, COSTS) for row in rows)} of {len(rows)}"]
        for cost in ("flash", "instructions"):
            pairs = [(row.values()["error"], found.dense_error(row, cost)) for row in rows]
            differences = [100 * (error - dense) for error, dense in pairs if dense is not None]
            if not differences:
                cells.append("no dense network is that small")
                continue
            cells.append(
                f"{np.median(differences):+.1f} ({min(differences):+.1f} to {max(differences):+.1f})"
            )
        lines.append(f"| `{method}` | " + " | ".join(cells) + " |")
    return lines


def draw(all_found: Sequence[Found], path: Path) -> None:
    """Draw error against each cost for each dataset; dense networks are the black steps."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    from sparsemod.files import write_atomically
    from sparsemod.report.prunability import figure_bytes

    figure = Figure(figsize=(12.5, 3.7 * len(all_found)), layout="constrained")
    axes = figure.subplots(len(all_found), len(COSTS), squeeze=False)
    groups = {"-": METHODS[:4], "--": METHODS[4:9], ":": METHODS[9:]}
    for found, line in zip(all_found, axes, strict=True):
        for cost, axis in zip(COSTS, line, strict=True):
            for place, method in enumerate(METHODS):
                style = next(style for style, names in groups.items() if method in names)
                rows = [found.pruned[method, r] for r in RATIOS if (method, r) in found.pruned]
                axis.plot(
                    [1e-3 * mean(part, cost) for part in rows], [100 * mean(part, "error") for part in rows], style,
                    marker=".", linewidth=1, color=f"C{place % 10}", label=method,
                )  # fmt: skip
            best = sorted((1e-3 * one.values()[cost], one.values()["error"]) for one in found.dense)
            least = np.minimum.accumulate([error for _, error in best])
            axis.step(
                [c for c, _ in best], 100 * least, where="post", color="black", linewidth=2, label="dense"
            )
            axis.plot(
                [1e-3 * mean(found.references, cost)], [100 * mean(found.references, "error")], "k*", markersize=9,
                label="reference",
            )  # fmt: skip
            axis.set(xscale="log", yscale="log", xlabel=UNITS[cost], title=TITLES[found.name])
            for scale in (axis.xaxis, axis.yaxis):
                scale.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
                scale.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
                scale.set_minor_formatter(NullFormatter())
            axis.grid(alpha=0.3)
        line[0].set_ylabel("error of the integer network, %")
    figure.legend(*axes[0, -1].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    write_atomically(path, figure_bytes(figure, "svg"))


def main() -> None:
    """Run what is not finished, and write the tables and the figure."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("datasets", nargs="*", choices=[[], *SHORT], default=[])
    parser.add_argument("--out", type=Path, default=Path("runs/compression"))
    parser.add_argument(
        "--middle", action="store_const", dest="sizes", const=MIDDLE, default=SHORT,
        help="more samples of MNIST and CIFAR-10, three reference networks, 60 dense networks",
    )  # fmt: skip
    parser.add_argument(
        "--full", action="store_const", dest="sizes", const=FULL,
        help="all samples, more epochs, five reference networks",
    )  # fmt: skip
    parser.add_argument("--report", action="store_true", help="train nothing")
    options = parser.parse_args()
    names = options.datasets or list(SHORT)
    tune_process(1)
    for name in names:
        if not options.report:
            run(name, options.sizes[name], options.out)
    everything = [Found.read(name, options.out) for name in names]
    (options.out / "compression.md").write_text("\n".join(tables(found) for found in everything))
    draw(everything, options.out / "compression.svg")
    print(f"results: {options.out / 'compression.md'}, {options.out / 'compression.svg'}")


if __name__ == "__main__":
    main()
