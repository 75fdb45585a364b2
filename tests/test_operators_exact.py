"""Random networks of the further operators: interpreter, plain Python, compiled C and every emulated core give the same bytes."""

import numpy as np
import pytest
from support_emulator import needs_emulator
from support_operator_networks import DrawnOperators
from support_programs import needs_compiler
from support_quantization import slow_run

from sparsemod.emulator import MACHINES, Emulator
from sparsemod.export.c.host import host_run_all
from sparsemod.quantization import IntegerNetwork

pytestmark = pytest.mark.slow(every=6)


@pytest.mark.parametrize("start", range(0, 120, 40))
@needs_compiler
def test_random_networks_in_compiled_c(start: int) -> None:
    drawn = [DrawnOperators(seed) for seed in range(start, start + 40)]
    for seed, case, outputs in zip(
        range(start, start + 40), drawn, host_run_all([(d.network, d.images) for d in drawn]), strict=True
    ):
        assert np.array_equal(outputs, case.network.run(case.images)), f"network {seed}"


@pytest.mark.parametrize("seed", range(30))
def test_random_networks_in_plain_python(seed: int) -> None:
    drawn = DrawnOperators(seed)
    images = drawn.images[:1]
    assert np.array_equal(drawn.network.run(images), slow_run(drawn.network, images))
    again = IntegerNetwork.from_bytes(drawn.network.to_bytes())
    assert again.to_bytes() == drawn.network.to_bytes()
    assert np.array_equal(again.run(images), drawn.network.run(images))


@needs_emulator
@pytest.mark.parametrize("core", MACHINES)
def test_random_networks_on_every_core(core: str) -> None:
    seeds = range(500, 530) if core == "cortex-m4" else range(600, 608)
    drawn = [DrawnOperators(seed) for seed in seeds]
    found = Emulator(core).outputs([(d.network, d.images) for d in drawn])
    for seed, case, outputs in zip(seeds, drawn, found, strict=True):
        assert np.array_equal(outputs, case.network.run(case.images)), f"network {seed} on {core}"
