"""The emulated device: compile a network for a microcontroller core and run it in QEMU.

`Emulator(core).measure(network)` returns an `Emulation`; `available(core)` names missing programs.
"""

from sparsemod.emulator.emulator import Emulation, Emulator
from sparsemod.emulator.machines import MACHINES, Machine, machine
from sparsemod.emulator.program import Program
from sparsemod.emulator.toolchain import available, versions

__all__ = ["MACHINES", "Emulation", "Emulator", "Machine", "Program", "available", "machine", "versions"]
