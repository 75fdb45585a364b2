"""A float model as a torch module: layers with the names of the file, whose weights training and pruning can change."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sparsemod.errors import Unsupported
from sparsemod.graph.functions import evaluate
from sparsemod.importing.recurrent_layer import recurrent_layer
from sparsemod.importing.steps import Step, Steps
from sparsemod.importing.views import view
from sparsemod.layouts import Shape


class ImportedNetwork(nn.Module):
    """The module of a model file; `forward` maps samples (N, *input shape) to outputs (N, *output shape)."""

    def __init__(self, model: Steps) -> None:
        super().__init__()
        self._plan: list[tuple[str, tuple[str, ...], str]] = []
        self._input, self._output = model.input, model.output
        for step in model.steps:
            name = self._free(step.name)
            layer = make_layer(step, model.shapes)
            load_weights(layer, step)
            self.add_module(name, layer)
            self._plan.append((name, step.inputs, step.output))

    def _free(self, wanted: str) -> str:
        name = re.sub(r"\W+", "_", wanted, flags=re.ASCII).strip("_") or "layer"
        name = name if not name[0].isdigit() else f"layer_{name}"
        number = 1
        made = name
        while hasattr(self, made):
            number += 1
            made = f"{name}_{number}"
        return made

    def forward(self, x: Tensor) -> Tensor:
        """Run the layers in the order of the file."""
        values = {self._input: x}
        for name, inputs, output in self._plan:
            values[output] = self._modules[name](*(values[one] for one in inputs))  # type: ignore[misc]
        return values[self._output]


class Window(nn.Module):
    """A layer with a window; padding that differs between the sides is explicit."""

    def __init__(self, layer: nn.Module, padding: tuple[int, ...], value: float = 0.0) -> None:
        super().__init__()
        self.layer, self.padding, self.value = layer, padding, value

    def forward(self, x: Tensor) -> Tensor:
        """Pad, then run the layer."""
        top, bottom, left, right = self.padding
        amounts = [left, right] if x.ndim == 3 else [left, right, top, bottom]
        result: Tensor = self.layer(functional.pad(x, amounts, value=self.value))
        return result


class Cut(nn.Module):
    """A transposed convolution of which positions are left out, where its padding differs between the sides."""

    def __init__(self, layer: nn.Module, cut: tuple[int, ...]) -> None:
        super().__init__()
        self.layer, self.cut = layer, cut

    def forward(self, x: Tensor) -> Tensor:
        """Run the layer, then cut (top, bottom, left, right)."""
        top, bottom, left, right = self.cut
        made: Tensor = self.layer(x)
        made = made[..., left : made.shape[-1] - right]
        return made if made.ndim == 3 else made[:, :, top : made.shape[2] - bottom]


class Clamped(nn.Module):
    """A layer and the bounds of its result."""

    def __init__(self, layer: nn.Module, bounds: tuple[float | None, float | None]) -> None:
        super().__init__()
        self.layer, self.bounds = layer, bounds

    def forward(self, *inputs: Tensor) -> Tensor:
        """Run the layer and clamp its result."""
        return clamp(self.layer(*inputs), self.bounds)


def clamp(x: Tensor, bounds: tuple[float | None, float | None]) -> Tensor:
    """Clamp real values; None is no bound."""
    if bounds == (None, None):
        return x
    if bounds == (0.0, None):
        return functional.relu(x)
    if bounds == (0.0, 6.0):
        return functional.relu6(x)
    return torch.clamp(x, *bounds)


class Function(nn.Module):
    """A function of every value."""

    def __init__(self, function: tuple[Any, ...]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """Apply the function."""
        return evaluate(self.function, x)


class View(nn.Module):
    """A copy of elements."""

    places: Tensor

    def __init__(self, operator: str, arguments: Mapping[str, Any]) -> None:
        super().__init__()
        self.operator, self.arguments = operator, dict(arguments)
        if operator == "take":
            self.register_buffer("places", torch.tensor(arguments["places"]), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the view."""
        if self.operator == "take":
            return x.index_select(self.arguments["axis"] + 1, self.places)
        return view(x, self.operator, self.arguments)


_PAIRS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": torch.add, "subtract": torch.sub, "multiply": torch.mul, "divide": torch.div, "maximum": torch.maximum,
    "minimum": torch.minimum,
}  # fmt: skip


class Pair(nn.Module):
    """Arithmetic of two tensors."""

    def __init__(self, operator: str) -> None:
        super().__init__()
        self.operator = operator

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Combine the tensors."""
        return _PAIRS[self.operator](a, b)


class WithConstant(nn.Module):
    """Arithmetic of a tensor and a constant of the file."""

    value: Tensor

    def __init__(self, operator: str, value: Any, reverse: bool) -> None:
        super().__init__()
        self.operator, self.reverse = operator, reverse
        self.register_buffer("value", torch.tensor(np.array(value, np.float32)), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Combine the tensor with the constant."""
        return _PAIRS[self.operator](self.value, x) if self.reverse else _PAIRS[self.operator](x, self.value)


class Reduce(nn.Module):
    """A mean, sum or maximum over axes."""

    def __init__(self, operator: str, axes: tuple[int, ...], keep: bool) -> None:
        super().__init__()
        self.operator, self.axes, self.keep = operator, tuple(axis + 1 for axis in axes), keep

    def forward(self, x: Tensor) -> Tensor:
        """Reduce the axes."""
        if self.operator == "max":
            return torch.amax(x, self.axes, keepdim=self.keep)
        return (torch.mean if self.operator == "mean" else torch.sum)(x, self.axes, keepdim=self.keep)


class Product(nn.Module):
    """The product of two tensors as matrices of their last two axes."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Multiply the matrices."""
        return torch.matmul(a, b)


class Concat(nn.Module):
    """Tensors one after the other along an axis."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis + 1

    def forward(self, *inputs: Tensor) -> Tensor:
        """Join the tensors."""
        return torch.cat(inputs, self.axis)


class Normalize(nn.Module):
    """Vectors of length 1 along an axis."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis + 1

    def forward(self, x: Tensor) -> Tensor:
        """Divide by the length."""
        return functional.normalize(x, dim=self.axis)


class Resize(nn.Module):
    """Interpolation to a size."""

    def __init__(self, size: tuple[int, ...], mode: str, aligned: bool) -> None:
        super().__init__()
        self.size, self.mode, self.aligned = size, mode, aligned

    def forward(self, x: Tensor) -> Tensor:
        """Interpolate."""
        if self.mode == "nearest":
            return functional.interpolate(x, list(self.size), mode="nearest")
        mode = "linear" if x.ndim == 3 else "bilinear"
        return functional.interpolate(x, list(self.size), mode=mode, align_corners=self.aligned)


class GlobalMean(nn.Module):
    """The mean over all positions."""

    def __init__(self, keep: bool) -> None:
        super().__init__()
        self.keep = keep

    def forward(self, x: Tensor) -> Tensor:
        """Average the positions."""
        return x.mean(tuple(range(2, x.ndim)), keepdim=self.keep)


class Same(nn.Module):
    """A step of an int8 file that keeps the real values, up to rounding."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the input."""
        return x


def make_layer(step: Step, shapes: Mapping[str, Shape]) -> nn.Module:
    """Return the layer of a step, with weights of the right shape but not the file's. Raises Unsupported."""
    if step.kind not in _MAKERS:
        raise Unsupported(step.kind, step.title, "reading a model", tuple(_MAKERS))
    layer = _MAKERS[step.kind](step, shapes[step.inputs[0]])
    bounds = step.attributes.get("clamp", (None, None))
    return layer if bounds == (None, None) else Clamped(layer, bounds)


def load_weights(layer: nn.Module, step: Step) -> None:
    """Copy the file's weights into a layer."""
    inner = layer.layer if isinstance(layer, Clamped) else layer
    inner = inner.layer if isinstance(inner, Window | Cut) else inner
    if step.kind == "recurrent":
        return  # made with its weights
    names = {
        "weight": "weight",
        "bias": "bias",
        "mean": "running_mean",
        "variance": "running_var",
        "slopes": "weight",
    }
    with torch.no_grad():
        for key, name in names.items():
            target, value = getattr(inner, name, None), step.attributes.get(key)
            if isinstance(target, Tensor) and value is not None:
                target.copy_(torch.from_numpy(np.array(value, np.float32)).reshape(target.shape))


def _sides(padding: tuple[int, ...], sequence: bool) -> tuple[Any, bool]:
    """Return (padding for torch, whether it expresses this padding)."""
    top, bottom, left, right = padding
    return (left if sequence else (top, left)), (top, left) == (bottom, right)


def _conv(step: Step, shape: Shape) -> nn.Module:
    a, sequence = step.attributes, len(shape) == 2
    outputs, per_group, *kernel = a["weight"].shape
    padding, same = _sides(a["padding"], sequence)
    last = slice(1, None) if sequence else slice(None)
    options: dict[str, Any] = {
        "stride": tuple(a["stride"][last]), "dilation": tuple(a["dilation"][last]), "groups": a["groups"],
        "bias": a["bias"] is not None, "padding": padding if same else 0,
    }  # fmt: skip
    kind = nn.Conv1d if sequence else nn.Conv2d
    layer = kind(per_group * a["groups"], outputs, tuple(kernel[last]), **options)
    return layer if same else Window(layer, a["padding"])


def _conv_transpose(step: Step, shape: Shape) -> nn.Module:
    a, sequence = step.attributes, len(shape) == 2
    inputs, per_group, *kernel = a["weight"].shape
    last = slice(1, None) if sequence else slice(None)
    top, bottom, left, right = a["padding"]
    around = (min(top, bottom), min(left, right))
    padding = around[last]
    kind = nn.ConvTranspose1d if sequence else nn.ConvTranspose2d
    layer = kind(
        inputs, per_group * a["groups"], tuple(kernel[last]), stride=tuple(a["stride"][last]), padding=padding,
        output_padding=tuple(a["output_padding"][last]), groups=a["groups"], bias=a["bias"] is not None,
        dilation=tuple(a["dilation"][last]),
    )  # fmt: skip
    cut = (top - around[0], bottom - around[0], left - around[1], right - around[1])
    return Cut(layer, cut) if any(cut) else layer


def _linear(step: Step, shape: Shape) -> nn.Module:
    outputs, inputs = step.attributes["weight"].shape
    return nn.Linear(inputs, outputs, bias=step.attributes["bias"] is not None)


def _batch_norm(step: Step, shape: Shape) -> nn.Module:
    a = step.attributes
    return (nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d)(len(a["mean"]), eps=a["epsilon"])


def _norm(step: Step, shape: Shape) -> nn.Module:
    a = step.attributes
    if a["operator"] == "layer":
        return nn.LayerNorm(tuple(a["weight"].shape), eps=a["epsilon"])
    if a["operator"] == "group":
        return nn.GroupNorm(a["groups"], shape[0], eps=a["epsilon"])
    kind = nn.InstanceNorm2d if len(shape) == 3 else nn.InstanceNorm1d
    return kind(shape[0], eps=a["epsilon"], affine=True)


def _pool(step: Step, shape: Shape) -> nn.Module:
    a, sequence = step.attributes, len(shape) == 2
    last = slice(1, None) if sequence else slice(None)
    padding, same = _sides(a["padding"], sequence)
    kernel, stride = tuple(a["kernel"][last]), tuple(a["stride"][last])
    options: dict[str, Any] = {"ceil_mode": a["ceil"], "padding": padding if same else 0}
    if step.kind == "max_pool":
        kind = nn.MaxPool1d if sequence else nn.MaxPool2d
        layer: nn.Module = kind(kernel, stride, dilation=tuple(a["dilation"][last]), **options)
        return layer if same else Window(layer, a["padding"], float("-inf"))
    if not same and not a["count_padding"]:
        raise Unsupported(
            "average pooling whose padding differs between the sides and does not count",
            step.title,
            "reading a model",
        )
    kind_of_mean: Any = nn.AvgPool1d if sequence else nn.AvgPool2d
    layer = kind_of_mean(kernel, stride, count_include_pad=a["count_padding"], **options)
    return layer if same else Window(layer, a["padding"])


class Softmax(nn.Module):
    """Softmax or its logarithm along an axis."""

    def __init__(self, axis: int, logarithm: bool) -> None:
        super().__init__()
        self.axis, self.logarithm = axis + 1, logarithm

    def forward(self, x: Tensor) -> Tensor:
        """Apply softmax."""
        return (functional.log_softmax if self.logarithm else functional.softmax)(x, self.axis)


_MAKERS: Mapping[str, Any] = {
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "linear": _linear,
    "batch_norm": _batch_norm,
    "norm": _norm,
    "recurrent": lambda step, shape: recurrent_layer(step.attributes),
    "matmul": lambda step, shape: Product(),
    "function": lambda step, shape: Function(step.attributes["function"]),
    "prelu": lambda step, shape: nn.PReLU(len(step.attributes["slopes"])),
    "constant": lambda step, shape: WithConstant(
        **{k: step.attributes[k] for k in ("operator", "value", "reverse")}
    ),
    "pair": lambda step, shape: Pair(step.attributes["operator"]),
    "max_pool": _pool,
    "avg_pool": _pool,
    "mean": lambda step, shape: GlobalMean(step.attributes["keep"]),
    "reduce": lambda step, shape: Reduce(**step.attributes),
    "concat": lambda step, shape: Concat(step.attributes["axis"]),
    "view": lambda step, shape: View(step.attributes["operator"], step.attributes["arguments"]),
    "softmax": lambda step, shape: Softmax(step.attributes["axis"], False),
    "log_softmax": lambda step, shape: Softmax(step.attributes["axis"], True),
    "l2_normalize": lambda step, shape: Normalize(step.attributes["axis"]),
    "resize": lambda step, shape: Resize(**step.attributes),
    "quantize": lambda step, shape: Same(),
    "lookup": lambda step, shape: Same(),
}
