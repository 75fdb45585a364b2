"""Measurements of the emulated device, and its failures."""

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from support_emulator import needs_emulator
from support_graph import LeNet
from torch import nn

from sparsemod.emulator import MACHINES, Emulator, Program, available, machine
from sparsemod.emulator.toolchain import _missing
from sparsemod.errors import DoesNotFit, EmulationError, InvalidInput, ToolsMissing, UnknownName
from sparsemod.quantization import IntegerNetwork, quantize

pytestmark = needs_emulator
MARK = "#ifndef NN_LAYER_DONE\n#define NN_LAYER_DONE(i) ((void)0)\n#endif\n"


def program(body: str, *, layers: int = 0, before: str = "", size: int = 16) -> Program:
    text = f"#include <stdint.h>\n{MARK}{before}\nvoid network_run(const int8_t *input, int8_t *output);\n"
    text += f"void network_run(const int8_t *input, int8_t *output)\n{{\n{body}\n}}\n"
    return Program({}, {"network.c": text}, tuple(f"l{i}" for i in range(layers)), size, size, 0)


def asm(code: str) -> str:
    return f'__asm__ volatile("{code}" ::: "memory");'


IMAGES = np.arange(32, dtype=np.int8).reshape(2, 16)
COPY = "for (int i = 0; i < 16; i++) output[i] = input[i];"


@pytest.fixture(scope="module")
def lenet() -> IntegerNetwork:
    torch.manual_seed(0)
    network = quantize(LeNet(), torch.randn(16, 1, 28, 28))
    assert isinstance(network, IntegerNetwork)
    return network


@pytest.mark.parametrize("core", MACHINES)
def test_counts_match_known_code(core: str) -> None:
    def counted(nops: int) -> tuple[int, Mapping[str, int]]:
        body = asm(f".rept {nops}\\n nop\\n .endr")
        found = Emulator(core).run(
            program(f"{body} NN_LAYER_DONE(0); {asm('nop')} NN_LAYER_DONE(1); {COPY}", layers=2), IMAGES
        )
        assert np.array_equal(found.outputs, IMAGES)
        return found.instructions, found.per_layer

    (few, layers), (many, others) = counted(5), counted(105)
    assert many - few == 100 == others["l0"] - layers["l0"]
    assert layers["l1"] == 1 == others["l1"]


def test_counts_survive_many_wraps_of_the_timer() -> None:
    loop = asm("ldr r0, =5000000\\n 1: subs r0, #1\\n bne 1b\\n").replace('"memory"', '"r0", "cc"')
    found = Emulator("m4").run(program(f"{loop} NN_LAYER_DONE(0);", layers=1), IMAGES)
    assert found.per_layer["l0"] in range(10_000_001, 10_000_006)
    assert found.instructions - found.per_layer["l0"] < 6


def test_thirty_runs_are_equal_and_marks_change_nothing(lenet: IntegerNetwork) -> None:
    small = quantize(nn.Sequential(nn.Flatten(), nn.Linear(16, 4)), torch.randn(8, 1, 4, 4))
    assert isinstance(small, IntegerNetwork)
    runs = [Emulator("m4").measure(small) for _ in range(30)]
    facts = {(r.instructions, tuple(r.per_layer.items()), r.flash, r.static_ram, r.stack) for r in runs}
    assert len(facts) == 1
    from sparsemod.emulator.program import program as source

    made, grey = source(lenet), np.zeros((1, 784), np.int8)
    with_marks, without = Emulator("m4").run(made, grey), Emulator("m4").run(made, grey, marks=False)
    assert with_marks.instructions == without.instructions
    assert abs(with_marks.flash - without.flash) <= 16  # alignment
    assert with_marks.instructions - sum(with_marks.per_layer.values()) < 20
    assert with_marks.stack == without.stack


def test_sizes_cover_the_network_only() -> None:
    text = "static const int8_t table[4000] = {1, 2, 3}; static volatile int8_t arena[600];"
    body = "for (int i = 0; i < 16; i++) { arena[i * 30] = input[i]; output[i] = (int8_t)(arena[i * 30] + table[input[i] & 63]); }"
    found = Emulator("m0").run(program(body, before=text), IMAGES)
    assert found.static_ram == 600 and 4_000 < found.flash < 4_200 and found.ram == 600 + found.stack


def test_stack_counts_touched_bytes() -> None:
    body = "volatile int8_t deep[{n}]; for (int i = 0; i < {n}; i++) deep[i] = input[i & 15]; output[0] = deep[3];"
    small, large = (Emulator("m3").run(program(body.format(n=n)), IMAGES).stack for n in (200, 1200))
    assert large - small == 1000


def test_too_large_names_region_and_bytes() -> None:
    huge = f"static const int8_t table[{5 * 1024**2}] = {{1}};"
    with pytest.raises(DoesNotFit, match=r"ROM is exceeded by 10\d{5} bytes") as error:
        Emulator("m4").run(program("output[0] = table[(uint8_t)input[0] * 9999];", before=huge), IMAGES)
    assert error.value.region == "ROM"
    arena = f"static int8_t arena[{5 * 1024**2}];"
    with pytest.raises(DoesNotFit, match="RAM is exceeded"):
        Emulator("m4").run(program("arena[input[0]] = 1; output[0] = arena[input[1]];", before=arena), IMAGES)


@pytest.mark.parametrize("core", ["m0", "m4", "m33"])
def test_crashes_are_reported(core: str) -> None:
    with pytest.raises(EmulationError, match=r"crashed on cortex-m.*pc"):
        Emulator(core).run(program("*(volatile int *)0xF0000000u = 1;" + asm("udf #1")), IMAGES)
    deep = "static int deep(int n) { volatile char x[2000]; x[n & 1023] = (char)n; return n ? deep(n - 1) + x[5] : x[3]; }"
    with pytest.raises(EmulationError, match="stack"):
        Emulator(core).run(program("output[0] = (int8_t)deep(100);", before=deep), IMAGES)


def test_crashes_on_riscv_are_reported() -> None:
    with pytest.raises(EmulationError, match=r"crashed on rv32imc.*cause 0000000[57] pc"):
        Emulator("rv32").run(program("*(volatile int *)0xF0000000u = 1;"), IMAGES)
    with pytest.raises(
        EmulationError, match=r"crashed on rv32imc.*cause 00000007"
    ):  # code and constants are not writable
        Emulator("rv32").run(program("*(volatile int *)(uintptr_t)&network_run = 1;"), IMAGES)
    with pytest.raises(
        EmulationError, match=r"crashed on rv32imc.*cause 00000002"
    ):  # no instruction of another extension
        Emulator("rv32").run(
            program(asm(".option push\\n .option arch, +f\\n flw fa0, 0(sp)\\n .option pop")), IMAGES
        )
    deep = "static int deep(int n) { volatile char x[2000]; x[n & 1023] = (char)n; return n ? deep(n - 1) + x[5] : x[3]; }"
    with pytest.raises(EmulationError, match="the stack is exceeded"):
        Emulator("rv32").run(program("output[0] = (int8_t)deep(100);", before=deep), IMAGES)


def test_endless_runs_are_ended() -> None:
    started = time.monotonic()
    with pytest.raises(EmulationError, match=r"did not end within 0\.5 s"):
        Emulator("m4", timeout=0.5).run(program("for (;;) { " + asm("nop") + " }"), IMAGES)
    assert time.monotonic() - started < 60


def test_c_that_does_not_compile() -> None:
    with pytest.raises(EmulationError, match=r"compiler: .*undeclared"):
        Emulator("m4").run(program("output[0] = nothing;"), IMAGES)


def test_inputs_are_checked(lenet: IntegerNetwork) -> None:
    with pytest.raises(InvalidInput, match="int8 of shape"):
        Emulator("m4").measure(lenet, np.zeros((1, 1, 5, 5), np.int8))
    with pytest.raises(UnknownName, match=r"known: cortex-m0, cortex-m0\+"):
        Emulator("m99")
    assert machine("cortex-m0+").core == "cortex-m0" and machine("m85").core == "cortex-m55"
    assert machine("rv32") == machine("RV32IMC") == MACHINES["rv32imc"]


def test_missing_programs_name_the_apt_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert available() is None
    monkeypatch.setenv("PATH", str(tmp_path))
    _missing.cache_clear()
    with pytest.raises(ToolsMissing, match=r"apt-get install .*gcc-arm-none-eabi .*qemu-system-arm"):
        Emulator("m4")
    with pytest.raises(ToolsMissing, match=r"apt-get install .*gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf qemu-system-misc"):  # fmt: skip
        Emulator("rv32")


def test_kernels_are_compiled_once(tmp_path: Path, lenet: IntegerNetwork) -> None:
    first = Emulator("m4", cache=tmp_path).measure(lenet)
    made = list((tmp_path / "kernels").iterdir())
    again = Emulator("m4", cache=tmp_path).measure(lenet)
    assert len(made) == 1 and made == list((tmp_path / "kernels").iterdir())
    assert first.instructions == again.instructions and first.flash == again.flash
