"""Features of signals: their float meaning, the error of the integer layers, and equal bytes in Python and C."""

import math

import numpy as np
import pytest
import torch
from support_programs import needs_compiler
from torch import Tensor, nn

from sparsemod.errors import InvalidInput, Unsupported
from sparsemod.export import export
from sparsemod.export.c import generate
from sparsemod.export.c.host import FLAGS, host_run, host_run_all
from sparsemod.graph import capture, deployed, run_float
from sparsemod.quantization import IntegerNetwork, quantize
from sparsemod.signals import tables
from sparsemod.signals.modules import BandEnergies, WindowStatistics

SAMPLES = 1300


def signals(channels: int) -> Tensor:
    """Tones of falling loudness in noise, down to almost silence."""
    generator = torch.Generator().manual_seed(0)
    t = torch.arange(SAMPLES) / 16000
    tones = [0.9 * 10 ** (-i / 6) * torch.sin(2 * math.pi * (150 + 350 * i) * t) for i in range(20)]
    mixed = torch.stack(tones) + 3e-4 * torch.randn(20, SAMPLES, generator=generator)
    return torch.stack([mixed.roll(c, 0) for c in range(channels)], 1)


CASES = {
    "mel": (lambda: BandEnergies(400, 160, 16000, 26), 1),
    "mfcc": (lambda: BandEnergies(512, 256, 16000, 40, coefficients=13), 1),
    "linear bands of two channels": (lambda: BandEnergies(64, 100, 16000, 12, low=0, mel=False), 2),
    "the largest FFT": (lambda: BandEnergies(1000, 500, 16000, 60), 1),
    "statistics": (lambda: WindowStatistics(90, 45), 3),
}


def built(name: str) -> tuple[nn.Module, Tensor, IntegerNetwork]:
    make, channels = CASES[name]
    features, x = make(), signals(channels)
    module = nn.Sequential(features, nn.BatchNorm1d(channels * features.features, affine=False))
    for _ in range(30):
        module.train()(x)
    network = quantize(module.eval(), x)
    assert isinstance(network, IntegerNetwork)
    return module, x, network


def test_band_energies_are_those_of_the_formula() -> None:
    x = signals(1)[:3]
    found = BandEnergies(400, 160, 16000, 10, low=100, high=4000)(x)
    assert found.shape == (3, 10, SAMPLES // 160)
    mel = 2595 * np.log10(1 + np.array([100, 4000]) / 700)
    corners = 700 * (10 ** (np.linspace(*mel, 12) / 2595) - 1) * 512 / 16000
    frame = np.concatenate([np.zeros(240), x[1, 0, :160].numpy()])  # the first frame ends with sample 160
    n, k = np.arange(400), np.arange(257)
    spectrum = np.exp(-2j * np.pi * k[:, None] * n / 512) @ (
        frame * (0.5 - 0.5 * np.cos(2 * np.pi * n / 400))
    )
    for band in range(10):
        weights = np.interp(k, corners[band : band + 3], [0, 1, 0], left=0, right=0)
        energy = (weights * np.abs(spectrum) ** 2).sum()
        assert float(found[1, band, 0]) == pytest.approx(math.log2(max(energy, 1e-6) / 1e-6), abs=1e-3)
    bands = BandEnergies(400, 160, 16000, 10)(x).numpy()
    cosine = [
        [math.cos(math.pi * j * (b + 0.5) / 10) * math.sqrt(2 / 10) for b in range(10)] for j in (1, 2, 3)
    ]
    cepstrum = BandEnergies(400, 160, 16000, 10, coefficients=4)(x).numpy()
    assert np.allclose(cepstrum[:, 1:], np.einsum("jb,nbf->njf", cosine, bands), atol=1e-3)


def test_statistics_are_those_of_each_window() -> None:
    x = torch.tensor([[[1.0, 3.0, 1.0, 3.0, 5.0, 5.0, 5.0, 5.0]]])
    found = WindowStatistics(4, 2)(x)[0]
    assert torch.allclose(found[:, 1], torch.tensor([2.0, 1.0, 1.0, 3.0, 0.75]))
    assert torch.allclose(found[:, 3], torch.tensor([5.0, 0.0, 5.0, 5.0, 0.0]))
    assert torch.allclose(
        found[:, 0], torch.tensor([1.0, math.sqrt(1.5), 0.0, 3.0, 0.25])
    )  # two zeros before


def test_gradients_reach_the_samples() -> None:
    for features in (BandEnergies(32, 16, 8000, 5), WindowStatistics(32, 16)):
        x = torch.randn(2, 1, 64, requires_grad=True)
        features(x).sum().backward()
        assert x.grad is not None and bool((x.grad != 0).any())


@pytest.mark.parametrize("name", CASES)
def test_integer_features_are_within_three_steps_of_the_float_ones(name: str) -> None:
    module, x, network = built(name)
    graph = deployed(capture(module, tuple(x.shape[1:])))
    assert [o.kind for o in graph.operators] == [
        network.layers[0].kind
    ]  # the batch norm is part of the layer
    truth = module(x).detach()
    assert torch.allclose(run_float(graph, x), truth, atol=2e-3)
    seen = torch.from_numpy(network.seen(x))  # in steps of 16 bits
    error = np.abs(network.logits(x) - module(seen).numpy()) / network.tensors[network.output].scale
    loud = np.ones(error.shape, bool)
    if isinstance(module[0], BandEnergies) and not module[0].coefficients:
        energies = module[0](seen).numpy()
        # 60 dB below the loudest band and more, the 16 bits of the sines count.
        loud = energies > energies.max(axis=1, keepdims=True) - 20
    assert error[loud].max() <= 3 and error.mean() <= 0.4


def odd(network: IntegerNetwork) -> np.ndarray:
    """Samples at the limits of 16 bits, silence, single steps and noise of every loudness."""
    rng, shape = np.random.default_rng(0), network.input_shape
    constant = [np.full(shape, value) for value in (0, 1, -1, 32767, -32768)]
    alternating = np.where(np.arange(shape[1]) % 2, 32767, -32768) * np.ones(shape)
    noise = [rng.integers(-(2**b), 2**b, shape) for b in range(1, 16, 2)]
    return np.stack([*constant, alternating, *noise]).astype(np.int16)


@needs_compiler
def test_c_gives_the_bytes_of_the_definition() -> None:
    networks = [built(name)[2] for name in CASES]
    outputs = host_run_all([(network, odd(network)) for network in networks])
    for network, found in zip(networks, outputs, strict=True):
        assert np.array_equal(found, network.run(odd(network)))
    network, x = networks[0], signals(1).numpy()
    flags = [*FLAGS, "-fsanitize=undefined,address", "-fno-sanitize-recover=all"]
    assert np.array_equal(host_run(network, x, flags=flags), network.run(network.quantize_input(x)))


@pytest.mark.slow(every=2)
@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m0"])
def test_an_emulated_core_gives_the_bytes_of_the_definition(core: str) -> None:
    from sparsemod.emulator import Emulator

    networks = [built(name)[2] for name in ("mfcc", "statistics")]
    cases = [(network, odd(network)[[0, 4, 5, 10]]) for network in networks]
    for (network, given), found in zip(cases, Emulator(core).outputs(cases), strict=True):
        assert np.array_equal(found, network.run(given))


def test_the_memory_and_the_constants_are_counted() -> None:
    network = built("mfcc")[2]
    project = generate(network)
    # int16 samples, and the FFT of 512 numbers and 40 bands in words; the output is the caller's
    assert project.arena.size == 2 * SAMPLES + 4 * (512 + 40)
    assert all(offset % 4 == 0 for offset in project.arena.offsets.values())
    corners = network.layers[0].corners()
    starts, _ = tables.steps(512, corners)
    words = 512 + 129 + 42 + int(starts[-1] - starts[0]) + 65 + 13 * 40
    assert project.data_bytes == 2 * words + 13 * 9


def test_samples_of_sixteen_bits_are_kept_in_files_and_checked() -> None:
    network, x = built("statistics")[2], signals(3).numpy()
    info = network.tensors[network.input]
    assert (info.bits, info.zero_point, info.scale) == (16, 0, 2.0**-15)  # PCM as it is
    again = IntegerNetwork.from_bytes(network.to_bytes())
    assert again.tensors == network.tensors and again.to_bytes() == network.to_bytes()
    assert np.array_equal(
        network.quantize_input(np.float32(2) * np.ones((1, 3, SAMPLES))), [[[32767] * SAMPLES] * 3]
    )
    with pytest.raises(InvalidInput, match="int16"):
        network.run(x.astype(np.int8))


def test_other_formats_name_the_layer(tmp_path) -> None:
    network = built("mfcc")[2]
    for name in ("onnx", "tflite"):
        with pytest.raises(
            Unsupported, match=r"does not support operator 'band_energies' at layer '0.band_energies'"
        ):
            export(name, network, tmp_path / name)


def test_features_are_made_of_the_networks_input_alone() -> None:
    module = nn.Sequential(nn.Conv1d(1, 1, 3), BandEnergies(32, 16, 8000, 5))
    with pytest.raises(Unsupported, match="16-bit samples, which only the network's input holds"):
        capture(module, (1, 100))

    class Both(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return WindowStatistics(4, 4)(x).mean(2) + x.mean(2)

    with pytest.raises(InvalidInput, match="int16 samples where the layer reads them"):
        quantize(Both().eval(), torch.randn(4, 1, 16))


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"window": 2000}, "window = 2000: a whole number from 2 to 1024"),
        ({"hop": 0}, "hop = 0"),
        ({"bands": 200}, "bands = 200: a whole number from 1 to 128"),
        ({"window": 32, "bands": 20}, "bands = 20: at most about"),
        ({"high": 9000}, r"low, high = \(20.0, 9000.0\)"),
        ({"coefficients": 41}, "coefficients = 41: a whole number from 1 to the 40 bands"),
        ({"floor": 0.0}, "floor = 0"),
    ],
)
def test_errors_name_the_setting(keys: dict[str, float], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        BandEnergies(**{"window": 512, "hop": 160, "rate": 16000, "bands": 40, **keys})
