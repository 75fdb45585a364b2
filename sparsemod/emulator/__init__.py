"""The emulated device: a network compiled for a Cortex-M and run in QEMU.

`Emulator(core).measure(network)` -> `Emulation`; `available(core)` says what is missing.
"""

from sparsemod.emulator.emulator import Emulation, Emulator
from sparsemod.emulator.machines import MACHINES, Machine, machine
from sparsemod.emulator.program import Program
from sparsemod.emulator.toolchain import available, versions

__all__ = ["MACHINES", "Emulation", "Emulator", "Machine", "Program", "available", "machine", "versions"]
