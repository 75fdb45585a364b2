"""Instruction sets: compiler, C library, QEMU program and the counter from which the harness reads executed instructions."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Counter:
    """A counter that the harness reads at each mark as (value, wraps before the read, wraps after it).

    `bits` of the value. `down`: whether it counts down. `handler`: instructions of its interrupt's handler, once per wrap. `shift`: QEMU's
    `-icount`, 2^shift ns of virtual time per instruction. `timer`: whether it counts the machine's clock, else instructions.
    """

    bits: int
    down: bool
    handler: int
    shift: int
    timer: bool

    @property
    def wrap(self) -> int:
        """Ticks from one wrap to the next."""
        return 1 << self.bits

    def per_instruction(self, clock: int) -> float:
        """Return the ticks of one instruction; `clock` in Hz."""
        return clock * 2.0**self.shift * 1e-9 if self.timer else 1.0

    def time(self, value: int, before: int, after: int) -> tuple[int, int]:
        """Return (ticks since the start, wraps) of a mark.

        If the counter wrapped between the two reads of the wraps, a value of a fresh counter was read after the wrap."""
        fresh = value > self.wrap // 2 if self.down else value < self.wrap // 2
        wraps = after if fresh else before
        return wraps * self.wrap + (-value if self.down else value), wraps


@dataclass(frozen=True)
class Architecture:
    """An instruction set of emulated cores.

    `prefix` of the GNU tools. `qemu`: program. `packages`: program or library -> Debian package. `probe`: a file that the compiler finds
    when the C library `library` is installed. `flags` for every file. `harness`: the file that harness.c includes. `mark`: the instruction
    between layers, of four bytes. `clobbered`: the registers that it changes. `link_flags`: further arguments of the link.
    """

    name: str
    prefix: str
    qemu: str
    packages: tuple[tuple[str, str], ...]
    library: tuple[str, str]
    probe: str
    flags: tuple[str, ...]
    harness: str
    harness_flags: tuple[str, ...]
    mark: str
    clobbered: str
    counter: Counter
    link_flags: tuple[str, ...] = ()

    @property
    def gcc(self) -> str:
        """The compiler's program."""
        return f"{self.prefix}-gcc"

    @property
    def ar(self) -> str:
        """The archiver's program."""
        return f"{self.prefix}-ar"

    @property
    def mark_text(self) -> str:
        """The header that defines the mark between layers."""
        return (
            "/* Between layers: one instruction of four bytes that keeps every register but the return address. */\n"
            f'#define NN_LAYER_DONE(layer) __asm__ volatile("{self.mark}" ::: "{self.clobbered}", "memory")\n'
        )


ARM = Architecture(
    name="Cortex-M",
    prefix="arm-none-eabi",
    qemu="qemu-system-arm",
    packages=(
        ("qemu-system-arm", "qemu-system-arm"),
        ("arm-none-eabi-gcc", "gcc-arm-none-eabi"),
        ("arm-none-eabi-ar", "binutils-arm-none-eabi"),
    ),
    library=("newlib", "libnewlib-arm-none-eabi"),
    probe="libc.a",
    flags=("-mthumb",),
    harness="harness_arm.h",
    harness_flags=("-masm-syntax-unified",),
    mark="bl harness_mark",
    clobbered="lr",
    # A tick of SysTick is shorter than an instruction, so that none is lost.
    counter=Counter(bits=24, down=True, handler=5, shift=8, timer=True),
)

RISCV = Architecture(
    name="RISC-V",
    prefix="riscv64-unknown-elf",
    qemu="qemu-system-riscv32",
    packages=(
        ("qemu-system-riscv32", "qemu-system-misc"),
        ("riscv64-unknown-elf-gcc", "gcc-riscv64-unknown-elf"),
        ("riscv64-unknown-elf-ar", "binutils-riscv64-unknown-elf"),
    ),
    library=("picolibc", "picolibc-riscv64-unknown-elf"),
    probe="picolibc.specs",
    flags=("--specs=picolibc.specs", "-msmall-data-limit=0"),
    harness="harness_riscv.h",
    harness_flags=("-march=rv32im_zicsr",),  # no compressed instructions: a call takes four bytes
    mark=".option push\\n.option norvc\\njal ra, harness_mark\\n.option pop",
    clobbered="ra",
    counter=Counter(bits=32, down=False, handler=0, shift=0, timer=False),
)
