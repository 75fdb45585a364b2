"""The streaming form: stepping through a sequence gives the bytes of the window form."""

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support_programs import needs_compiler
from support_recurrent import DrawnRecurrent
from torch import Tensor, nn

from sparsemod.errors import Unsupported
from sparsemod.export.c import generate
from sparsemod.export.c.host import FLAGS, compiler
from sparsemod.export.c.streaming import streaming
from sparsemod.quantization import IntegerNetwork, quantize
from sparsemod.quantization.raw_samples import InputNormalization

pytestmark = needs_compiler

MAIN = """
#include "model.h"
#include <stdio.h>
int main(void)
{
    static %(kind)s step[MODEL_STEP_SIZE];
    static %(word)s input[MODEL_STEP_SIZE];
    static int8_t output[MODEL_OUTPUT_SIZE];
    for (;;) {
        model_reset();
        for (int i = 0; i < %(steps)d; ++i) {
            if (fread(step, sizeof step, 1, stdin) != 1) {
                return 0;
            }
            %(read)s
            model_step(input, output);
            fwrite(output, sizeof output, 1, stdout);
        }
    }
}
"""
READ = {
    "int16_t": "for (int k = 0; k < MODEL_STEP_SIZE; ++k) { input[k] = step[k]; }",
    "int8_t": "for (int k = 0; k < MODEL_STEP_SIZE; ++k) { input[k] = step[k]; }",
    "float": "model_prepare(step, input);",
}


def stepped(network: IntegerNetwork, samples: np.ndarray, folder: Path, hop: int = 1) -> np.ndarray:
    """Return the outputs (N, steps, outputs) of the streaming form after each step of `hop` samples."""
    folder.mkdir(exist_ok=True)
    project = generate(network, name="model")
    assert project.parts.streaming is not None, project.parts.no_streaming
    for path, content in project.files.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(content)
    info, steps = network.tensors[network.input], network.steps // hop
    word = f"int{info.bits}_t"
    kind = word if samples.dtype == info.dtype else "float"
    main = MAIN % {"kind": kind, "word": word, "steps": steps, "read": READ[kind]}
    (folder / "main.c").write_text(main)
    flags = [*FLAGS, "-fsanitize=undefined,address", "-fno-sanitize-recover=all"]
    command = [compiler(), *flags, "-I.", "-o", "main", "main.c", *project.sources]
    subprocess.run(command, cwd=folder, check=True)
    given = info.to_memory(samples).tobytes()
    found = subprocess.run([str(folder / "main")], input=given, capture_output=True, check=True).stdout
    return np.frombuffer(found, np.int8).reshape(len(samples), steps, -1)


@pytest.mark.slow(every=3)
@pytest.mark.parametrize("seed", range(18))
def test_every_step_gives_the_window_of_the_steps_so_far(seed: int, tmp_path: Path) -> None:
    case = DrawnRecurrent(seed, streams=True)
    network, images = case.network, case.images
    found = stepped(network, images, tmp_path)
    assert np.array_equal(found[:, -1], network.run(images).reshape(len(images), -1))
    if network.uses_lengths:
        for length in range(1, network.steps + 1):
            window = network.run(images, np.full(len(images), length))
            assert np.array_equal(found[:, length - 1], window), length


class Last(nn.Module):
    """The last step of the input."""

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)[:, -1]


class Causal(nn.Module):
    """Convolutions alone: causal ones with a skip connection, and the last step."""

    def __init__(self) -> None:
        super().__init__()
        self.pad, self.first = nn.ConstantPad1d((2, 0), 0.0), nn.Conv1d(3, 6, 3)
        self.far, self.second = nn.ConstantPad1d((4, 0), 0.0), nn.Conv1d(6, 6, 3, dilation=2)
        self.third, self.last = nn.Conv1d(6, 5, 1), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(self.pad(x)).relu()
        y = self.third(torch.sigmoid(self.second(self.far(y)) + y))
        return self.last(y.transpose(1, 2)[:, -1])


def test_a_causal_convolutional_network(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = quantize(Causal().eval(), torch.randn(40, 3, 15))
    assert isinstance(network, IntegerNetwork)
    images = np.random.default_rng(0).integers(-128, 128, (5, 3, 15)).astype(np.int8)
    assert np.array_equal(stepped(network, images, tmp_path)[:, -1], network.run(images))


def test_raw_steps_are_normalized_as_whole_samples_are(tmp_path: Path) -> None:
    case = DrawnRecurrent(3, streams=True)
    features = case.images.shape[2]
    normalization = InputNormalization("test", tuple(range(features)), (2.0,) * features, "time-features")
    network = replace(case.network, normalization=normalization)
    raw = np.random.default_rng(0).normal(size=case.images.shape).astype(np.float32) * 4
    found = stepped(network, raw, tmp_path)
    assert np.array_equal(found[:, -1], network.run(network.quantize_samples(raw)))


def test_the_state_is_counted() -> None:
    torch.manual_seed(0)
    network = quantize(Causal().eval(), torch.randn(40, 3, 15))
    steps = generate(network).parts.streaming
    # histories of 3 steps of 3 channels and of 5 steps of 6, the windows of both, one step of four tensors: in whole words
    words = [3 * 3, 3 * 3, 6, 5 * 6, 3 * 6, 6, 6, 6, 5]
    assert steps is not None and steps.state == sum((size + 3) // 4 * 4 for size in words)
    files = generate(network).files
    assert f"#define NETWORK_STATE_SIZE {steps.state}" in files["network.h"]
    assert f"| {steps.state} bytes of RAM" in files["README.md"]


@pytest.mark.parametrize(
    ("module", "layout", "words"),
    [
        (nn.Sequential(nn.Conv1d(5, 3, 3, padding=1), nn.Flatten(), nn.Linear(27, 2)), None, "'conv' at layer '0'.*not causal"),
        (nn.Sequential(nn.Conv1d(5, 3, 1), nn.MaxPool1d(2), nn.Flatten()), None, "'max_pool' at layer '1'.*several steps"),
        (nn.Sequential(nn.Conv1d(5, 3, 1), nn.Flatten(), nn.Linear(27, 2)), None, "'flatten' at layer '1'"),
        (nn.Conv1d(5, 3, 1), None, "has a value for each step"),
        (Last(), None, "depends on no step but the last one"),
    ],
)  # fmt: skip
def test_networks_that_cannot_stream_say_why(module: nn.Module, layout: str | None, words: str) -> None:
    network = quantize(module.eval(), torch.randn(8, 5, 9), layout=layout)
    assert isinstance(network, IntegerNetwork)
    with pytest.raises(Unsupported, match=words):
        streaming(network, "m", {layer.name: f"m__{i}_x" for i, layer in enumerate(network.layers)}, {})
    project = generate(network)
    assert project.parts.streaming is None and "no streaming form" in project.files["README.md"]
    assert "_step" not in project.files["network.h"]


def test_networks_on_images_have_no_streaming_form() -> None:
    network = quantize(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten()).eval(), torch.randn(8, 1, 6, 6))
    project = generate(network)
    assert project.parts.streaming is None and not project.parts.no_streaming
    assert "treaming" not in project.files["README.md"]
