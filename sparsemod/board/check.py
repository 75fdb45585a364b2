"""Run a network on a board and compare every layer."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.board.boards import Board
from sparsemod.board.firmware import Firmware, GoldenLayer, firmware
from sparsemod.board.report import BoardReport, Difference, LayerCheck
from sparsemod.board.session import Compared, Session
from sparsemod.errors import BoardError
from sparsemod.quantization import IntegerNetwork


def check_board(
    network: IntegerNetwork,
    board: Board,
    *,
    name: str = "network",
    inputs: Mapping[str, NDArray[Any]] | None = None,
    samples: int = 1,
    kernels: Mapping[str, str] | None = None,
) -> BoardReport:
    """Run a network on a board; compare each layer's output with the integer network's, and read its time.

    `inputs`, `samples`, `kernels`: see `firmware`. Raises BoardError, Unsupported, InvalidInput, ToolsMissing, DoesNotFit.
    """
    made = firmware(
        network, inputs, core=board.core, samples=samples, most_golden=board.most_golden, kernels=kernels
    )
    return run_firmware(made, board, name)


def run_firmware(made: Firmware, board: Board, name: str) -> BoardReport:
    """Run a firmware on a board, see `check_board`."""
    with board.run(made) as (session, identity):
        found = [session.compare(sample) for sample in range(made.samples)]
        counted = board.time(identity)
        ticks = session.ticks(0)
        if {len(ticks), *map(len, found)} != {len(made.layers)}:
            raise BoardError(
                f"{board.title}: the board answered for {len(ticks)} of {len(made.layers)} layers"
            )
        layers = tuple(
            LayerCheck(
                layer.name,
                layer.title,
                layer.size,
                *_differences(session, made, layer, index, [each[index] for each in found]),
                float(round(ticks[index] / counted.per_unit)),
            )
            for index, layer in enumerate(made.layers)
        )
    golden = (
        "golden vectors in flash" if made.vectors else "checksums in flash: the golden vectors do not fit"
    )
    return BoardReport(
        name, board.title, board.core, layers, made.samples, counted.unit, counted.provenance, counted.hertz, golden
    )  # fmt: skip


def _differences(
    session: Session, made: Firmware, layer: GoldenLayer, index: int, found: list[Compared]
) -> tuple[int, Difference | None]:
    """Return the number of elements that differ over all samples, and the first.

    A firmware with only checksums sends the output, which is compared here."""
    total, first = 0, None
    for sample, one in enumerate(found):
        if not one.differing:
            continue
        differing, element, expected, value = one.differing, one.first, one.expected, one.found
        if not made.vectors:
            bytes_, golden = session.output(sample, index), layer.golden[sample]
            places = np.flatnonzero(bytes_ != golden)
            if not len(places):
                raise BoardError(
                    f"the board's output of layer {layer.name!r} changes from run to run: memory may be overwritten"
                )
            differing, element = len(places), int(places[0])
            expected, value = int(golden[element]), int(bytes_[element])
        total += differing
        first = first or Difference(sample, element, layer.place(element), expected, value)
    return total, first
