"""Check a network on a board: firmware with golden vectors, a serial line, the first layer and element that differ, and the time.

`check_board(network, board)` returns a `BoardReport`. A board is a `QemuBoard` (an emulated machine behind a pseudo-terminal) or a
`SerialBoard`. `write_project` writes the firmware's project for a real board. `calibrate_board` fits cycles per instruction.
"""

from sparsemod.board.boards import Board, QemuBoard, SerialBoard
from sparsemod.board.calibrate import calibrate_board
from sparsemod.board.check import check_board
from sparsemod.board.firmware import Firmware, firmware
from sparsemod.board.project import KINDS, write_project
from sparsemod.board.report import BoardReport, Difference, LayerCheck

__all__ = [
    "KINDS",
    "Board",
    "BoardReport",
    "Difference",
    "Firmware",
    "LayerCheck",
    "QemuBoard",
    "SerialBoard",
    "calibrate_board",
    "check_board",
    "firmware",
    "write_project",
]
