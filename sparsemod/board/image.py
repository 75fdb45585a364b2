"""Build the firmware for an emulated machine, as one ELF file without any other code."""

from importlib.resources import files
from pathlib import Path

from sparsemod.board.firmware import Firmware
from sparsemod.emulator.build import link, prepared
from sparsemod.emulator.machines import STACK, Machine
from sparsemod.errors import DoesNotFit


def build_image(firmware: Firmware, machine: Machine, folder: Path, cache: Path | None = None) -> Path:
    """Compile and link the firmware in `folder`; return the ELF file.

    Raises DoesNotFit with the region and the bytes over, EmulationError when the C code does not compile.
    """
    program = firmware.program
    for region, needed, available in (
        ("ROM", program.constants + firmware.golden_bytes, machine.rom_bytes),
        ("RAM", program.arena + program.inputs + program.outputs, machine.ram_bytes - STACK),
    ):
        if needed > available:
            raise DoesNotFit(region, needed - available, machine.board)
    kind, address = machine.uart
    start_up = machine.architecture.harness.replace("harness", "startup").replace(".h", ".c")
    own = files("sparsemod.board") / "c"
    port = {name: (own / name).read_text(encoding="utf-8") for name in (f"port_{kind}.c", start_up)}
    counted = machine.architecture.counter
    frequency = machine.clock if counted.timer else 0
    main = [
        "-include", "places.h", "-I.", f"-DBOARD_UART={address:#x}", "-DBOARD_EMULATED", f"-DBOARD_HERTZ={frequency}",
        "-Wl,-e,board_reset",
    ]  # fmt: skip
    ready = prepared(machine, program.kernels, cache)
    texts = {**program.network, **firmware.files(assembled=True), **port}
    return link(machine, ready, texts, folder, main=main)
