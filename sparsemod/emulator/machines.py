"""The emulated machines, one per core: QEMU's board, compiler flags and memory layout."""

from dataclasses import dataclass

from sparsemod.emulator.architectures import ARM, RISCV, Architecture
from sparsemod.errors import UnknownName

STACK = 32 * 1024  # reserved bytes; the emulator measures the real use of a network


@dataclass(frozen=True)
class Machine:
    """A QEMU board.

    `core`: name in device profiles. `board`: argument of `-M`. `flags`: compiler flags. `clock`: SysTick
    clock in Hz. `vectors`: address of the vector table, or of the first instruction, after a reset. `rom`, `ram`: addresses; `rom_bytes`,
    `ram_bytes`: sizes. `uart`: kind and address of the serial line (a file `port_KIND.c` of `sparsemod.board`). `options`: further
    arguments of QEMU.
    """

    core: str
    board: str
    flags: tuple[str, ...]
    clock: int
    vectors: int
    rom: int
    rom_bytes: int
    ram: int
    ram_bytes: int
    uart: tuple[str, int]
    options: tuple[str, ...] = ()
    architecture: Architecture = ARM


_MB = 1024**2

MACHINES: dict[str, Machine] = {
    machine.core: machine
    for machine in (
        # The real board has 256 KB flash and 16 KB RAM; QEMU allows more, so that networks for larger M0
        # chips fit.
        Machine(
            "cortex-m0", "microbit", ("-mcpu=cortex-m0", "-mfloat-abi=soft"), 16_000_000, 0, 0x400, 4 * _MB - 0x400, 0x2000_0000, 4 * _MB, ("nrf51", 0x4000_2000),
            ("-global", f"nrf51-soc.flash-size={4 * _MB}", "-global", f"nrf51-soc.sram-size={4 * _MB}"),
        ),
        Machine("cortex-m3", "mps2-an385", ("-mcpu=cortex-m3", "-mfloat-abi=soft"), 25_000_000, 0, 0x400, 4 * _MB - 0x400, 0x2000_0000, 4 * _MB, ("cmsdk", 0x4000_4000)),
        Machine("cortex-m4", "mps2-an386", ("-mcpu=cortex-m4", "-mfloat-abi=hard"), 25_000_000, 0, 0x400, 4 * _MB - 0x400, 0x2000_0000, 4 * _MB, ("cmsdk", 0x4000_4000)),
        Machine("cortex-m7", "mps2-an500", ("-mcpu=cortex-m7", "-mfloat-abi=hard"), 25_000_000, 0, 0x400, 4 * _MB - 0x400, 0x2000_0000, 4 * _MB, ("cmsdk", 0x4000_4000)),
        # QEMU 7.2 has no M23. The M33 executes every instruction of the M23, and the compiler writes no others.
        Machine("cortex-m23", "mps2-an505", ("-mcpu=cortex-m23", "-mfloat-abi=soft"), 20_000_000, 0x1000_0000, 0x1000_0400, 4 * _MB - 0x400, 0x3800_0000, 4 * _MB, ("cmsdk", 0x5020_0000)),
        Machine("cortex-m33", "mps2-an505", ("-mcpu=cortex-m33", "-mfloat-abi=hard"), 20_000_000, 0x1000_0000, 0x1000_0400, 4 * _MB - 0x400, 0x3800_0000, 4 * _MB, ("cmsdk", 0x5020_0000)),
        # The vectors must be in tightly coupled memory, which ends at 512 KB; everything else is in SRAM.
        Machine("cortex-m55", "mps3-an547", ("-mcpu=cortex-m55", "-mfloat-abi=hard"), 32_000_000, 0, 0x1100_0000, 2 * _MB, 0x3100_0000, 4 * _MB, ("cmsdk", 0x5930_3000)),
        # Without extensions that the core does not have, so that other instructions fault.
        Machine(
            "rv32imc", "virt", ("-march=rv32imc", "-mabi=ilp32"), 10_000_000, 0x8000_0000, 0x8000_0400, 4 * _MB - 0x400, 0x8040_0000, 4 * _MB,
            ("ns16550", 0x1000_0000), ("-cpu", "rv32,a=false,f=false,d=false", "-m", "16M", "-bios", "none"), RISCV,
        ),
    )
}  # fmt: skip

_SAME_INSTRUCTIONS = {
    "cortex-m0+": "cortex-m0",
    "cortex-m1": "cortex-m0",
    "cortex-m85": "cortex-m55",
    "rv32": "rv32imc",
}


def machine(core: str) -> Machine:
    """Return the machine for `core` (cortex-m4, or m4; rv32imc, or rv32).

    Cores with the same instruction set share a machine. Raises UnknownName.
    """
    name = core.lower()
    if name[:1] == "m":
        name = f"cortex-{name}"
    name = _SAME_INSTRUCTIONS.get(name, name)
    if name not in MACHINES:
        raise UnknownName("core", core, [*MACHINES, *_SAME_INSTRUCTIONS])
    return MACHINES[name]
