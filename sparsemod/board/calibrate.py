"""Fit the cycles per instruction of each kernel to networks on a board; write them into a device profile."""

import datetime
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau

from sparsemod.board.boards import Board
from sparsemod.board.check import run_firmware
from sparsemod.board.firmware import firmware
from sparsemod.board.report import BoardReport
from sparsemod.calibration.samples import integer_networks, sample
from sparsemod.emulator import Emulator
from sparsemod.errors import BoardError, InvalidInput
from sparsemod.export.c import generate
from sparsemod.targets import BoardCalibration, Device
from sparsemod.yaml_text import dump_yaml

NETWORKS, HELD_OUT, SEED = 12, 6, 1
MACS = (10_000, 300_000)
"""Lowest and highest number of multiply-adds of the networks."""


@dataclass(frozen=True)
class Timed:
    """A network on the board: layer -> kernel, instructions of the emulated core, cycles of the board."""

    kernels: Mapping[str, str]
    instructions: Mapping[str, float]
    cycles: Mapping[str, float]

    @property
    def total(self) -> float:
        """The cycles of the network."""
        return sum(self.cycles.values())


def calibrate_board(
    base: Device,
    board: Board,
    *,
    networks: int = NETWORKS,
    held_out: int = HELD_OUT,
    seed: int = SEED,
    command: str = "sparsemod calibrate-board",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Device:
    """Return `base` with the cycles per instruction of every kernel as measured on a board, and their error on held-out networks.

    Every network is checked before its time counts. Instructions are those of the emulated core. Raises BoardError when the board
    computes other bytes, InvalidInput when `base` has another core, ToolsMissing, EmulationError.
    """
    emulator = Emulator(board.core)
    if Emulator(base.model).machine != emulator.machine:
        raise InvalidInput("--device", base.name, f"a device with the board's core ({board.core})")
    found: list[Timed] = []
    about = ""
    unit = ""
    for one, report in _runs(base, board, emulator, ((networks, 2 * seed), (held_out, 2 * seed + 1))):
        found.append(one)
        about, unit = report.provenance, report.unit
        progress(len(found), networks + held_out)
    fitted, judged = found[:networks], found[networks:]
    mean, cycles = fit(fitted)
    errors = judge(judged, mean, cycles)
    single = judge(judged, mean, {})
    made = BoardCalibration(
        networks=networks, held_out=held_out, error=round(errors[0], 5), worst=round(errors[1], 5), single_error=round(single[0], 5),
        tau=round(errors[2], 4), board=about, unit="cycles" if unit == "ticks" else unit,
        date=datetime.datetime.now(datetime.UTC).date().isoformat(), command=command,
    )  # fmt: skip
    return base.model_copy(update={"cycles_per_instruction": mean, "cycles": cycles, "calibration": made})


def _runs(
    base: Device, board: Board, emulator: Emulator, draws: Sequence[tuple[int, int]]
) -> Iterator[tuple[Timed, BoardReport]]:
    core = emulator.machine.core
    for count, seed in draws:
        for number, (graph, network, images) in enumerate(integer_networks(count, seed, MACS)):
            inputs = network.quantize_input(images[:1])
            made = firmware(network, {network.input: inputs}, core=core, most_golden=board.most_golden)
            report = run_firmware(made, board, f"random network {number} of seed {seed}")
            if not report.equal:
                raise BoardError(f"{report.name} on {board.title}: {report.verdict()}")
            measured = emulator.measure(network, inputs)
            nonzeros = dict(network.layer_nonzeros())
            works = sample(core, graph, nonzeros, generate(network, core=core), measured).works
            yield timed(report, {w.layer: w.kernel for w in works}, measured.per_layer, base.clock), report


def timed(
    report: BoardReport, kernels: Mapping[str, str], instructions: Mapping[str, float], clock: int
) -> Timed:
    """Return a network's cycles from the report of a board; `clock` of the core in Hz. Raises BoardError for ticks of an unknown rate."""
    factor = 1.0
    if report.unit == "ticks":
        if not report.hertz:
            raise BoardError(f"{report.board}: the counter states no rate, so its ticks are no cycles")
        factor = clock / report.hertz
    return Timed(kernels, instructions, {layer.name: layer.time * factor for layer in report.layers})


def fit(networks: Sequence[Timed]) -> tuple[float, dict[str, float]]:
    """Return (cycles per instruction of all kernels together, kernel -> cycles per instruction), by least squares.

    Residuals are relative to the layer's cycles plus 2 % of its network's, so that small layers count less."""
    rows: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for network in networks:
        for layer, cycles in network.cycles.items():
            rows[network.kernels[layer]].append(
                (network.instructions[layer], cycles, cycles + 0.02 * network.total)
            )
    every = [(sum(n.instructions.values()), n.total, n.total) for n in networks]
    found = {kernel: _ratio(layers) for kernel, layers in sorted(rows.items())}
    return _ratio(every), {kernel: ratio for kernel, ratio in found.items() if ratio > 0}


def _ratio(rows: Sequence[tuple[float, float, float]]) -> float:
    """Return the factor of least squares of cycles from instructions, with residuals relative to the third number."""
    above = sum(count * cycles / scale**2 for count, cycles, scale in rows if scale)
    below = sum(count**2 / scale**2 for count, _, scale in rows if scale)
    return float(f"{above / below:.5g}") if below else 0.0


def judge(networks: Sequence[Timed], mean: float, cycles: Mapping[str, float]) -> tuple[float, float, float]:
    """Return (mean relative error, worst one, Kendall's tau) of whole networks. Raises InvalidInput for fewer than two."""
    if len(networks) < 2:
        raise InvalidInput("held_out", len(networks), "at least 2")
    predicted = np.array(
        [
            sum(count * cycles.get(n.kernels.get(layer, ""), mean) for layer, count in n.instructions.items())
            for n in networks
        ]
    )
    true = np.array([n.total for n in networks])
    relative = np.abs(predicted / true - 1)
    return float(relative.mean()), float(relative.max()), float(kendalltau(predicted, true).statistic)


def write(device: Device, path: Path) -> None:
    """Write a device profile to a YAML file."""
    title = "# A device with cycles per instruction as calibrated on a board; see docs/device.md. Made by the command below.\n"
    path.write_text(title + dump_yaml(device.model_dump(exclude_none=True), width=110), encoding="utf-8")
