"""Random integer networks with every operator, drawn from a seed, and numpy-only helpers of the C export's tests."""

from typing import Any

import numpy as np

from sparsemod.quantization.arithmetic import quantize_multiplier
from sparsemod.quantization.integer_network import IntegerNetwork
from sparsemod.quantization.layers import (
    LAYERS,
    Add,
    Clamp,
    Concat,
    Conv,
    Flatten,
    GlobalAvgPool,
    Layer,
    Linear,
    Reshape,
    Transpose,
)
from sparsemod.quantization.tensor import TensorInfo

SPATIAL = (
    "conv",
    "conv",
    "pointwise",
    "depthwise",
    "max_pool",
    "avg_pool",
    "add",
    "concat",
    "clamp",
    "reshape",
    "transpose",
)
FLAT = ("linear", "linear", "clamp", "add", "concat", "flatten", "reshape")


class Drawn:
    """A network under construction; layers read any earlier tensor that fits."""

    def __init__(self, seed: int, sequence: bool = False) -> None:
        self.rng = np.random.default_rng(seed)
        shape: tuple[int, ...]
        if sequence:
            shape = (self.integer(1, 5), self.integer(1, 24))
        elif self.chance(0.1):
            shape = (self.integer(1, 40),)
        else:
            shape = (self.integer(1, 5), self.integer(1, 9), self.integer(1, 9))
        self.tensors = {"t0": TensorInfo(shape, float(np.float32(self.rng.uniform(0.01, 1))), self.zero())}
        self.layers: list[Layer] = []
        self.last = "t0"
        for _ in range(self.integer(1, 6)):
            self.step(str(self.rng.choice(SPATIAL)))
        if self.chance(0.7):
            self.step(str(self.rng.choice(["flatten", "global_avg_pool"])))
            for _ in range(self.integer(0, 3)):
                self.step(str(self.rng.choice(FLAT)))
        self.network = IntegerNetwork("t0", self.last, self.tensors, tuple(self.layers))
        self.images = self.rng.integers(-128, 128, (3, *shape)).astype(np.int8)

    def integer(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def zero(self) -> int:
        return int(self.rng.choice([-128, 127, 0, self.integer(-128, 127)]))

    def add(self, layer: Layer, layout: str | None = "as input") -> None:
        shape = layer.shape(tuple(self.tensors[n].shape for n in layer.inputs))
        source = self.tensors[layer.inputs[0]]
        zero = source.zero_point if layer.traits.keeps_scale else self.zero()
        if layout == "as input":
            layout = source.layout if len(source.shape) == len(shape) else None
        self.tensors[layer.output] = TensorInfo(shape, source.scale, zero, layout)
        self.layers.append(layer)
        self.last = layer.output

    def base(self, kind: str, *inputs: str) -> dict[str, Any]:
        count = len(self.layers)
        return {"name": f"{kind}.{count}", "inputs": inputs or (self.last,), "output": f"t{count + 1}"}

    def bounds(self) -> dict[str, Any]:
        if self.chance(0.5):
            return {"low": -128, "high": 127}
        return {"low": self.integer(-128, 0), "high": self.integer(0, 127)}

    def weights(self, shape: tuple[int, ...]) -> dict[str, Any]:
        spread = 0.3 / (60 * np.sqrt(np.prod(shape[1:])))
        real = self.rng.uniform(0.2, 3, shape[0]) * spread
        if self.chance(0.2):  # factors near 1, above 1, and 0
            real = self.rng.choice([0.0, 0.2, 0.25, 0.3, 0.5, 0.6, 1.0, 1.7, 40.0], shape[0])
        multiplier, shift = quantize_multiplier(real)
        weight = self.rng.integers(-127, 128, shape)
        weight = weight * (self.rng.random(shape) < self.rng.choice([1.0, 1.0, 0.5, 0.1, 0.02]))
        return {
            "weight": weight.astype(np.int8),
            "bias": self.rng.integers(-(2**14), 2**14, shape[0]).astype(np.int32),
            "multiplier": multiplier,
            "shift": shift,
            "weight_scale": np.ones(shape[0], np.float32),
        }

    def alike(self, *shapes: Any) -> str:
        layout = self.tensors[self.last].layout
        fits = [n for n, t in self.tensors.items() if t.shape in shapes and t.layout == layout]
        return str(self.rng.choice(fits))

    def step(self, kind: str) -> None:
        shape = self.tensors[self.last].shape
        if kind == "linear" and len(shape) == 1:
            weights = self.weights((self.integer(1, 11), shape[0]))
            self.add(Linear(**self.base(kind), **self.bounds(), **weights))
        elif kind == "concat":
            axis = self.integer(0, len(shape) - 1)
            fits = [
                t.shape
                for t in self.tensors.values()
                if len(t.shape) == len(shape)
                and t.shape[:axis] + t.shape[axis + 1 :] == shape[:axis] + shape[axis + 1 :]
            ]
            others = [self.alike(*fits) for _ in range(self.integer(1, 2))]
            count = 1 + len(others)
            shifts = tuple(self.integer(18, 22) for _ in range(count))
            multipliers = tuple(
                2 ** min(s, 21) if self.chance(0.5) else self.integer(0, 2**21) for s in shifts
            )
            bounds = self.bounds()
            self.add(
                Concat(
                    **self.base(kind, self.last, *others),
                    **bounds,
                    axis=axis,
                    multipliers=multipliers,
                    shifts=shifts,
                )
            )
        elif kind == "add":
            multipliers = (self.integer(0, 2**21), self.integer(0, 2**21))
            inputs = [self.last, self.alike(shape)]
            self.rng.shuffle(inputs)
            self.add(
                Add(
                    **self.base(kind, *inputs),
                    **self.bounds(),
                    multipliers=multipliers,
                    shift=self.integer(18, 24),
                )
            )
        elif kind == "clamp":
            self.add(Clamp(**self.base(kind), **self.bounds()))
        elif kind == "flatten":
            self.add(Flatten(**self.base(kind)))
        elif kind == "transpose":
            if len(shape) == 2:
                # Nothing but elementwise layers, concat and flatten reads time-features.
                other = "time-features" if self.tensors[self.last].layout is None else None
                self.add(Transpose(**self.base(kind)), other)
        elif len(shape) == 2 and self.tensors[self.last].layout is not None:
            self.step("transpose")
        elif kind == "reshape":
            self.add(Reshape(**self.base(kind), made_shape=self.other_axes(shape)))
        elif len(shape) in (2, 3):
            self.spatial(kind, shape)

    def other_axes(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return a shape with as many elements: with the same channels, or without positions if the shape had
        some."""
        size = int(np.prod(shape))
        if len(shape) == 1:
            divisor = int(self.rng.choice([n for n in range(1, size + 1) if size % n == 0]))
            return (divisor, size // divisor)
        return (shape[0], 1, size // shape[0]) if len(shape) == 2 else (shape[0], size // shape[0])

    def spatial(self, kind: str, shape: tuple[int, ...]) -> None:
        size = (1, *shape[1:])[-2:]  # a sequence has one row
        kernel = tuple(self.integer(1, min(4, length)) for length in size)
        stride = (self.integer(1, 2) if len(shape) == 3 else 1, self.integer(1, 3))
        if kind == "pointwise":
            weights = self.weights((self.integer(1, 9), shape[0], 1, 1))
            self.add(Conv(**self.base(kind), **self.bounds(), **weights, stride=stride))
        elif kind in ("conv", "depthwise"):
            if kind == "depthwise":
                groups, outputs, inputs = shape[0], shape[0], 1
            else:
                groups = int(self.rng.choice([g for g in range(1, shape[0] + 1) if shape[0] % g == 0]))
                groups = 1 if self.chance(0.6) else groups
                outputs, inputs = groups * self.integer(1, 9 if groups == 1 else 3), shape[0] // groups
            if self.chance(0.5) and min(size) >= 3:
                kernel, stride = (3, 3), (1, 1) if self.chance(0.5) else (2, 2)
            dilation = tuple(
                self.integer(1, 2) if k * 2 - 1 <= length else 1
                for k, length in zip(kernel, size, strict=True)
            )
            padding = (1, 1, 1, 1) if self.chance(0.4) else tuple(self.integer(0, 2) for _ in range(4))
            if len(shape) == 2:
                padding = (0, 0, *padding[2:])
            weights = self.weights((outputs, inputs, *kernel))
            options: dict[str, Any] = {
                "stride": stride,
                "padding": padding,
                "dilation": dilation,
                "groups": groups,
            }
            self.add(Conv(**self.base(kind), **self.bounds(), **weights, **options))
        elif kind in ("max_pool", "avg_pool"):
            ky, kx = kernel
            if self.chance(0.5):
                stride = kernel
            padding = (
                tuple(self.integer(0, k // 2) for k in (ky, ky, kx, kx)) if self.chance(0.5) else (0,) * 4
            )
            options = {"kernel": kernel, "stride": stride, "padding": padding, "ceil": self.chance(0.5)}
            if kind == "avg_pool":
                options["count_padding"] = self.chance(0.5)
            self.add(LAYERS.get(kind)(**self.base(kind), **options))
        elif kind == "global_avg_pool":
            (multiplier,), (shift,) = quantize_multiplier(float(self.rng.choice([1e-4, 0.02, 0.2, 0.7, 1.5])))
            options = {"multiplier": int(multiplier), "shift": int(shift), "keep": self.chance(0.5)}
            self.add(GlobalAvgPool(**self.base(kind), **options))
