"""From float modules to integer networks: close to the float outputs, exact against the slow interpreter."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support_pruning import MODULES, Plain, Residual, seeded, started
from support_quantization import slow_run
from torch import nn
from torch.nn import functional

from sparsemod.errors import InvalidInput, Unsupported
from sparsemod.graph import Graph, Operator, capture, deployed
from sparsemod.quantization import quantize
from sparsemod.quantization.calibration import calibrate
from sparsemod.quantization.interpreter import trace
from sparsemod.quantization.layers import Add, Clamp, Concat, Conv, Linear
from sparsemod.quantization.ranges import RANGES
from sparsemod.quantization.static import RULES, quantize_static

pytestmark = pytest.mark.slow(every=6)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


class Drawn(nn.Module):
    """A random network: a list of steps on one running tensor, with branches back to earlier ones."""

    def __init__(self, draw, shape):
        super().__init__()
        self.layers = nn.ModuleList()
        self.steps = []
        x = [torch.zeros(2, *shape)]
        for _ in range(draw(st.integers(1, 5))):
            self._draw(draw, x)
        if draw(st.booleans()):
            x.append(self._apply("flatten", None, x[-1], x))
            self._add(draw, x, "linear", nn.Linear(x[-1].shape[1], draw(st.integers(1, 5))))

    def _draw(self, draw, x):
        channels, height, width = x[-1].shape[1:]
        kind = draw(
            st.sampled_from(
                ["conv", "depthwise", "pad_conv", "relu", "relu6", "max", "avg", "add", "concat", "norm"]
            )
        )
        k = (draw(st.integers(1, min(3, height))), draw(st.integers(1, min(3, width))))
        stride = draw(st.integers(1, 2))
        if kind in ("conv", "pad_conv"):
            groups = draw(st.sampled_from([g for g in range(1, channels + 1) if channels % g == 0]))
            dilation = 2 if min(height, width) >= 5 and draw(st.booleans()) else 1
            padding = draw(st.sampled_from([0, 1, (1, 0)]))
            made = nn.Conv2d(
                channels,
                groups * draw(st.integers(1, 3)),
                k,
                stride,
                padding,
                dilation,
                groups,
                draw(st.booleans()),
            )
            if kind == "pad_conv":
                made = nn.Sequential(nn.ZeroPad2d((0, 1, 2, 0)), made)
            self._add(draw, x, kind, made)
        elif kind == "depthwise":
            made = nn.Conv2d(channels, channels * draw(st.integers(1, 2)), k, stride, 1, groups=channels)
            self._add(draw, x, kind, made)
        elif kind == "norm":
            self._add(draw, x, kind, nn.BatchNorm2d(channels))
        elif kind == "max":
            pads = tuple(draw(st.integers(0, size // 2)) for size in k)
            self._add(draw, x, kind, nn.MaxPool2d(k, stride, pads, ceil_mode=draw(st.booleans())))
        elif kind == "avg":
            pads = tuple(draw(st.integers(0, size // 2)) for size in k)
            self._add(draw, x, kind, nn.AvgPool2d(k, stride, pads, draw(st.booleans()), draw(st.booleans())))
        elif kind in ("add", "concat"):
            fits = [
                i
                for i, t in enumerate(x)
                if t.shape[2:] == x[-1].shape[2:] and (kind == "concat" or t.shape == x[-1].shape)
            ]
            other = draw(st.sampled_from(fits))
            self.steps.append((kind, other))
            x.append(self._apply(kind, other, x[-1], x))
        else:
            self.steps.append((kind, None))
            x.append(self._apply(kind, None, x[-1], x))

    def _add(self, draw, x, kind, layer):
        for part in layer.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.uniform_(-1, 1)
                part.running_var.uniform_(0.5, 2)
                nn.init.uniform_(part.weight, -1.5, 1.5)
                nn.init.uniform_(part.bias, -1, 1)
        if kind == "linear":
            self.steps.append(("flatten", None))
        self.layers.append(layer)
        self.steps.append(("layer", len(self.layers) - 1))
        with torch.no_grad():
            x.append(layer.eval()(x[-1]))

    def _apply(self, kind, other, x, history):
        if kind == "layer":
            return self.layers[other](x)
        if kind == "add":
            return x + history[other]
        if kind == "concat":
            return torch.cat([x, history[other]], 1)
        return {"relu": functional.relu, "relu6": functional.relu6, "flatten": lambda t: t.flatten(1)}[kind](
            x
        )

    def forward(self, x):
        history = [x]
        for kind, other in self.steps:
            history.append(self._apply(kind, other, history[-1], history))
        return history[-1]


@st.composite
def drawn(draw):
    torch.manual_seed(draw(st.integers(0, 2**31)))
    shape = (draw(st.integers(1, 3)), draw(st.integers(3, 8)), draw(st.integers(3, 8)))
    with torch.no_grad():
        return Drawn(draw, shape).eval(), shape


def steps_apart(network, module, samples):
    """The largest difference between integer and float outputs, as a share of the float outputs' range."""
    with torch.no_grad():
        expected = module(samples).numpy()
    found = network.logits(samples)
    assert found.shape == expected.shape
    spread = max(expected.max(), 0) - min(expected.min(), 0)
    return float(np.abs(found - expected).max()) / spread if spread > 1e-6 else 0.0


def worst_case(network, samples):
    """The largest error that rounding weights and activations can cause, followed through the layers in real units."""
    error = {network.input: network.tensors[network.input].scale}
    real = {n: (q.astype(np.float64) - network.tensors[n].zero_point) * network.tensors[n].scale
            for n, q in trace(network, network.quantize_input(samples)).items()}  # fmt: skip
    for layer in network.layers:
        step, before = network.tensors[layer.output].scale, max(error[n] for n in layer.inputs)
        if isinstance(layer, Conv | Linear):
            scale = layer.weight_scale.astype(np.float64)
            weights = np.abs(layer.weight.astype(np.float64)).reshape(len(scale), -1)
            reach = float(np.abs(real[layer.inputs[0]]).max()) + before
            rounding = scale * (0.5 * weights.shape[1] * reach + network.tensors[layer.inputs[0]].scale)
            error[layer.output] = float((weights.sum(1) * scale * before + rounding).max()) + step
        elif isinstance(layer, Add):
            error[layer.output] = sum(error[n] for n in layer.inputs) + step
        else:
            error[layer.output] = before + step
    return error[network.output]


@settings(max_examples=60)
@given(drawn())
def test_random_networks_are_close_to_float_and_exact_against_loops(pair):
    module, shape = pair
    samples = torch.randn(48, *shape)
    network = quantize(module, samples)
    images = network.quantize_input(samples[:2])
    assert np.array_equal(network.run(images), slow_run(network, images))
    with torch.no_grad():
        apart = np.abs(network.logits(samples) - module(samples).numpy())
    assert apart.max() <= worst_case(network, samples) * 1.001 + 1e-6


@pytest.mark.parametrize("kind", MODULES)
@pytest.mark.parametrize("rule", RANGES.names())
def test_every_shape_of_network_under_every_range_rule(kind, rule):
    module = seeded(kind)
    samples = torch.randn(64, *kind.shape)
    network = quantize_static(
        deployed(capture(module, kind.shape)), samples, RANGES.create(RANGES.config(rule))
    )
    images = network.quantize_input(samples[:2])
    assert np.array_equal(network.run(images), slow_run(network, images))
    assert steps_apart(network, module, samples) < (0.05 if rule == "min_max" else 0.3)
    assert {layer.name for layer in network.layers} == {
        o.name for o in deployed(capture(module, kind.shape)).operators
    }


def test_pruned_weights_stay_exact_zeros():
    module = seeded(Plain)
    pruner = started("magnitude", 0.7, module, Plain.shape)
    pruner.before_epoch(1, 1)
    network = quantize(module, torch.randn(32, *Plain.shape))
    weights = [n for n in network.layers if isinstance(n, Conv) or n.kind == "linear"]
    for layer, mask in zip(weights, pruner.masks.values(), strict=True):
        assert not layer.weight[~mask.numpy()].any()
    assert network.nonzeros() <= sum(int(m.sum()) for m in pruner.masks.values())


def linear(weight, bias):
    layer = nn.Linear(len(weight[0]), len(weight))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight))
        layer.bias.copy_(torch.tensor(bias))
    return layer


@pytest.mark.parametrize(
    ("weight", "bias"),
    [
        ([[0.0, 0.0], [1.0, -1.0]], [3.0, 0.0]),  # a channel without weights is its bias
        ([[0.0, 0.0], [0.0, 0.0]], [0.0, 0.0]),  # nothing at all
        ([[1e-12, 0.0], [1.0, 1.0]], [5.0, -1.0]),  # tiny weights beside a large bias
        ([[1e-38, 1e-38], [1.0, 1.0]], [1.0, 0.0]),
        ([[1e6, 1e6], [1e-6, 1e-6]], [0.0, 0.0]),  # channels of very different size
        ([[1e-20, 0.0], [0.0, 1e-20]], [0.0, 0.0]),
    ],
)
def test_degenerate_weights(weight, bias):
    module = linear(weight, bias)
    samples = torch.rand(32, 2) * 2 - 1
    network = quantize(module, samples)
    assert np.array_equal(
        network.run(network.quantize_input(samples)), slow_run(network, network.quantize_input(samples))
    )
    assert steps_apart(network, module, samples) < 0.02


@pytest.mark.parametrize("value", [0.0, 3.0, -3.0, 1e-30, 1e20])
def test_constant_inputs(value):
    module = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(32, 2))
    samples = torch.full((8, 1, 4, 4), value)
    network = quantize(module, samples)
    images = network.quantize_input(samples)
    assert np.array_equal(network.run(images), slow_run(network, images))
    assert steps_apart(network, module, samples) < 0.05


def test_a_sum_that_cancels():
    class Double(nn.Module):
        def forward(self, x):
            return x + x

    class Negative(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 1, bias=False)
            nn.init.constant_(self.conv.weight, -1.0)

        def forward(self, x):
            return x + self.conv(x)

    samples = torch.randn(16, 1, 3, 3)
    for module in (Double(), Negative()):
        network = quantize(module, samples)
        images = network.quantize_input(samples)
        assert np.array_equal(network.run(images), slow_run(network, images))
    assert np.abs(network.logits(samples)).max() < 0.1


def test_inputs_of_a_concat_share_its_scale_and_are_copied():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = (nn.Conv2d(1, 2, 1) for _ in range(3))

        def forward(self, x):
            parts = functional.max_pool2d(self.a(x), 2), self.b(functional.max_pool2d(x, 2))
            return torch.cat([*parts, functional.avg_pool2d(self.c(x), 2), functional.max_pool2d(x, 2)], 1)

    network = quantize(Two(), torch.randn(16, 1, 4, 4))
    (concat,) = (layer for layer in network.layers if isinstance(layer, Concat))
    copied = [m == 1 << s for m, s in zip(concat.multipliers, concat.shifts, strict=True)]
    # a mean narrows the range that it needs before it, and the network's input keeps its own
    assert copied == [True, True, False, False]


def test_a_relu_that_nothing_takes_in_becomes_a_clamp():
    class Late(nn.Module):
        def forward(self, x):
            return functional.relu6(functional.avg_pool2d(x, 2))

    samples = torch.randn(64, 1, 4, 4) * 6
    network = quantize(Late(), samples)
    assert [type(layer) for layer in network.layers][-1] is Clamp
    assert steps_apart(network, Late(), samples) < 0.05


def test_equal_inputs_give_equal_bytes():
    samples = torch.randn(32, *Residual.shape)
    assert quantize(seeded(Residual), samples).to_bytes() == quantize(seeded(Residual), samples).to_bytes()
    assert quantize(seeded(Residual, 1), samples).to_bytes() != quantize(seeded(Residual), samples).to_bytes()


def test_unsupported_operators_name_operator_layer_and_what_is_supported():
    graph = Graph("x", "y", (Operator("blocks.0.act", "hardswish", ("x",), "y"),), {"x": (3,), "y": (3,)}, {})
    with pytest.raises(
        Unsupported, match=r"'hardswish' at layer 'blocks.0.act'; supported: add, avg_pool"
    ) as caught:
        quantize_static(graph, torch.zeros(1, 3))
    assert caught.value.supported == RULES.names()


def test_a_diverged_network_is_refused_by_name():
    module = seeded(Plain)
    with torch.no_grad():
        module[4].weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(InvalidInput, match="diverged"):
        quantize(module, torch.randn(8, *Plain.shape))


def test_calibration_needs_samples_and_a_known_rule():
    graph = deployed(capture(seeded(Plain), Plain.shape))
    with pytest.raises(InvalidInput, match="at least one sample"):
        calibrate(graph, torch.zeros(0, *Plain.shape))
    with pytest.raises(InvalidInput, match="known: min_max, mse, percentile"):
        RANGES.config("entropy")


def test_range_rules_on_an_outlier():
    values = np.append(np.random.default_rng(0).normal(size=100_000), 50.0).astype(np.float32)
    high = {name: RANGES.create(RANGES.config(name)).span(values)[1] for name in RANGES.names()}
    assert high["min_max"] == 50
    assert 3 < high["percentile"] < 6
    assert high["mse"] <= 50


def test_a_window_over_everything_is_as_precise_as_a_mean():
    """A mean over 8 x 8 has about an eighth of its input's range: with its input's scale it would lose three bits."""
    torch.manual_seed(0)
    samples = torch.randn(64, 3, 8, 8)

    def worst(pool):
        network = quantize(nn.Sequential(pool, nn.Flatten()), samples)
        return np.abs(network.logits(samples) - samples.mean((2, 3)).numpy()).max()

    assert worst(nn.AvgPool2d(8)) == worst(nn.AdaptiveAvgPool2d(1)) < 0.01
