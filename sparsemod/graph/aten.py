"""How each ATen operator becomes ours. To add one: a function with `@aten("name.overload", ...)`, and a row in `operators.KINDS` if its kind is new."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor
from torch.fx import Node

from sparsemod.errors import Unsupported
from sparsemod.graph.operators import KINDS, Operator


@dataclass(frozen=True, eq=False)
class Constant:
    """A tensor that does not depend on the network's input; `key` is its name in the module, None when it was computed."""

    tensor: Tensor
    key: str | None = None


class Walker(Protocol):
    """What a translation may use of the walk over the exported program."""

    layer_weights: frozenset[str]
    operators: list[Operator]
    shapes: dict[str, tuple[int, ...]]
    state: dict[str, Tensor]
    names: set[str]
    values: dict[Node, Any]
    storage: dict[Node, Node]


class Call:
    """One ATen call: its arguments by name, and the ways to answer it."""

    def __init__(self, walker: Walker, node: Node) -> None:
        self.walker, self.node = walker, node
        schema = getattr(node.target, "_schema", None)
        self.arguments: dict[str, Any] = dict(node.kwargs)
        if schema is not None:
            for place, argument in enumerate(schema.arguments):
                if place < len(node.args):
                    self.arguments[argument.name] = node.args[place]
                elif argument.has_default_value():
                    self.arguments.setdefault(argument.name, argument.default_value)
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        self.path = str(stack[-1][0]) if stack else ""

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    @property
    def operator(self) -> str:
        """The ATen operator's short name."""
        text = str(self.node.target).removeprefix("aten.")
        return text.rsplit(".", 1)[0]

    def unsupported(self, hint: str = "") -> Unsupported:
        """The error that names this operator and its layer."""
        return Unsupported(self.operator, self.path or "forward", "capture", KINDS, hint)

    def tensor(self, name: str) -> str:
        """The tensor given as argument `name`. Raises Unsupported when it is a constant."""
        return self.tensor_of(self.arguments[name])

    def tensor_of(self, given: Any) -> str:
        """The tensor that a node of the program stands for. Raises Unsupported when it is none that depends on the input."""
        value = self.walker.values[given] if isinstance(given, Node) else given
        if not isinstance(value, str):
            raise self.unsupported("with a constant")
        return value

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape without batch of the tensor given as argument `name`."""
        return self.walker.shapes[self.tensor(name)]

    def constant(self, name: str) -> Constant | None:
        """The constant given as argument `name`, None when it was left out. Raises Unsupported when it depends on the input."""
        given = self.arguments.get(name)
        if given is None:
            return None
        value = self.walker.values[given] if isinstance(given, Node) else None
        if not isinstance(value, Constant):
            raise self.unsupported(f"its {name} depends on the input")
        return value

    @property
    def result_shape(self) -> tuple[int, ...]:
        """Shape of the result, without batch."""
        return self._without_batch(self.node.meta["val"])

    def _without_batch(self, value: Any) -> tuple[int, ...]:
        if isinstance(value, tuple | list):
            value = value[0]
        source = next(n for n in self.node.all_input_nodes if isinstance(self.walker.values[n], str))
        given = source.meta["val"]
        if value.ndim < 2 or value.shape[0] != given.shape[0]:
            raise self.unsupported("it must keep the batch axis first and leave it alone")
        return tuple(int(size) for size in value.shape[1:])

    def alias(self, name: str, *, copy: bool = False) -> None:
        """The result is the tensor given as argument `name`; with `copy`, in memory of its own."""
        given = self.arguments[name]
        self.walker.values[self.node] = self.tensor(name)
        if not copy:
            self.walker.storage[self.node] = self.walker.storage[given]

    def emit(
        self, kind: str, inputs: tuple[str, ...], attributes: Mapping[str, Any] | None = None,
        weight: Constant | None = None, bias: Constant | None = None, shape: tuple[int, ...] | None = None,
        **more: Constant,
    ) -> str:  # fmt: skip
        """Append an operator and make its output this call's result. `more` are further constants, filed as attributes."""
        name = self._name(kind)
        keys = {role: self._file(name, role, constant) for role, constant in more.items()}
        self.walker.operators.append(
            Operator(
                name, kind, inputs, name, {**(attributes or {}), **keys},
                None if weight is None else self._file(name, "weight", weight),
                None if bias is None else self._file(name, "bias", bias),
            )
        )  # fmt: skip
        self.walker.shapes[name] = self.result_shape if shape is None else shape
        self.walker.values[self.node] = name
        return name

    def parameter(self, weight: Constant) -> str | None:
        """The weight's name in the module when it is a conv or linear layer's own parameter."""
        return weight.key if weight.key in self.walker.layer_weights else None

    def _name(self, kind: str) -> str:
        # A layer is called by its path; what a container's forward calls itself gets the kind as well.
        candidates = [self.path] if self.path and self._is_leaf() else []
        candidates.append(f"{self.path}.{kind}" if self.path else kind)
        name = next((c for c in candidates if c not in self.walker.names), None)
        count = 2
        while name is None:
            numbered = f"{candidates[-1]}_{count}"
            name = None if numbered in self.walker.names else numbered
            count += 1
        self.walker.names.add(name)
        return name

    def _is_leaf(self) -> bool:
        stack = list((self.node.meta.get("nn_module_stack") or {}).values())
        return str(stack[-1][1]).startswith("torch.nn.modules.") if stack else False

    def _file(self, name: str, role: str, constant: Constant) -> str:
        key = constant.key or f"{name}.{role}"
        # A computed tensor must not take the place of a parameter of the same name.
        while constant.key is None and key in self.walker.state:
            key += "_"
        if key not in self.walker.state:
            self.walker.state[key] = constant.tensor.detach().to("cpu", copy=True)
        return key


Translation = Callable[[Call], None]
TRANSLATIONS: dict[str, Translation] = {}
"""ATen operator ("aten.conv2d.default") -> its translation."""


def aten(*names: str) -> Callable[[Translation], Translation]:
    """Decorator: the function translates these ATen operators."""

    def file(translation: Translation) -> Translation:
        TRANSLATIONS.update({f"aten.{name}": translation for name in names})
        return translation

    return file


def pair(value: Any) -> tuple[int, int]:
    """ATen's one or two numbers for rows and columns, as two."""
    numbers = [value] if isinstance(value, int) else list(value)
    return (int(numbers[0]), int(numbers[-1]))


def four(value: Any) -> tuple[int, int, int, int]:
    """ATen's symmetric padding as (top, bottom, left, right)."""
    rows, columns = pair(value)
    return (rows, rows, columns, columns)


@aten("conv2d.default", "conv2d.padding", "convolution.default")
def _conv(call: Call) -> None:
    weight, bias = call.constant("weight"), call.constant("bias")
    if weight is None or weight.tensor.ndim != 4 or len(call.shape("input")) != 3:
        raise call.unsupported("only two-dimensional convolutions")
    if call.arguments.get("transposed"):
        raise call.unsupported("transposed convolutions")
    kernel, dilation = pair(weight.tensor.shape[2:]), pair(call["dilation"])
    padding = call["padding"]
    if padding == "valid":
        padding = (0, 0, 0, 0)
    elif padding == "same":
        # As torch does: the odd one goes below and to the right.
        totals = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        padding = (totals[0] // 2, totals[0] - totals[0] // 2, totals[1] // 2, totals[1] - totals[1] // 2)
    else:
        padding = four(padding)
    attributes = {
        "kernel": kernel, "stride": pair(call["stride"]), "padding": padding, "dilation": dilation, "groups": int(call["groups"]),
        "parameter": call.parameter(weight),
    }  # fmt: skip
    call.emit("conv", (call.tensor("input"),), attributes, weight, bias)


@aten("linear.default")
def _linear(call: Call) -> None:
    if len(call.shape("input")) != 1:
        raise call.unsupported(f"its input has shape {call.shape('input')}; flatten it first")
    weight = call.constant("weight")
    if weight is None:
        raise call.unsupported("without a weight")
    call.emit(
        "linear",
        (call.tensor("input"),),
        {"parameter": call.parameter(weight)},
        weight,
        call.constant("bias"),
    )


@aten("addmm.default", "mm.default", "matmul.default")
def _matmul(call: Call) -> None:
    names = {"addmm": ("mat1", "mat2"), "mm": ("self", "mat2"), "matmul": ("self", "other")}[call.operator]
    matrix = call.constant(names[1])
    bias = call.constant("self") if call.operator == "addmm" else None
    if matrix is None or len(call.shape(names[0])) != 1 or (bias is not None and bias.tensor.ndim != 1):
        raise call.unsupported("only vectors times a constant matrix")
    if (call.arguments.get("alpha", 1), call.arguments.get("beta", 1)) != (1, 1):
        raise call.unsupported("with alpha or beta")
    call.emit(
        "linear",
        (call.tensor(names[0]),),
        {"parameter": None},
        Constant(matrix.tensor.t().contiguous()),
        bias,
    )


@aten("batch_norm.default")
def _batch_norm(call: Call) -> None:
    mean, variance = call.constant("running_mean"), call.constant("running_var")
    if call["training"] or mean is None or variance is None:
        raise call.unsupported("it uses the batch's statistics (track_running_stats=False)")
    call.emit(
        "batch_norm", (call.tensor("input"),), {"epsilon": float(call["eps"])},
        call.constant("weight"), call.constant("bias"), mean=mean, variance=variance,
    )  # fmt: skip


@aten("relu.default", "relu_.default")
def _relu(call: Call) -> None:
    call.emit("relu", (call.tensor("self"),))


@aten("relu6.default", "relu6_.default")
def _relu6(call: Call) -> None:
    call.emit("relu6", (call.tensor("self"),))


@aten("hardtanh.default", "hardtanh_.default")
def _hardtanh(call: Call) -> None:
    _clip(call, call["min_val"], call["max_val"])


@aten("clamp.default", "clamp_.default", "clamp_min.default", "clamp_min_.default")
def _clamp(call: Call) -> None:
    _clip(call, call["min"], call.arguments.get("max"))


def _clip(call: Call, low: Any, high: Any) -> None:
    if low != 0 or high not in (None, 6):
        raise call.unsupported(f"limits {low}, {high}; known are 0, none (relu) and 0, 6 (relu6)")
    call.emit("relu" if high is None else "relu6", (call.tensor("self"),))


@aten("max_pool2d.default")
def _max_pool(call: Call) -> None:
    kernel = pair(call["kernel_size"])
    call.emit("max_pool", (call.tensor("self"),), {
        "kernel": kernel, "stride": pair(call["stride"] or kernel), "padding": four(call["padding"]),
        "dilation": pair(call["dilation"]), "ceil_mode": bool(call["ceil_mode"]),
    })  # fmt: skip


@aten("avg_pool2d.default")
def _avg_pool(call: Call) -> None:
    if call["divisor_override"] is not None:
        raise call.unsupported("with divisor_override")
    kernel = pair(call["kernel_size"])
    call.emit("avg_pool", (call.tensor("self"),), {
        "kernel": kernel, "stride": pair(call["stride"] or kernel), "padding": four(call["padding"]),
        "ceil_mode": bool(call["ceil_mode"]), "count_include_pad": bool(call["count_include_pad"]),
    })  # fmt: skip


@aten("adaptive_avg_pool2d.default")
def _adaptive_avg_pool(call: Call) -> None:
    if call.result_shape[1:] == (1, 1):
        call.emit("global_avg_pool", (call.tensor("self"),), {"keep": True})
    elif call.result_shape == call.shape("self"):
        call.alias("self", copy=True)
    else:
        call.emit("avg_pool", (call.tensor("self"),), {
            **_even_windows(call, call.result_shape), "ceil_mode": False, "count_include_pad": True,
        })  # fmt: skip


@aten("adaptive_max_pool2d.default")
def _adaptive_max_pool(call: Call) -> None:
    windows = _even_windows(call, call.result_shape)
    name = call.emit("max_pool", (call.tensor("self"),), {**windows, "dilation": (1, 1), "ceil_mode": False})
    call.walker.values[call.node] = (name, None)


def _even_windows(call: Call, result: tuple[int, ...]) -> dict[str, Any]:
    sizes = call.shape("self")[1:]
    if any(size % wanted for size, wanted in zip(sizes, result[1:], strict=True)):
        raise call.unsupported(f"{sizes} does not divide evenly into {result[1:]}")
    kernel = tuple(size // wanted for size, wanted in zip(sizes, result[1:], strict=True))
    return {"kernel": kernel, "stride": kernel, "padding": (0, 0, 0, 0)}


@aten("mean.dim")
def _mean(call: Call) -> None:
    rank = len(call.shape("self")) + 1
    axes = sorted(axis % rank for axis in (call["dim"] or range(rank)))
    if rank != 4 or axes != [2, 3]:
        raise call.unsupported("only the mean over rows and columns")
    call.emit("global_avg_pool", (call.tensor("self"),), {"keep": bool(call["keepdim"])})


@aten("add.Tensor", "add_.Tensor")
def _add(call: Call) -> None:
    if call["alpha"] != 1:
        raise call.unsupported("with alpha")
    if isinstance(call["other"], int | float) and call["other"] == 0:
        call.alias("self", copy=True)  # what Python's sum() begins with
        return
    if call.shape("self") != call.shape("other"):
        raise call.unsupported(f"shapes {call.shape('self')} and {call.shape('other')} differ")
    call.emit("add", (call.tensor("self"), call.tensor("other")))


@aten("cat.default", "concat.default", "concatenate.default")
def _concat(call: Call) -> None:
    inputs = tuple(call.tensor_of(node) for node in call["tensors"])
    axis = call["dim"] % (len(call.result_shape) + 1)
    if axis == 0:
        raise call.unsupported("along the batch axis")
    call.emit("concat", inputs, {"axis": axis - 1})


@aten(
    "flatten.using_ints", "view.default", "reshape.default", "_unsafe_view.default",
    "squeeze.default", "squeeze.dim", "squeeze.dims",
)  # fmt: skip
def _reshape(call: Call) -> None:
    given, made = call.shape("self"), call.result_shape
    if made == given:
        call.alias("self")
    elif made == (math.prod(given),):
        call.emit("flatten", (call.tensor("self"),))
        call.walker.storage[call.node] = call.walker.storage[call["self"]]
    else:
        raise call.unsupported(f"from {given} to {made}; only flattening to one axis")


@aten("dropout.default", "dropout_.default", "feature_dropout.default", "feature_dropout_.default", "alpha_dropout.default",
      "feature_alpha_dropout.default")  # fmt: skip
def _dropout(call: Call) -> None:
    if call["train"]:
        raise call.unsupported("it is active in evaluation mode")
    call.alias("input")


@aten("detach.default", "detach_.default", "contiguous.default", "alias.default")
def _same(call: Call) -> None:
    call.alias("self")


@aten("clone.default", "_to_copy.default", "to.dtype", "to.device", "to.dtype_layout")
def _copy(call: Call) -> None:
    if call.node.meta["val"].dtype != call.node.all_input_nodes[0].meta["val"].dtype:
        raise call.unsupported(f"conversion to {call.node.meta['val'].dtype}")
    call.alias("self", copy=True)


@aten("pad.default", "constant_pad_nd.default")
def _pad(call: Call) -> None:
    sizes = list(call["pad"]) + [0] * (4 - len(call["pad"]))
    value = call.arguments.get("value")
    constant = call.arguments.get("mode", "constant") == "constant" and value in (None, 0)
    if not constant or min(sizes) < 0 or any(sizes[4:]) or len(call.shape("self")) != 3:
        raise call.unsupported("only zeros around rows and columns")
    left, right, top, bottom = (int(size) for size in sizes[:4])
    call.emit("pad", (call.tensor("self"),), {"padding": (top, bottom, left, right)})
