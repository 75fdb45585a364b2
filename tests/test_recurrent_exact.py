"""Recurrent and one-dimensional networks: the interpreter, compiled C and emulated cores compute the same bytes."""

import numpy as np
import pytest
from support_emulator import needs_emulator
from support_programs import needs_compiler
from support_quantization import slow_run
from support_recurrent import DrawnRecurrent

from sparsemod.emulator import MACHINES, Emulator
from sparsemod.export.c.host import FLAGS, host_run_all

QUICK = tuple("-O1" if flag == "-O2" else flag for flag in FLAGS)
SANITIZED = (
    *(flag for flag in FLAGS if flag != "-O2"), "-O1", "-g", "-fsanitize=undefined,address", "-fno-sanitize-recover=all",
)  # fmt: skip
BATCH = 25


def drawn(start: int, count: int = BATCH) -> list[DrawnRecurrent]:
    return [DrawnRecurrent(seed) for seed in range(start, start + count)]


def same(cases: list[DrawnRecurrent], found: list[np.ndarray]) -> None:
    for case, outputs in zip(cases, found, strict=True):
        expected = case.network.run(case.images, case.steps)
        assert np.array_equal(outputs, expected), [layer.kind for layer in case.network.layers]


@needs_compiler
@pytest.mark.slow(every=6)
@pytest.mark.parametrize("start", range(0, 300, BATCH))
def test_three_hundred_random_networks_give_the_interpreters_bytes(start: int) -> None:
    cases = drawn(start)
    same(cases, host_run_all([case.case for case in cases], flags=QUICK))


@needs_compiler
@pytest.mark.slow
def test_random_networks_under_sanitizers() -> None:
    cases = drawn(2000, 12)
    same(cases, host_run_all([case.case for case in cases], flags=SANITIZED))


@needs_emulator
@pytest.mark.slow(every=6)
@pytest.mark.parametrize("start", range(0, 300, BATCH))
def test_the_same_networks_on_emulated_cores(start: int) -> None:
    """Each of the 300 networks runs on one core, and each core runs at least 25 of them."""
    cores = sorted(MACHINES)
    cases = drawn(start)
    same(cases, Emulator(cores[start // BATCH % len(cores)]).outputs([case.case for case in cases]))


def test_the_interpreter_computes_what_the_layers_define() -> None:
    for case in drawn(5000, 12):
        assert np.array_equal(
            slow_run(case.network, case.images[:2], case.steps), case.network.run(case.images, case.steps)[:2]
        )


def test_the_random_networks_hold_every_kind_with_steps() -> None:
    cases = drawn(0, 60)
    held = {layer.kind for case in cases for layer in case.network.layers}
    assert {"gru", "lstm", "last_step", "mean_steps", "conv", "max_pool", "avg_pool", "concat"} <= held
    layers = [layer for case in cases for layer in case.network.layers if layer.kind in ("gru", "lstm")]
    assert {(bool(layer.lengths), layer.reverse, layer.last) for layer in layers} == {
        (a, b, c) for a in (False, True) for b in (False, True) for c in (False, True)
    }
    assert {layer.lengths for layer in layers} >= {0, 1, 2}
    depths = {(case.module.layer.num_layers, case.module.layer.bidirectional) for case in cases}
    assert depths == {(depth, both) for depth in range(1, 6) for both in (False, True)}
