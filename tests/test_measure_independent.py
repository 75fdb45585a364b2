"""Costs of random networks against a computation that shares no code with ours: hooks on the running module."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sparsemod.errors import BuildError
from sparsemod.graph import capture, deployed
from sparsemod.measure import costs
from sparsemod.networks import create_family
from sparsemod.quantization import quantize
from sparsemod.records import DataInfo
from sparsemod.targets import device

DATA = DataInfo(name="images", shape=(2, 12, 12), classes=5)


def by_hooks(module: nn.Module) -> dict[str, int]:
    """Count multiply-adds tap by tap, weights, and stored bytes, from the inputs and outputs that hooks
    record."""
    found = {"macs": 0, "parameters": 0, "model_size": 0}

    def look(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        weight = layer.weight
        each_output = weight[0].numel()  # taps of one output element
        found["macs"] += output[0].numel() * each_output
        found["parameters"] += weight.numel()
        found["model_size"] += weight.numel() + len(weight) * (4 + 4 + 1)

    hooks = [m.register_forward_hook(look) for m in module.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        module.eval()(torch.zeros(1, *DATA.shape))
    for hook in hooks:
        hook.remove()
    return found


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["cnn", "mlp"]), st.integers(0, 2**32 - 1))
def test_costs_of_random_networks_match_hooks(family, seed):
    network = create_family(family, {"max_filters": 12} if family == "cnn" else {})
    space, rng = network.space(DATA), np.random.default_rng(seed)
    try:
        module = network.build(space.sample(rng), DATA)
    except BuildError:
        return
    found = costs(deployed(capture(module, DATA.shape)), device("stm32f446"))
    for metric, value in by_hooks(module).items():
        assert found[metric].value == value, metric


def integers(layer: nn.Linear) -> np.ndarray:
    """The int8 weights by the textbook: each output's weights over the largest of them, times 127, rounded."""
    weight = layer.weight.detach().numpy().astype(np.float64)
    scale = np.float32(np.abs(weight).max(axis=1) / 127).astype(np.float64)
    scale[scale == 0] = 1.0
    return np.rint(weight / scale[:, None])


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 0.95))
def test_nonzeros_and_sparse_size_are_those_of_the_weights_rounded_by_hand(seed, sparsity):
    network = create_family("mlp", {"max_width": 32})
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed % 2**31)
    module = network.build(network.space(DATA).sample(rng), DATA).eval()
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        for layer in layers:
            layer.weight[torch.rand_like(layer.weight) < sparsity] = 0.0
    counts = [int(np.count_nonzero(integers(layer))) for layer in layers]
    by_hand = 0
    for layer, count in zip(layers, counts, strict=True):
        outputs, inputs = layer.weight.shape
        constants = outputs * (4 + 4 + 1)
        # Every weight a byte, or a bit for each weight (whole bytes for each output) and a byte for each that is not zero.
        by_hand += constants + min(outputs * inputs, outputs * -(-inputs // 8) + count)
    quantized = quantize(module, torch.randn(16, *DATA.shape))
    graph = deployed(capture(module, DATA.shape))
    found = costs(graph, device("stm32f446"), nonzeros=quantized.layer_nonzeros(), model_size="sparse")
    assert found["nonzeros"].value == sum(counts)
    assert found["model_size"].value == by_hand
