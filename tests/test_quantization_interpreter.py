"""The fast interpreter against loops over Python integers, on integer networks drawn at random."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support_quantization import slow_run

from sparsemod.errors import InvalidInput
from sparsemod.quantization.arithmetic import quantize_multiplier
from sparsemod.quantization.integer_network import IntegerNetwork
from sparsemod.quantization.interpreter import trace
from sparsemod.quantization.layers import (
    LAYERS,
    Add,
    Clamp,
    Concat,
    Conv,
    Flatten,
    GlobalAvgPool,
    Linear,
)
from sparsemod.quantization.tensor import TensorInfo


class Maker:
    """Draws layers that fit the tensor they read."""

    def __init__(self, draw, rng):
        self.draw, self.rng = draw, rng
        channels, size = draw(st.integers(1, 4)), draw(st.integers(1, 7))
        self.tensors = {
            "t0": TensorInfo((channels, size, draw(st.integers(1, 7))), 0.5, draw(st.integers(-128, 127)))
        }
        self.layers = []
        self.last = "t0"

    def integer(self, low, high):
        return self.draw(st.integers(low, high))

    def add(self, layer, zero=None):
        shape = layer.shape(tuple(self.tensors[n].shape for n in layer.inputs))
        source = self.tensors[layer.inputs[0]]
        self.tensors[layer.output] = TensorInfo(
            shape, 0.5, source.zero_point if layer.traits.keeps_scale else zero
        )
        self.layers.append(layer)
        self.last = layer.output

    def base(self, kind, *inputs):
        return {
            "name": f"{kind}{len(self.layers)}",
            "inputs": inputs or (self.last,),
            "output": f"t{len(self.layers) + 1}",
        }

    def bounds(self):
        return dict(
            zip(("low", "high"), sorted((self.integer(-128, 20), self.integer(20, 127))), strict=True)
        )

    def weights(self, shape):
        fan = int(np.prod(shape[1:]))
        real = self.rng.uniform(0.2, 3, shape[0]) / (60 * 60 * np.sqrt(fan)) * 40
        multiplier, shift = quantize_multiplier(real)
        return {
            "weight": self.rng.integers(-127, 128, shape).astype(np.int8),
            "bias": self.rng.integers(-(2**14), 2**14, shape[0]).astype(np.int32),
            "multiplier": multiplier,
            "shift": shift,
            "weight_scale": np.ones(shape[0], np.float32),
        }

    def pads(self, most):
        return tuple(self.integer(0, most) for _ in range(4))

    def step(self, kind):
        shape = self.tensors[self.last].shape
        zero = self.integer(-128, 127)
        if kind == "linear" and len(shape) == 1:
            weights = self.weights((self.integer(1, 6), shape[0]))
            self.add(Linear(**self.base(kind), **self.bounds(), **weights), zero)
        elif kind == "concat":
            other = self.draw(
                st.sampled_from([n for n, t in self.tensors.items() if t.shape[1:] == shape[1:]])
            )
            multipliers, shifts = (2**20, self.integer(0, 2**21)), (20, self.integer(19, 22))
            self.add(
                Concat(
                    **self.base(kind, self.last, other),
                    **self.bounds(),
                    multipliers=multipliers,
                    shifts=shifts,
                ),
                zero,
            )
        elif kind == "add":
            other = self.draw(st.sampled_from([n for n, t in self.tensors.items() if t.shape == shape]))
            multipliers = (self.integer(0, 2**21), self.integer(0, 2**21))
            layer = Add(
                **self.base(kind, self.last, other),
                **self.bounds(),
                multipliers=multipliers,
                shift=self.integer(18, 24),
            )
            self.add(layer, zero)
        elif kind == "clamp":
            self.add(Clamp(**self.base(kind), **self.bounds()))
        elif len(shape) == 3:
            self.spatial(kind, shape, zero)

    def spatial(self, kind, shape, zero):
        kernel = tuple(self.integer(1, min(3, size)) for size in shape[1:])
        stride = (self.integer(1, 2), self.integer(1, 3))
        if kind == "conv":
            groups = self.draw(st.sampled_from([g for g in range(1, shape[0] + 1) if shape[0] % g == 0]))
            weights = self.weights((groups * self.integer(1, 2), shape[0] // groups, *kernel))
            dilation = tuple(
                self.integer(1, 2) if k * 2 - 1 <= size else 1
                for k, size in zip(kernel, shape[1:], strict=True)
            )
            options = {"stride": stride, "padding": self.pads(2), "dilation": dilation, "groups": groups}
            self.add(Conv(**self.base(kind), **self.bounds(), **weights, **options), zero)
        elif kind in ("max_pool", "avg_pool"):
            ky, kx = kernel
            padding = (
                self.integer(0, ky // 2),
                self.integer(0, ky // 2),
                self.integer(0, kx // 2),
                self.integer(0, kx // 2),
            )
            options = {
                "kernel": kernel,
                "stride": stride,
                "padding": padding,
                "ceil": self.draw(st.booleans()),
            }
            if kind == "avg_pool":
                options["count_padding"] = self.draw(st.booleans())
            self.add(LAYERS.get(kind)(**self.base(kind), **options))
        elif kind == "global_avg_pool":
            (multiplier,), (shift,) = quantize_multiplier(self.draw(st.floats(1e-4, 2.0)))
            options = {"multiplier": int(multiplier), "shift": int(shift), "keep": self.draw(st.booleans())}
            self.add(GlobalAvgPool(**self.base(kind), **options), zero)
        elif kind == "flatten":
            self.add(Flatten(**self.base(kind)))


@st.composite
def networks(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    maker = Maker(draw, rng)
    first = ["conv", "max_pool", "avg_pool", "add", "concat", "clamp"]
    for kind in draw(st.lists(st.sampled_from(first), min_size=1, max_size=4)):
        maker.step(kind)
    for kind in draw(
        st.lists(st.sampled_from(["global_avg_pool", "flatten", "linear", "clamp"]), max_size=3)
    ):
        maker.step(kind)
    network = IntegerNetwork("t0", maker.last, maker.tensors, tuple(maker.layers))
    images = rng.integers(-128, 128, (draw(st.integers(1, 3)), *network.input_shape)).astype(np.int8)
    return network, images


@settings(max_examples=150, deadline=None)
@given(networks())
def test_the_interpreter_equals_loops_over_python_integers(drawn):
    network, images = drawn
    assert np.array_equal(network.run(images), slow_run(network, images))


@settings(max_examples=40, deadline=None)
@given(networks())
def test_a_file_holds_the_whole_network_and_equal_networks_have_equal_bytes(drawn):
    network, images = drawn
    data = network.to_bytes()
    again = IntegerNetwork.from_bytes(data)
    assert again.to_bytes() == data
    assert np.array_equal(again.run(images), network.run(images))
    assert again.layers_info() == network.layers_info()


def linear_network(weight=None, bias=None, **changes):
    weight = np.eye(3, dtype=np.int8) * 64 if weight is None else weight
    multiplier, shift = quantize_multiplier(np.full(len(weight), 1 / 64))
    options = {
        "weight": weight,
        "bias": np.zeros(len(weight), np.int32) if bias is None else bias,
        "multiplier": multiplier,
        "shift": shift,
        "weight_scale": np.full(len(weight), 1 / 64, np.float32),
    } | changes
    tensors = {"x": TensorInfo((weight.shape[1],), 1.0, 0), "y": TensorInfo((len(weight),), 1.0, 0)}
    return IntegerNetwork("x", "y", tensors, (Linear("fc", ("x",), "y", **options),))


def test_float_accumulation_switches_before_it_would_round():
    # 1,200 products of 127 x 255 exceed 2^24: float32 sums would lose the last bits
    weight = np.full((2, 1200), 127, np.int8)
    weight[1] = np.where(np.arange(1200) % 2, 127, -126)
    network = linear_network(
        weight,
        np.array([1, -1], np.int32),
        multiplier=np.full(2, 2**30, np.int32),
        shift=np.full(2, -20, np.int32),
    )
    images = np.random.default_rng(0).integers(-128, 128, (5, 1200)).astype(np.int8)
    assert np.array_equal(network.run(images), slow_run(network, images))
    assert network.layers[0].largest() > 2**24


def test_batches_of_any_size_agree():
    network = linear_network()
    images = np.random.default_rng(1).integers(-128, 128, (700, 3)).astype(np.int8)
    together = network.run(images)
    assert np.array_equal(together, np.concatenate([network.run(images[:1]), network.run(images[1:])]))
    assert network.run(images[:0]).shape == (0, 3)
    assert np.array_equal(trace(network, images)["y"], together)


def test_predictions_errors_and_numbers():
    network = linear_network()
    images = np.array([[9, 1, 1], [1, 9, 1], [3, 3, 1]], np.float32)
    assert network.predict(images).tolist() == [0, 1, 0]  # the first of equal ones
    assert network.error(images, np.array([0, 1, 1])) == pytest.approx(1 / 3)
    assert network.nonzeros() == 3 and network.layer_nonzeros() == {"fc": 3}
    assert network.weight_bytes() == 9 + 12
    assert network.logits(images)[0].tolist() == [9, 1, 1]
    with pytest.raises(InvalidInput, match="labels"):
        network.error(images, np.array([0]))
    with pytest.raises(InvalidInput, match="shape"):
        network.predict(np.zeros((1, 4), np.float32))
    with pytest.raises(InvalidInput, match="int8"):
        network.run(images)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight": np.full((3, 3), -128, np.int8)}, "-127 to 127"),
        ({"bias": np.full(3, 2**31 - 1, np.int32)}, "32 bits"),
        ({"multiplier": np.full(3, 5, np.int32)}, "2\\^30"),
        ({"shift": np.full(3, 31, np.int32)}, "-31 to 30"),
        ({"shift": np.full(3, 20, np.int32), "bias": np.full(3, 2**20, np.int32)}, "32 bits"),
        ({"low": 5, "high": 4}, "low <= high"),
        ({"bias": np.zeros(2, np.int32)}, "shape"),
        ({"inputs": ("z",)}, "inputs that earlier layers compute"),
    ],
)
def test_bad_networks_cannot_be_constructed(changes, message):
    options = {"inputs": ("x",)} | changes
    inputs = options.pop("inputs")
    good = linear_network()
    layer = {
        n: getattr(good.layers[0], n)
        for n in ("weight", "bias", "multiplier", "shift", "weight_scale", "low", "high")
    }
    with pytest.raises(InvalidInput, match=message):
        IntegerNetwork("x", "y", good.tensors, (Linear("fc", inputs, "y", **(layer | options)),))


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: b"",
        lambda d: d[:40],
        lambda d: d.replace(b"header", b"headex"),
        lambda d: d[:90] + b"?" + d[91:],
    ],
)
def test_damaged_files_are_refused(damage):
    with pytest.raises(InvalidInput, match="network file"):
        IntegerNetwork.from_bytes(damage(linear_network().to_bytes()))


@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=3))
def test_changed_bytes_are_refused_or_do_not_matter(changes):
    network = linear_network()
    data = bytearray(network.to_bytes())
    for place, byte in changes:
        data[int(place * len(data))] = byte
    try:
        again = IntegerNetwork.from_bytes(bytes(data))
    except InvalidInput:
        return
    assert again.to_bytes() == network.to_bytes()


def test_save_and_load(tmp_path):
    network = linear_network()
    network.save(tmp_path / "network.npz")
    assert IntegerNetwork.load(tmp_path / "network.npz").to_bytes() == network.to_bytes()
    with np.load(tmp_path / "network.npz", allow_pickle=False) as arrays:
        assert np.array_equal(arrays["0.weight"], network.layers[0].weight)
    # the format is part of what we promise: a change of these bytes needs a new version
    assert hashlib.sha256(network.to_bytes()).hexdigest()[:12] == "3c6e7151072e"
