"""Generated C against the interpreter: equal bytes on random networks, families' modules and a whole test set."""

import gzip

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from support_data import real_mnist
from support_export_c import Drawn
from support_operator_networks import DrawnOperators
from support_programs import needs_compiler
from support_pruning import MODULES, seeded
from support_quantization import slow_run
from torch import nn

from sparsemod.errors import SparsemodError
from sparsemod.export.c import generate, host_run
from sparsemod.export.c.encoding import smallest
from sparsemod.export.c.host import FLAGS, host_run_all
from sparsemod.quantization import IntegerNetwork, quantize
from sparsemod.quantization.layers import LAYERS, Flatten
from sparsemod.quantization.tensor import TensorInfo

pytestmark = needs_compiler
QUICK = tuple("-O1" if flag == "-O2" else flag for flag in FLAGS)
SANITIZED = (
    *(flag for flag in FLAGS if flag != "-O2"), "-O1", "-g", "-fsanitize=undefined,address", "-fno-sanitize-recover=all",
)  # fmt: skip


def compare(drawn: list[Drawn], flags: tuple[str, ...] = QUICK) -> None:
    found = host_run_all([(d.network, d.images) for d in drawn], flags=flags)
    for case, outputs in zip(drawn, found, strict=True):
        expected = case.network.run(case.images)
        assert np.array_equal(outputs, expected), [layer.name for layer in case.layers]


batches = st.lists(st.integers(0, 2**32 - 1), min_size=25, max_size=25, unique=True)
unhurried = settings(
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)


@settings(unhurried, max_examples=8)
@given(batches)
def test_random_networks_give_the_interpreters_bytes(seeds: list[int]) -> None:
    compare([Drawn(seed) for seed in seeds])


@settings(unhurried, max_examples=2)
@given(batches)
def test_random_networks_of_sequences_give_the_interpreters_bytes(seeds: list[int]) -> None:
    drawn = [Drawn(seed, sequence=True) for seed in seeds]
    compare(drawn)
    for case in drawn[::5]:
        assert np.array_equal(slow_run(case.network, case.images), case.network.run(case.images))


@settings(unhurried, max_examples=1)
@given(batches)
def test_random_networks_under_sanitizers(seeds: list[int]) -> None:
    compare([Drawn(seed) for seed in seeds], SANITIZED)


def test_the_random_networks_hold_every_operator_and_encoding() -> None:
    drawn = [Drawn(seed, sequence=seed % 4 == 0) for seed in range(120)]
    further = [DrawnOperators(seed).network for seed in range(60)]
    held = {
        layer.kind
        for layers in (*(d.layers for d in drawn), *(n.layers for n in further))
        for layer in layers
    }
    recurrent = {"gru", "lstm", "last_step", "mean_steps"}  # see test_recurrent_exact
    signals = {"band_energies", "window_statistics"}  # see test_signals_features
    assert held | recurrent | signals == set(LAYERS.names())
    projects = [
        generate(network, encodings=smallest(network)) for network in (*(d.network for d in drawn), *further)
    ]
    assert {e.encoding for p in projects for e in p.layers} == {"", "dense", "mask", "gaps"}
    kernels = {kernel for p in projects for e in p.layers for kernel in e.kernels}
    assert kernels == {
        "nn_add", "nn_apply", "nn_apply_gaps", "nn_apply_mask", "nn_avg_pool", "nn_clamp", "nn_conv", "nn_conv_1x1",
        "nn_copy_part", "nn_depthwise", "nn_flatten", "nn_linear", "nn_max_pool", "nn_mean", "nn_rescale_part", "nn_combine",
        "nn_interpolate", "nn_move", "nn_multiply", "nn_normalize", "nn_prelu", "nn_softmax", "nn_table", "nn_take",
        "nn_group_norm", "nn_log_softmax", "nn_matmul",
    }  # fmt: skip


def test_modules_of_every_shape() -> None:
    cases = []
    for kind in MODULES:
        network = quantize(seeded(kind), torch.randn(16, *kind.shape))
        cases.append((network, network.quantize_input(torch.randn(20, *kind.shape))))
    for (network, images), outputs in zip(cases, host_run_all(cases), strict=True):
        assert np.array_equal(outputs, network.run(images))


def test_a_whole_data_set_from_floats() -> None:
    data = load_digits()
    x = torch.tensor(data.images[:, None] / 16 - 0.3, dtype=torch.float32)
    torch.manual_seed(1)
    module = nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(12, 12, 3, padding=1, groups=12),
        nn.Conv2d(12, 24, 1), nn.ReLU6(), nn.Flatten(), nn.Linear(24 * 16, 10),
    ).eval()  # fmt: skip
    network = quantize(module, x[:256])
    outputs = host_run(network, x.numpy())
    assert len(outputs) == 1797
    assert np.array_equal(outputs, network.run(network.quantize_input(x)))
    assert np.array_equal(outputs.argmax(1), network.predict(x))


def test_samples_are_rounded_half_to_even_and_clamped() -> None:
    network = IntegerNetwork(
        "x", "y", {n: TensorInfo((9,), 0.5, 3) for n in "xy"}, (Flatten("same", ("x",), "y"),)
    )
    samples = np.array([[0.25, 0.75, -0.25, 1.25, 1e30, -1e30, 62.1, -65.4, 0.0]], np.float32)
    assert network.quantize_input(samples).tolist() == [[3, 5, 3, 5, 127, -128, 127, -128, 3]]
    assert np.array_equal(host_run(network, samples), network.quantize_input(samples))


def test_errors_of_wrong_images_and_a_missing_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = Drawn(1)
    for wrong in (drawn.images[:, ..., :0], drawn.images.astype(np.int16)):
        with pytest.raises(ValueError, match="images"):
            host_run(drawn.network, wrong)
    with pytest.raises(SparsemodError, match="compiler failed"):
        host_run(drawn.network, drawn.images, flags=("--no-such-flag",))
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SparsemodError, match="apt-get install gcc"):
        host_run(drawn.network, drawn.images)


def test_all_of_mnists_test_set() -> None:
    content = gzip.decompress((real_mnist() / "mnist" / "t10k-images-idx3-ubyte.gz").read_bytes())
    pixels = np.frombuffer(content, np.uint8, offset=16).reshape(-1, 1, 28, 28)
    data = torch.tensor(pixels / 255 - 0.13, dtype=torch.float32)
    torch.manual_seed(2)
    module = nn.Sequential(
        nn.Conv2d(1, 6, 5, stride=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU6(), nn.Flatten(), nn.Linear(128, 10)
    ).eval()  # fmt: skip
    network = quantize(module, data[:256])
    images = network.quantize_input(data)
    assert len(images) == 10_000
    assert np.array_equal(host_run(network, images), network.run(images))
