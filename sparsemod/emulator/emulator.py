"""Compile, link, run and measure a network on an emulated core.

The measurements exclude start-up code, input and output:

- flash: code, weights and tables as linked, plus the required parts of the C library;
- static RAM: the arena and everything else that is linked into RAM;
- stack: bytes touched below the caller's frame during one inference, determined by painting the stack;
- instructions: executed in one inference, in total and per layer. QEMU's `-icount` makes the counts exact and
  reproducible; it counts instructions, not cycles;
- outputs: the bytes that the network computes.
"""

import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.emulator.build import MARK_BYTES, link, prepared
from sparsemod.emulator.dynamic_program import dynamic_program, packed_samples, unpacked_outputs
from sparsemod.emulator.elf import function_sizes, section_sizes
from sparsemod.emulator.machines import STACK, Machine, machine
from sparsemod.emulator.program import Program, flat_inputs, many, program
from sparsemod.emulator.toolchain import call, require, versions
from sparsemod.errors import DoesNotFit, EmulationError, InvalidInput
from sparsemod.files import scratch

if TYPE_CHECKING:
    from sparsemod.quantization import IntegerNetwork
    from sparsemod.quantization.dynamic_network import DynamicNetwork

Int8 = NDArray[np.int8]

_MAGIC = 0x53504D44
_MARKS = 1000


@dataclass(frozen=True)
class Emulation:
    """Measurements of one network on one core: bytes, instructions per inference, `outputs` (N, *output shape) of the first
    output, and those of all outputs as `named`.

    `per_layer` maps layers to instructions, in order of execution; the rest of `instructions` is the return
    from the network. `seconds` is the wall time of `compile` and `run` on this machine. `functions`: the bytes of each one's code.
    """

    core: str
    board: str
    flash: int
    static_ram: int
    stack: int
    arena: int
    instructions: int
    per_layer: Mapping[str, int]
    outputs: NDArray[Any]
    compiler: str
    qemu: str
    flags: tuple[str, ...]
    seconds: Mapping[str, float] = field(default_factory=dict)
    named: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    functions: Mapping[str, int] = field(default_factory=dict)

    @property
    def ram(self) -> int:
        """Static RAM and stack together."""
        return self.static_ram + self.stack

    @property
    def method(self) -> str:
        """How and where the network was measured, as one phrase."""
        return f"emulated ({self.qemu} {self.board}, {self.compiler} {' '.join(self.flags)}"


class Emulator:
    """Run networks on the machine for `core`.

    `cache`: folder of compiled kernels. `timeout`: limit of a run in seconds.

    Raises UnknownName for a core without a machine, ToolsMissing (with the apt command) when programs are not
    installed.
    """

    def __init__(self, core: str = "cortex-m4", *, cache: Path | None = None, timeout: float = 60.0) -> None:
        self.machine: Machine = machine(core)
        self.core, self.cache, self.timeout = core, cache, timeout
        require(core)

    def measure_dynamic(
        self, network: "DynamicNetwork", samples: Any = None, lengths: Any = None
    ) -> Emulation:
        """As `measure` for a dynamically quantized network; the `outputs` are float32.

        `samples`: at least one float sample (N, *input shape), normalized; default: a random one from the normal distribution, since
        float functions of cores without a floating-point unit are faster with zeros.
        """
        from sparsemod.quantization.network import sized

        if samples is None:
            samples = np.random.default_rng(0).standard_normal((1, *network.input_shape), np.float32)
        values = sized(samples, network.input_shape)
        if not len(values):
            raise InvalidInput("samples", values.shape, "at least one sample")
        emulation = self.run(dynamic_program(network), packed_samples(network, values, lengths))
        outputs = unpacked_outputs(network, emulation.outputs)
        return Emulation(**{**vars(emulation), "outputs": outputs, "named": {"output": outputs}})

    def measure(
        self,
        network: "IntegerNetwork",
        images: Int8 | Mapping[str, Int8] | None = None,
        lengths: Any = None,
        *,
        shared: bool = False,
    ) -> Emulation:
        """Compile, run and measure; `shared`: with the kernels of every core, not those for this one.

        `images`: at least one int8 input (N, *input shape), for several inputs by name; default: one input of zeros. `lengths` (N,): see
        IntegerNetwork.run.

        Stack and instructions are measured on the first image. Raises Unsupported for a layer without a C
        kernel, DoesNotFit (region and bytes over), EmulationError for a crash or a timeout.
        """
        from sparsemod.quantization.packing import unpacked

        if images is None:
            tensors = {name: network.tensors[name] for name in network.inputs}
            inputs = {name: np.zeros((1, *info.shape), info.dtype) for name, info in tensors.items()}
        else:
            inputs = dict(images) if isinstance(images, Mapping) else {network.input: images}
        for name, values in inputs.items():
            shape = network.tensors[name].shape if name in network.inputs else None
            kind = np.dtype(network.tensors[name].dtype) if name in network.inputs else np.dtype(np.int8)
            if values.dtype != kind or values.shape[1:] != shape or not len(values):
                wanted = ", ".join(map(str, network.tensors[network.input].shape if shape is None else shape))
                raise InvalidInput(
                    "images", (str(values.dtype), values.shape), f"{kind} of shape (N, {wanted})"
                )
        core = "" if shared else self.machine.core
        emulation = self.run(program(network, core), flat_inputs(network, inputs, lengths))
        named = unpacked(network, emulation.outputs)
        first = next(iter(named.values()))
        return Emulation(**{**vars(emulation), "outputs": first, "named": named})

    def costs(self, network: "IntegerNetwork | DynamicNetwork") -> Emulation:
        """As `measure` and `measure_dynamic`, on the default sample."""
        from sparsemod.quantization.dynamic_network import DynamicNetwork

        return self.measure_dynamic(network) if isinstance(network, DynamicNetwork) else self.measure(network)

    def outputs(
        self, cases: "Sequence[tuple[IntegerNetwork, Int8] | tuple[IntegerNetwork, Int8, Any]]"
    ) -> list[Int8]:
        """Run many (network, int8 images) in one start of QEMU; return the outputs (N, *output shape) of each.

        A case may also have the lengths (N,).

        Raises the same errors as `measure`.
        """
        named = self.outputs_named([(case[0], {case[0].input: case[1]}, *case[2:]) for case in cases])
        return [next(iter(each.values())) for each in named]

    def outputs_named(
        self,
        cases: "Sequence[tuple[IntegerNetwork, Mapping[str, Int8]] | tuple[IntegerNetwork, Mapping[str, Int8], Any]]",
    ) -> list[dict[str, Int8]]:
        """As `outputs`, with inputs and outputs by name."""
        from sparsemod.quantization.packing import unpacked

        if not cases:
            return []
        source, images, places = many(cases, self.machine.core)
        outputs = self.run(source, images, marks=False).outputs
        results = []
        for (network, inputs, *_), (start, size) in zip(cases, places, strict=True):
            count = len(next(iter(inputs.values())))
            results.append(unpacked(network, outputs[start : start + count, :size]))
        return results

    def run(self, program: Program, images: Int8, *, marks: bool = True) -> Emulation:
        """Compile, run and measure C sources; `images` and outputs are flat, (N, elements).

        `marks`: count instructions per layer.
        """
        if len(program.layers) > _MARKS:
            raise InvalidInput("layers", len(program.layers), f"at most {_MARKS}")
        for region, needed, available in (
            ("ROM", program.constants, self.machine.rom_bytes),
            ("RAM", program.arena, self.machine.ram_bytes - STACK),
        ):
            if needed > available:  # fails before compilation
                raise DoesNotFit(region, needed - available)
        started = time.perf_counter()
        ready = prepared(self.machine, program.kernels, self.cache)
        with scratch("sparsemod-emulator-") as folder:
            linked = link(self.machine, ready, program.network, folder, marks=marks)
            sizes, functions = section_sizes(linked), function_sizes(linked)
            compiled = time.perf_counter()
            job = struct.pack("<3I", len(images), program.inputs, program.outputs) + images.tobytes()
            (folder / "job.bin").write_bytes(job)
            self._start(folder)
            result = (folder / "result.bin").read_bytes()
        count = len(program.layers) if marks else 0
        stack, instructions, layers, outputs = _parse(result, self.machine, count, len(images), program)
        gcc, qemu = versions(self.machine.architecture)
        return Emulation(
            core=self.machine.core,
            board=self.machine.board,
            flash=_flash(sizes) - MARK_BYTES * count,
            static_ram=sum(sizes.get(name, 0) for name in (".data", ".bss", ".tbss")),
            stack=stack,
            arena=program.arena,
            instructions=instructions,
            per_layer=dict(zip(program.layers, layers, strict=False)),
            outputs=outputs,
            compiler=gcc,
            qemu=qemu,
            flags=(self.machine.flags[0], "-O2"),
            seconds={"compile": compiled - started, "run": time.perf_counter() - compiled},
            functions=functions,
        )

    def _start(self, folder: Path) -> None:
        """Run QEMU in `folder`. Raises EmulationError unless the harness finishes."""
        architecture = self.machine.architecture
        command = [architecture.qemu, "-M", self.machine.board, *self.machine.options]
        command += ["-display", "none", "-monitor", "none", "-serial", "none", "-parallel", "none"]
        command += [
            "-semihosting-config",
            "enable=on,target=native",
            "-icount",
            f"shift={architecture.counter.shift},sleep=off",
        ]
        done = call([*command, "-kernel", "network.elf"], folder, self.timeout)
        log = done.stdout + done.stderr
        if done.returncode == 0 and "DONE" in log:
            return
        place = f"{self.machine.core} ({self.machine.board})"
        if "NOROOM" in log:
            raise DoesNotFit("RAM", 1, f"{place}: no room for input and output")
        if "FAULT" in log:
            fault = log[log.index("FAULT") :].splitlines()[0]
            reserved = f" ({STACK} bytes)" if "stack" in fault else ""
            raise EmulationError(f"crashed on {place}: {fault}{reserved}")
        if "Lockup" in log:
            raise EmulationError(f"crashed on {place}: lock-up, probably a stack of more than {STACK} bytes")
        last_line = log.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        raise EmulationError(f"{place}: {last_line[0]}")


def _flash(sizes: Mapping[str, int]) -> int:
    return sum(sizes.get(name, 0) for name in (".text", ".ARM.exidx", ".data"))


def _parse(
    result: bytes, machine: Machine, layers: int, samples: int, program: Program
) -> tuple[int, int, list[int], Int8]:
    """Read (stack, instructions, instructions per layer, outputs) from the harness's result file."""
    if len(result) < 20 or struct.unpack_from("<I", result)[0] != _MAGIC:
        raise EmulationError("the emulated device wrote no result")
    _, stack, empty, between, words = struct.unpack_from("<5I", result)
    count, offset, size = words // 3, 20 + 4 * words, samples * program.outputs
    if count != layers + 2 or result[offset + size :] != struct.pack("<I", _MAGIC):
        raise EmulationError(f"the emulated device wrote an incomplete result ({len(result)} bytes)")
    counter = machine.architecture.counter
    per_instruction = counter.per_instruction(machine.clock)
    marks = [counter.time(*struct.unpack_from("<3I", result, 20 + 12 * index)) for index in range(count)]
    gaps = [
        round((later - earlier) / per_instruction) - counter.handler * (wraps - before)
        for (earlier, before), (later, wraps) in pairwise(marks)
    ]
    mark, call_cost = round(between / per_instruction), round(empty / per_instruction)
    gaps[0] -= call_cost - 1  # keep one return instruction, because the network returns too
    gaps[1:] = [gap - mark for gap in gaps[1:]]
    outputs = np.frombuffer(result, np.int8, size, offset).reshape(samples, program.outputs)
    return stack, sum(gaps), gaps[:-1] if layers else [], outputs.copy()
