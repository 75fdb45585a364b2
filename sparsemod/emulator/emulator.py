"""A network on an emulated Cortex-M: compiled, linked, run, measured.

What is measured is the network alone: start-up code, input and output are kept apart.

- flash: code, weights and tables as linked, with what they need of the C library;
- static RAM: the arena and whatever else is linked into RAM;
- stack: bytes touched below the caller's frame during one inference, found by painting;
- instructions: executed by one inference, in all and per layer. QEMU's `-icount` makes them exact and equal in every run; it counts
  instructions, not cycles;
- outputs: the bytes that the network computed.
"""

import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sparsemod.emulator.build import MARK_BYTES, link, prepared
from sparsemod.emulator.elf import section_sizes
from sparsemod.emulator.machines import STACK, Machine, machine
from sparsemod.emulator.program import Program, many, program
from sparsemod.emulator.toolchain import call, require, versions
from sparsemod.errors import DoesNotFit, EmulationError, InvalidInput
from sparsemod.files import scratch

if TYPE_CHECKING:
    from sparsemod.quantization import IntegerNetwork

Int8 = NDArray[np.int8]

_MAGIC = 0x53504D44
_SHIFT = 8  # 2^8 ns of virtual time per instruction: several ticks of SysTick, so that none is lost
_WRAP = 1 << 24
_HANDLER = 5  # instructions of the timer's interrupt
_MARKS = 1000


@dataclass(frozen=True)
class Emulation:
    """What one network needs on one core: bytes, instructions of one inference, outputs (N, *output shape).

    `per_layer` maps the layers to their instructions, in the order of execution; the rest of `instructions` is the return from the network.
    `seconds` is the wall time of `compile` and `run` on this machine.
    """

    core: str
    board: str
    flash: int
    static_ram: int
    stack: int
    arena: int
    instructions: int
    per_layer: Mapping[str, int]
    outputs: Int8
    compiler: str
    qemu: str
    flags: tuple[str, ...]
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def ram(self) -> int:
        """Static RAM and stack together."""
        return self.static_ram + self.stack

    @property
    def method(self) -> str:
        """How and where it was measured, in one sentence."""
        return f"emulated ({self.qemu} {self.board}, {self.compiler} {' '.join(self.flags)}"


class Emulator:
    """Runs networks on the machine for `core`; `cache` holds compiled kernels, `timeout` seconds end a run.

    Raises UnknownName for a core without a machine, ToolsMissing (with the apt command) where the programs are not installed.
    """

    def __init__(self, core: str = "cortex-m4", *, cache: Path | None = None, timeout: float = 60.0) -> None:
        self.machine: Machine = machine(core)
        self.core, self.cache, self.timeout = core, cache, timeout
        require(core)

    def measure(self, network: "IntegerNetwork", images: Int8 | None = None) -> Emulation:
        """Compile, run and measure. `images`: int8 inputs (N, *input shape), at least one; a grey one when not given.

        Stack and instructions are those of the first image. Raises Unsupported for a layer without a C kernel, DoesNotFit (region and
        bytes over), EmulationError for a crash or a run that does not end.
        """
        shape, source = network.input_shape, network.tensors[network.input]
        given = np.zeros((1, *shape), np.int8) if images is None else images
        if given.dtype != np.int8 or given.shape[1:] != shape or not len(given):
            raise InvalidInput(
                "images", (str(given.dtype), given.shape), f"int8 of shape (N, {', '.join(map(str, shape))})"
            )
        found = self.run(program(network), source.to_memory(given).reshape(len(given), -1))
        outputs = network.tensors[network.output].from_memory(found.outputs)
        return Emulation(**{**vars(found), "outputs": outputs})

    def outputs(self, cases: "Sequence[tuple[IntegerNetwork, Int8]]") -> list[Int8]:
        """What many networks compute, in one start: for each (network, int8 images) its outputs (N, *output shape).

        Raises as `measure` does.
        """
        if not cases:
            return []
        source, images, places = many(cases)
        found = self.run(source, images, marks=False).outputs
        results = []
        for (network, given), (start, size) in zip(cases, places, strict=True):
            outputs = found[start : start + len(given), :size]
            results.append(network.tensors[network.output].from_memory(outputs))
        return results

    def run(self, program: Program, images: Int8, *, marks: bool = True) -> Emulation:
        """`measure` for C sources; `images` and outputs are flat, (N, elements)."""
        if len(program.layers) > _MARKS:
            raise InvalidInput("layers", len(program.layers), f"at most {_MARKS}")
        for region, needed, held in (
            ("ROM", program.constants, self.machine.rom_bytes),
            ("RAM", program.arena, self.machine.ram_bytes - STACK),
        ):
            if needed > held:  # known without a compiler
                raise DoesNotFit(region, needed - held)
        started = time.perf_counter()
        ready = prepared(self.machine, program.kernels, self.cache)
        with scratch("sparsemod-emulator-") as folder:
            sizes = section_sizes(link(self.machine, ready, program.network, folder, marks=marks))
            compiled = time.perf_counter()
            job = struct.pack("<3I", len(images), program.inputs, program.outputs) + images.tobytes()
            (folder / "job.bin").write_bytes(job)
            self._start(folder)
            result = (folder / "result.bin").read_bytes()
        count = len(program.layers) if marks else 0
        stack, instructions, layers, outputs = _parse(result, self.machine, count, len(images), program)
        gcc, qemu = versions()
        return Emulation(
            core=self.machine.core,
            board=self.machine.board,
            flash=_flash(sizes) - MARK_BYTES * count,
            static_ram=sizes.get(".data", 0) + sizes.get(".bss", 0),
            stack=stack,
            arena=program.arena,
            instructions=instructions,
            per_layer=dict(zip(program.layers, layers, strict=False)),
            outputs=outputs,
            compiler=gcc,
            qemu=qemu,
            flags=(self.machine.flags[0], "-O2"),
            seconds={"compile": compiled - started, "run": time.perf_counter() - compiled},
        )

    def _start(self, folder: Path) -> None:
        """Run QEMU in `folder`. Raises EmulationError unless the harness comes to its end."""
        command = ["qemu-system-arm", "-M", self.machine.board, *self.machine.options]
        command += ["-display", "none", "-monitor", "none", "-serial", "none", "-parallel", "none"]
        command += ["-semihosting-config", "enable=on,target=native", "-icount", f"shift={_SHIFT},sleep=off"]
        done = call([*command, "-kernel", "network.elf"], folder, self.timeout)
        said = done.stdout + done.stderr
        if done.returncode == 0 and "DONE" in said:
            return
        place = f"{self.machine.core} ({self.machine.board})"
        if "NOROOM" in said:
            raise DoesNotFit("RAM", 1, f"{place}: no room for input and output")
        if "FAULT" in said:
            fault = said[said.index("FAULT") :].splitlines()[0]
            reserved = f" ({STACK} bytes)" if "stack" in fault else ""
            raise EmulationError(f"crashed on {place}: {fault}{reserved}")
        if "Lockup" in said:
            raise EmulationError(f"crashed on {place}: lock-up, as by a stack that exceeds {STACK} bytes")
        words = said.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        raise EmulationError(f"{place}: {words[0]}")


def _flash(sizes: Mapping[str, int]) -> int:
    return sum(sizes.get(name, 0) for name in (".text", ".ARM.exidx", ".data"))


def _parse(
    result: bytes, machine: Machine, layers: int, samples: int, program: Program
) -> tuple[int, int, list[int], Int8]:
    """(stack, instructions, instructions per layer, outputs) from the harness's result file."""
    if len(result) < 20 or struct.unpack_from("<I", result)[0] != _MAGIC:
        raise EmulationError("the emulated device left no result")
    _, stack, empty, between, words = struct.unpack_from("<5I", result)
    count, offset, size = words // 3, 20 + 4 * words, samples * program.outputs
    if count != layers + 2 or result[offset + size :] != struct.pack("<I", _MAGIC):
        raise EmulationError(f"the emulated device left an incomplete result ({len(result)} bytes)")
    per_instruction = machine.clock * 2.0**_SHIFT * 1e-9
    times, wraps = [], []
    for index in range(count):
        value, before, after = struct.unpack_from("<3I", result, 20 + 12 * index)
        # The timer wrapped between the two readings of the wraps: a high value was read after that.
        wrapped = after if value > _WRAP // 2 else before
        times.append(wrapped * _WRAP - value)
        wraps.append(wrapped)
    gaps = [
        round((times[i + 1] - times[i]) / per_instruction) - _HANDLER * (wraps[i + 1] - wraps[i])
        for i in range(count - 1)
    ]
    mark, call_cost = round(between / per_instruction), round(empty / per_instruction)
    gaps[0] -= call_cost - 1  # the empty function's own return stays, as the network returns too
    gaps[1:] = [gap - mark for gap in gaps[1:]]
    outputs = np.frombuffer(result, np.int8, size, offset).reshape(samples, program.outputs)
    return stack, sum(gaps), gaps[:-1] if layers else [], outputs.copy()
