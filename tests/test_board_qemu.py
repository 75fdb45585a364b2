"""A network on QEMU as the board, over a pseudo-terminal: equal layers, a wrong kernel, other firmware, real projects."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from support_board import small_network, wrong_pooling
from support_emulator import needs_emulator

from sparsemod.board import QemuBoard, SerialBoard, calibrate_board, check_board, firmware, write_project
from sparsemod.board.boards import _pseudo_terminal
from sparsemod.board.image import build_image
from sparsemod.emulator import MACHINES, Emulator, machine
from sparsemod.emulator.toolchain import _missing
from sparsemod.errors import BoardError, Conflict, DoesNotFit, InvalidInput, ToolsMissing, UnknownName
from sparsemod.quantization.interpreter import trace
from sparsemod.targets import device

pytestmark = needs_emulator


def _equal(core: str) -> None:
    network, board = small_network(), QemuBoard(core, timeout=60)
    report = check_board(network, board, samples=3)
    assert report.equal and report.wrong is None
    assert report.verdict() == "every byte of 3 layers is equal to the integer network's on 3 samples"
    made = firmware(network, core=core, samples=3)
    inputs = made.inputs[:1].reshape(1, 8, 6, 2).transpose(0, 3, 1, 2)
    counted = Emulator(core).measure(network, np.ascontiguousarray(inputs))
    assert [layer.name for layer in report.layers] == list(counted.per_layer)
    # The calls of the hook replace the emulator's marks, so that a few instructions around a layer differ.
    for layer in report.layers:
        assert abs(layer.time - counted.per_layer[layer.name]) <= 30 + 0.02 * layer.time, layer
    assert report.unit == "instructions" and "QEMU counts instructions, not cycles" in report.provenance
    assert report.milliseconds is None and report.core == machine(core).core


@pytest.mark.parametrize("core", ["cortex-m3", "rv32imc"])
def test_every_layer_is_equal(core: str) -> None:
    _equal(core)


@pytest.mark.slow(every=3)
@pytest.mark.parametrize("core", [core for core in MACHINES if core not in ("cortex-m3", "rv32imc")])
def test_every_layer_is_equal_on_the_other_cores(core: str) -> None:
    _equal(core)


@pytest.mark.parametrize("most_golden", [None, 0])
def test_a_wrong_kernel_is_named(most_golden: int | None) -> None:
    network = small_network()
    made = firmware(network, core="rv32imc", samples=2, most_golden=most_golden, kernels=wrong_pooling())
    assert made.vectors == (most_golden is None)
    from sparsemod.board.check import run_firmware

    report = run_firmware(made, QemuBoard("rv32", timeout=60), "small")
    wrong = report.wrong
    assert wrong is not None and wrong.first is not None and wrong.name == made.layers[1].name
    golden = made.layers[1].golden[0]
    found = (int(golden[5]) + 3 + 128) % 256 - 128
    assert (wrong.first.sample, wrong.first.element) == (0, 5)
    assert (wrong.first.expected, wrong.first.found) == (int(golden[5]), found)
    assert wrong.differing == 2 and report.layers[0].differing == 0
    sentence = f"layer {wrong.name!r} is the first that differs: element 5 (channel 5, row 0, column 0) of sample 0: "
    assert report.verdict().startswith(
        sentence + f"expected {int(golden[5])}, found {found}; 2 of 144 elements differ"
    )


def test_golden_vectors_are_the_interpreters() -> None:
    network = small_network()
    made = firmware(network, samples=2)
    inputs = made.inputs.reshape(2, 8, 6, 2).transpose(0, 3, 1, 2)
    tensors = trace(network, np.ascontiguousarray(inputs))
    outputs = {layer.name: layer.output for layer in network.layers}
    assert len(made.layers) == 3
    for layer in made.layers:
        values = tensors[outputs[layer.name]]
        last = np.moveaxis(values, 1, -1) if values.ndim == 4 else values
        assert np.array_equal(layer.golden, last.reshape(2, -1)), layer.name
    with pytest.raises(InvalidInput, match="at least one sample"):
        firmware(network, {network.input: np.zeros((0, 2, 8, 6), np.int8)})


def test_the_firmware_of_another_network(tmp_path: Path) -> None:
    other = firmware(small_network(), core="rv32imc", samples=4)
    image = build_image(other, machine("rv32"), tmp_path)
    board = QemuBoard("rv32", image=image, timeout=60)
    with pytest.raises(
        BoardError, match=rf"another network or other samples \(digest {other.digest}, expected"
    ):
        check_board(small_network(), board)


def test_firmware_that_is_silent(tmp_path: Path) -> None:
    (tmp_path / "silent.c").write_text("")
    made = firmware(small_network(), core="rv32imc")
    texts = {"startup_riscv.c": "void board_reset(void) { for (;;) { } }\n"}
    from sparsemod.emulator.build import link, prepared

    image = link(
        machine("rv32"),
        prepared(machine("rv32"), made.program.kernels),
        texts,
        tmp_path,
        main=["-Wl,-e,board_reset"],
    )
    with pytest.raises(BoardError, match=r"no answer within 0\.5 s; flash"):
        check_board(small_network(), QemuBoard("rv32", image=image, timeout=0.5, start=0.0))


def test_too_large_for_the_machine(tmp_path: Path) -> None:
    many = firmware(small_network(), core="rv32imc", samples=12_000)
    with pytest.raises(DoesNotFit, match="ROM is exceeded"):
        build_image(many, machine("rv32"), tmp_path)
    assert not firmware(small_network(), samples=12_000, most_golden=QemuBoard("rv32").most_golden).vectors


def test_a_missing_toolchain_names_its_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    _missing.cache_clear()
    with pytest.raises(ToolsMissing, match=r"apt-get install .*gcc-arm-none-eabi"):
        QemuBoard("m4")
    with pytest.raises(
        ToolsMissing, match=r"apt-get install .*picolibc-riscv64-unknown-elf qemu-system-misc"
    ):
        QemuBoard("rv32")


def test_a_project_of_cmake_on_a_port(tmp_path: Path) -> None:
    """The same steps as for a real board: write the project, build it, load it, and ask over the port."""
    network, folder, found = small_network(), tmp_path / "project", machine("cortex-m3")
    made = firmware(network, core="cortex-m3")
    written = write_project(
        made, folder, "cmake", "cortex-m3", hertz=found.clock, flash=found.rom_bytes, ram=found.ram_bytes
    )
    assert {path.name for path in written} >= {"CMakeLists.txt", "port.c", "README.md"}
    (folder / "README.md").write_text("mine")
    assert write_project(made, folder, "cmake", "cortex-m3") == []  # the user's files stay
    assert (folder / "README.md").read_text() == "mine"
    places = f"_vectors_origin=0;_rom_origin=0x400;_rom_length={found.rom_bytes};_ram_origin={found.ram:#x};_ram_length={found.ram_bytes};_stack_length=8192"
    definitions = f"BOARD_UART={found.uart[1]:#x};BOARD_EMULATED"
    configure = [
        "cmake", "-B", "build", "-DCMAKE_C_COMPILER=arm-none-eabi-gcc", "-DCMAKE_SYSTEM_NAME=Generic", f"-DBOARD_MEMORY={places}",
        "-DBOARD_PORT=standalone/port_cmsdk.c", f"-DBOARD_DEFINITIONS={definitions}",
    ]  # fmt: skip
    done = subprocess.run(configure, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    build = "cmake --build build"
    done = subprocess.run(build.split(), cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "warning" not in done.stderr + done.stdout, done.stdout + done.stderr
    command = [
        "qemu-system-arm",
        "-M",
        found.board,
        "-display",
        "none",
        "-monitor",
        "none",
        "-icount",
        "shift=8,sleep=off",
    ]
    command += ["-serial", "pty", "-kernel", str(folder / "build" / "firmware.elf")]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        try:
            port = _pseudo_terminal(process)
            board = SerialBoard(port, "cortex-m3", timeout=60, project=folder, load=build)
            report = check_board(network, board)
            assert report.equal and report.unit == "cycles" and f"the board on {port}" in report.provenance
            assert report.milliseconds == pytest.approx(1000 * report.time / found.clock)
            with pytest.raises(BoardError, match=r"another network .*flash the project in .*project"):
                check_board(network, board, samples=2)  # QEMU still runs the earlier image
        finally:
            process.kill()
    with pytest.raises(BoardError, match=r"--load 'false' ended with status 1"):
        check_board(network, SerialBoard(port, "cortex-m3", project=folder, load="false"))
    (folder / "network" / "sources.cmake").unlink()
    with pytest.raises(Conflict, match="no folder of sparsemod"):
        write_project(made, folder, "cmake", "cortex-m3")
    with pytest.raises(UnknownName, match="known: cmake, zephyr"):
        write_project(made, tmp_path / "other", "keil", "cortex-m3")


@pytest.mark.slow(every=4)
def test_a_profile_is_calibrated_on_qemu() -> None:
    """QEMU counts instructions: every kernel has one per instruction, up to the calls of the hook between layers."""
    base = device("esp32-c3")
    seen: list[tuple[int, int]] = []
    made = calibrate_board(
        base, QemuBoard("rv32", timeout=60), networks=2, held_out=2, progress=lambda *done: seen.append(done)
    )
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    found = made.calibration
    assert found is not None and found.error < 0.02 and found.unit == "instructions" and found.held_out == 2
    assert "QEMU counts instructions, not cycles" in found.board
    assert made.cycles_per_instruction == pytest.approx(1.0, abs=0.02)
    assert made.cycles and all(0.8 < value < 1.2 for value in made.cycles.values())
    with pytest.raises(
        InvalidInput, match=r"--device = 'stm32f446': a device with the board's core \(rv32imc\)"
    ):
        calibrate_board(device("stm32f446"), QemuBoard("rv32"), networks=2, held_out=2)


_ZEPHYR = {
    "device.h": "struct device;\n#define DT_CHOSEN(node) node\n#define DEVICE_DT_GET(node) (&node)\nextern const struct device *const none, zephyr_console;\n",
    "drivers/uart.h": "int uart_poll_in(const struct device *dev, unsigned char *c);\nvoid uart_poll_out(const struct device *dev, unsigned char c);\n",
    "kernel.h": "#include <stdint.h>\nuint32_t k_cycle_get_32(void);\nint sys_clock_hw_cycles_per_sec(void);\n",
}


def test_a_project_of_zephyr_compiles_against_its_interface(tmp_path: Path) -> None:
    """Zephyr itself is not here: these headers declare the functions that its documentation states."""
    made = firmware(small_network(), core="cortex-m4")
    write_project(made, tmp_path, "zephyr", "cortex-m4")
    for name, text in _ZEPHYR.items():
        path = tmp_path / "stubs" / "zephyr" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            text.replace("*const none, zephyr_console", "zephyr_console").replace(
                "struct device;", "struct device { int x; };"
            )
        )
    network = tmp_path / "network"
    sources = ["port.c", *(str(path.relative_to(tmp_path)) for path in sorted(network.rglob("*.c")))]
    command = [
        "arm-none-eabi-gcc", "-mcpu=cortex-m4", "-std=gnu99", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-DBOARD_OWN_COUNTER",
        "-Istubs", "-Inetwork", "-include", "network/places.h", *sources,
    ]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "CONFIG_SERIAL=y" in (tmp_path / "prj.conf").read_text()
