"""The serial line and the dialogue, with pseudo-terminals that answer as told; the fit of cycles per kernel."""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from support_board import pseudo_board, small_network
from support_graph import LeNet

from sparsemod.board import BoardReport, LayerCheck, SerialBoard, check_board, firmware
from sparsemod.board.calibrate import Timed, fit, judge, timed, write
from sparsemod.board.serial_line import SerialLine
from sparsemod.board.session import Session
from sparsemod.errors import BoardError, InvalidInput
from sparsemod.graph import capture, deployed
from sparsemod.measure import costs
from sparsemod.measure.predicted import predict
from sparsemod.targets import BoardCalibration, device, load_device, operator_model


def _line(text: str) -> bytes:
    check = 0
    for byte in text.encode():
        check ^= byte
    return f"{text}*{check:02x}\n".encode()


def _end(command: bytes) -> bytes:
    """Return the last line of the answer to a command: it repeats the command's number."""
    return _line(f"E {command.split()[-1].decode()}")


def _check(port: str, timeout: float = 60.0, baud: int = 115200) -> BoardReport:
    return check_board(small_network(), SerialBoard(port, "cortex-m3", timeout=timeout, baud=baud))


def test_a_port_that_does_not_exist() -> None:
    with pytest.raises(
        InvalidInput, match=r"--port = '/dev/ttyNONE': a serial port \(No such file or directory\)"
    ):
        _check("/dev/ttyNONE")


def test_a_file_that_is_no_port(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="a serial port"):
        _check(str(tmp_path / "file"))


def test_an_unknown_baud_rate() -> None:
    with (
        pseudo_board(lambda line: b"") as port,
        pytest.raises(InvalidInput, match=r"--baud = 12345: one of .*115200"),
    ):
        _check(port, baud=12345)


def test_a_board_that_is_silent() -> None:
    with (
        pseudo_board(lambda line: b"") as port,
        pytest.raises(BoardError, match=r"no answer within 0\.2 s; flash the firmware"),
    ):
        _check(port, timeout=0.2)


def test_other_firmware_that_talks() -> None:
    with (
        pseudo_board(lambda line: b"login: \n") as port,
        pytest.raises(BoardError, match=r"from other firmware \(b'login:"),
    ):
        _check(port)


def test_another_release_of_the_firmware() -> None:
    words = _line("I sparsemod 9 0123456789abcdef 3 1 dwt 64000000")
    with (
        pseudo_board(lambda line: words + _end(line)) as port,
        pytest.raises(BoardError, match="has version 9 of the dialogue"),
    ):
        _check(port)


@pytest.mark.parametrize("damaged", [0, 1, 3])
def test_damaged_lines_are_asked_for_again(damaged: int) -> None:
    """A board that answers with the golden vectors, and damages the first answers to each command."""
    made = firmware(small_network(), core="cortex-m3")
    seen: dict[bytes, int] = {}

    def answer(line: bytes) -> bytes:
        command = b" ".join(line.split()[:-1])
        seen[command] = seen.get(command, 0) + 1
        rows = {
            b"I 0 0": [f"I sparsemod 1 {made.digest} {len(made.layers)} 1 dwt 64000000"],
            b"C 0 0": [f"L {i} 0 0 0 0 {layer.checksum(0):08x}" for i, layer in enumerate(made.layers)],
            b"T 0 0": [*(f"T {i} {1000 * i + 7:08x}" for i in range(len(made.layers))), "O 00000007"],
        }[command]
        text = b"".join(map(_line, rows)) + _end(line)
        return text.replace(b"0", b"1", 1) if seen[command] <= damaged else text

    with pseudo_board(answer) as port:
        if damaged == 3:
            with pytest.raises(BoardError, match=r"are damaged or from other firmware.*lower --baud"):
                _check(port)
            return
        report = _check(port)
    assert report.equal and [layer.time for layer in report.layers] == [0.0, 1000.0, 2000.0]
    assert (report.unit, report.time, report.milliseconds) == ("cycles", 3000.0, 3000 / 64_000)
    assert set(seen.values()) == {damaged + 1}
    assert re.fullmatch(r"dwt counter of the board on \S+ \(115200 baud\) at 64 MHz", report.provenance)


def test_a_late_answer_to_an_earlier_command_is_left_out() -> None:
    """A board that starts loses the first command, and answers the second one twice."""
    made = firmware(small_network(), core="cortex-m3")
    commands: list[bytes] = []

    def answer(line: bytes) -> bytes:
        commands.append(line)
        if len(commands) == 1:
            return b""
        rows = [f"I sparsemod 1 {made.digest} {len(made.layers)} 1 dwt 64000000"]
        old = _line("I sparsemod 1 ffff 1 1 none 0") + _line("E 1")
        return old + b"".join(map(_line, rows)) + _end(line)

    with pseudo_board(answer) as port, SerialLine(port, 115200, 60.0) as line:
        found = Session(line).identify(made, "it", patience=60.0)
    assert found.digest == made.digest and commands == [b"I 0 0 1", b"I 0 0 2"]


TRUE = {"conv": 1.2, "linear": 2.5}


def _timed(seed: int, true: Mapping[str, float] = TRUE) -> Timed:
    rng = np.random.default_rng(seed)
    instructions = {f"l{i}": float(rng.integers(10_000, 500_000)) for i in range(4)}
    kernels = {name: ("conv", "linear")[i % 2] for i, name in enumerate(instructions)}
    noise = rng.normal(1.0, 0.002, 4)
    cycles = {n: c * true[kernels[n]] * noise[i] for i, (n, c) in enumerate(instructions.items())}
    return Timed(kernels, instructions, cycles)


def test_the_fit_finds_the_cycles_of_every_kernel() -> None:
    mean, cycles = fit([_timed(seed) for seed in range(8)])
    assert cycles == pytest.approx(TRUE, rel=0.005) and 1.2 < mean < 2.5
    judged = [_timed(seed) for seed in range(100, 110)]
    error, worst, tau = judge(judged, mean, cycles)
    single = judge(judged, mean, {})
    assert error <= worst < 0.01 < single[0] and tau > 0.95
    with pytest.raises(InvalidInput, match="held_out = 1"):
        judge(judged[:1], mean, cycles)


def test_ticks_of_another_clock_become_cycles() -> None:
    layer = LayerCheck("l", "conv", 4, 0, None, 500.0)
    report = BoardReport("n", "b", "cortex-m4", (layer,), 1, "ticks", "zephyr", 32_000.0, "vectors")
    assert timed(report, {"l": "conv"}, {"l": 9.0}, 64_000_000).cycles == {"l": 1_000_000.0}
    unknown = BoardReport("n", "b", "cortex-m4", (layer,), 1, "ticks", "zephyr", 0.0, "vectors")
    with pytest.raises(BoardError, match="states no rate"):
        timed(unknown, {"l": "conv"}, {"l": 9.0}, 64_000_000)


def test_a_calibrated_profile_is_read_back_and_used(tmp_path: Path) -> None:
    base = device("stm32f446")
    found = BoardCalibration(
        networks=8, held_out=4, error=0.012, worst=0.03, single_error=0.09, tau=0.99, board="dwt counter of a board", unit="cycles",
        date="2026-11-29", command="sparsemod calibrate-board",
    )  # fmt: skip
    change = {"name": "mine", "cycles_per_instruction": 2.0, "cycles": {"conv": 1.0}, "calibration": found}
    made = base.model_copy(update=change)
    write(made, tmp_path / "mine.yaml")
    assert load_device(tmp_path / "mine.yaml") == made
    assert "by kernel, calibrated in cycles on dwt counter of a board, mean error 1.2%" in made.cycles_method
    layers, kernels = {"a": 100.0, "b": 300.0}, {"a": "conv", "b": "linear"}
    assert made.weighted(layers, kernels) == 350.0 and base.weighted(layers, kernels) == 400.0
    assert made.milliseconds(350.0) == pytest.approx(1000 * 700 / made.clock)


def test_calibrated_cycles_decide_the_predicted_latency() -> None:
    graph = deployed(capture(LeNet().eval(), (1, 28, 28)))
    base = device("rp2040")
    plain = costs(graph, base)["latency"]
    predicted = predict(graph, operator_model(base.model))
    kernels = {work.layer: work.on(operator_model(base.model)).kernel for work in predicted.works}
    chosen = next(kernel for kernel in kernels.values() if "linear" in kernel)
    made = base.model_copy(update={"cycles": {chosen: 10 * base.cycles_per_instruction}})
    found = costs(graph, made)["latency"]
    linear = sum(predicted.per_layer[layer] for layer, kernel in kernels.items() if kernel == chosen)
    assert found.value == pytest.approx(plain.value + 9 * base.milliseconds(linear), rel=1e-6)
    assert found.detail["kernels"] == kernels and "kernels" not in plain.detail
