"""The emulated cores compute the interpreter's bytes."""

import numpy as np
import pytest
import torch
from support_emulator import needs_emulator
from support_export_c import Drawn
from support_graph import LeNet

from sparsemod.data import load
from sparsemod.emulator import MACHINES, Emulator
from sparsemod.export.c.host import host_run
from sparsemod.quantization import quantize
from sparsemod.spec.parts import DatasetSpec

pytestmark = [pytest.mark.slow(every=4), needs_emulator]


def _equal_on(core: str, seeds: range) -> None:
    drawn = [Drawn(seed) for seed in seeds]
    found = Emulator(core).outputs([(d.network, d.images) for d in drawn])
    for seed, case, outputs in zip(seeds, drawn, found, strict=True):
        assert np.array_equal(outputs, case.network.run(case.images)), f"network {seed} on {core}"


@pytest.mark.parametrize("start", range(0, 200, 50))
def test_two_hundred_random_networks_on_m4(start: int) -> None:
    _equal_on("cortex-m4", range(start, start + 50))


@pytest.mark.parametrize("core", [core for core in MACHINES if core != "cortex-m4"])
def test_random_networks_on_every_core(core: str) -> None:
    _equal_on(core, range(1000, 1015))


def test_interpreter_host_and_every_core_on_one_network() -> None:
    torch.manual_seed(0)
    network = quantize(LeNet(), torch.randn(32, 1, 28, 28))
    images = network.quantize_input(np.random.default_rng(0).normal(size=(3, 1, 28, 28)).astype(np.float32))
    wanted = network.run(images)
    assert np.array_equal(host_run(network, images), wanted)
    for core in MACHINES:
        found = Emulator(core).measure(network, images)
        assert np.array_equal(found.outputs, wanted), core
        assert found.static_ram == (found.arena + 3) // 4 * 4 and 0 < found.stack < 1024


def test_the_whole_digits_test_set_on_m4() -> None:
    data = load(DatasetSpec(name="digits"))
    torch.manual_seed(1)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(8, 12, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(48, 10),
    )  # fmt: skip
    network = quantize(module, data.train.tensors()[0][:200])
    test = data.test_split()
    images = network.quantize_input(test.x)
    found = Emulator("cortex-m4").measure(network, images).outputs
    assert len(found) == len(test) >= 250
    assert np.array_equal(found, network.run(images))
