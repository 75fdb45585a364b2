"""Weights on the way to the emulated core: as a binary file, and not at all where they cannot fit."""

import time
from dataclasses import replace

import numpy as np
import pytest
from support_export import Every, quantized
from torch import nn

from sparsemod.delivery.needs import need
from sparsemod.emulator import Emulator, available
from sparsemod.emulator.program import program
from sparsemod.errors import DoesNotFit
from sparsemod.export.c import generate

pytestmark = pytest.mark.skipif(available() is not None, reason=str(available()))


def dense(width: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 100))


def test_assembled_weights_are_those_of_the_c_text() -> None:
    network = quantized(Every)
    core = Emulator().machine.core
    made, by_assembler = generate(network, name="network", core=core), program(network, core)
    assert any(layer.special for layer in made.layers)
    files = {file: content for file, content in made.files.items() if file not in by_assembler.kernels}
    as_text = replace(
        by_assembler,
        network={
            file: text for file, text in files.items() if file.endswith((".c", ".h")) and file != "main.c"
        },
    )
    images = np.random.default_rng(0).integers(-128, 128, (3, *network.input_shape)).astype(np.int8)
    text = Emulator().run(as_text, network.tensors[network.input].to_memory(images).reshape(3, -1))
    assembled = Emulator().measure(network, images)
    assert (assembled.instructions, assembled.ram) == (text.instructions, text.ram)
    assert abs(assembled.flash - text.flash) <= 4 * 10, "arrays are aligned alike"
    assert np.array_equal(assembled.outputs.reshape(3, -1), text.outputs)
    assert np.array_equal(assembled.outputs, network.run(images))


def test_weights_that_cannot_fit_are_refused_before_anything_is_compiled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = quantized(lambda: dense(30_000))
    data = generate(network, core="cortex-m4").data_bytes
    monkeypatch.setattr("sparsemod.emulator.emulator.prepared", lambda *_: pytest.fail("compiled"))
    started = time.process_time()
    with pytest.raises(DoesNotFit, match="ROM is exceeded by") as caught:
        Emulator().measure(network)
    assert caught.value.over == data - Emulator().machine.rom_bytes and time.process_time() - started < 10
    found = need(network, "cortex-m4")
    assert (found.flash, found.measured) == (
        data,
        False,
    ) and "more than the emulated machine holds" in found.method
