"""Model files of other tools through reading, int8, C and the emulated core: one row each.

    python benchmarks/models.py FILE... [--core m4]

Columns: layers; float models are quantized here with random ranges. For int8 files: the share of outputs that differ from the file's own
runtime and the largest difference in quanta, on random inputs. Whether the compiled C gives the interpreter's bytes; flash, static RAM
and instructions on the core. A refused file's row is its error.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from sparsemod.emulator import Emulator
from sparsemod.errors import SparsemodError
from sparsemod.export.c.host import host_run_named
from sparsemod.importing import Source, read_model
from sparsemod.pipeline.model_report import integer_network
from sparsemod.pipeline.model_runtime import compare_with_file

SAMPLES = 4


def row(path: Path, core: Emulator) -> str:
    """Return the table's row of a file. Raises SparsemodError when a stage refuses it."""
    source = Source.of(path)
    model = read_model(source)
    network, _ = integer_network(model)
    difference = "-"
    if model.network is not None:
        found = compare_with_file(source, model)
        difference = (
            found.partition(":")[0]
            if isinstance(found, str)
            else f"{100 * found.differing:.1f} %, {found.largest_difference}"
        )
    rng = np.random.default_rng(0)
    x = {
        name: rng.integers(-128, 128, (SAMPLES, *network.tensors[name].shape)).astype(np.int8)
        for name in network.inputs
    }
    wanted = network.run_named(x)
    same = all(np.array_equal(values, wanted[name]) for name, values in host_run_named(network, x).items())
    emulated = core.measure(network, {name: values[:1] for name, values in x.items()})
    exact = same and all(np.array_equal(values, wanted[name][:1]) for name, values in emulated.named.items())
    return (
        f"| {path.name} | {model.title.rpartition(', ')[2]} | {len(network.layers)} | {difference} | {'yes' if exact else 'NO'} "
        f"| {emulated.flash:,} B | {emulated.static_ram:,} B | {emulated.instructions / 1e6:,.2f} M |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--core", default="m4")
    arguments = parser.parse_args()
    core = Emulator(f"cortex-{arguments.core}")
    print(
        "| file | kind | layers | differs from its runtime: outputs, largest in quanta | C exact | flash | RAM | instructions |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    started, reached = time.perf_counter(), 0
    for path in arguments.files:
        try:
            print(row(path, core), flush=True)
            reached += 1
        except SparsemodError as error:
            print(f"| {path.name} | refused: {error} |", flush=True)
    print(f"\n{reached} of {len(arguments.files)} files in {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
