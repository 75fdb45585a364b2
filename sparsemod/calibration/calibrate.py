"""Calibrate a core's operator model and store it as YAML."""

import datetime
from collections.abc import Callable
from pathlib import Path

from sparsemod.calibration.least_squares import errors, fit
from sparsemod.calibration.rows import NETWORKS as ROWS_NETWORKS
from sparsemod.calibration.rows import rows_samples, with_rows
from sparsemod.calibration.samples import samples
from sparsemod.emulator import machine, versions
from sparsemod.export.c.kernel_files import has_family, sources_on
from sparsemod.files import fingerprint
from sparsemod.targets import Calibration, OperatorModel
from sparsemod.yaml_text import dump_yaml

NETWORKS, HELD_OUT, SEED = 180, 60, 1


def calibrate(
    core: str,
    *,
    networks: int = NETWORKS,
    held_out: int = HELD_OUT,
    seed: int = SEED,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> OperatorModel:
    """Fit a core's model to random networks on the emulated core; compute its errors on networks of another seed.

    On a core with kernels of its own, the networks of the fit also run with the shared ones, which some layers keep. Calls `progress(measured networks, all networks)`. Raises UnknownName for a core without a machine,
    ToolsMissing, EmulationError.
    """
    name, measured = machine(core).core, []
    runs = [(networks, 2 * seed, False), (held_out, 2 * seed + 1, False)]
    runs += [(networks, 2 * seed, True)] if has_family(name) else []
    total = sum(count for count, _, _ in runs)
    for count, draws, shared in runs:
        for sample in samples(name, count, draws, shared=shared):
            measured.append(sample)
            progress(len(measured), total)
    fitted, judged = measured[:networks], measured[networks : networks + held_out]
    model = with_rows(
        fit(name, fitted + measured[networks + held_out :]), rows_samples(name, min(ROWS_NETWORKS, networks))
    )
    held_out_errors = errors(model, judged)
    compiler, qemu = versions(machine(name).architecture)
    calibration = Calibration(
        networks=networks,
        held_out=held_out,
        instructions=round(held_out_errors.instructions, 5),
        worst=round(held_out_errors.worst, 5),
        flash=round(held_out_errors.flash, 5),
        ram=round(held_out_errors.ram, 5),
        tau=round(held_out_errors.tau, 4),
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        compiler=f"{compiler} {machine(core).flags[0]} -O2",
        qemu=f"{qemu} {machine(core).board}",
        command=f"sparsemod calibrate --core {name} --networks {networks} --held-out {held_out} --seed {seed}",
        kernels=kernels_digest(name),
    )
    return model.model_copy(update={"calibration": calibration})


def kernels_digest(core: str) -> str:
    """Return a digest of the sources and templates of a core's kernels; a calibration is valid only for the same digest."""
    return fingerprint(repr(sorted(sources_on(core).items())))[:16]


def write(model: OperatorModel, path: Path) -> None:
    """Write a model to a YAML file."""
    title = f"# Instructions, code bytes and stack of the C kernels on {model.core}; see docs/device.md. Made by the command below.\n"
    path.write_text(title + dump_yaml(model.model_dump(), width=120), encoding="utf-8")
