"""Programs of torch.export, .pt2 files: a zip of JSON and raw weights. Neither torch.load nor pickle reads any of it.

The calls become a module whose convolutions, linear layers and batch norms are torch layers with the names of the file, so that
training and pruning can change them. Only calls that capture translates are accepted.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sparsemod.errors import InvalidInput, Unsupported
from sparsemod.graph.aten import TRANSLATIONS
from sparsemod.importing.reader import READERS, Imported, Reader
from sparsemod.importing.readers.exported_archive import Archive, size_of, tensors
from sparsemod.importing.source import MOST_OPERATORS, Source, checked_shape
from sparsemod.layouts import RANKS, Shape

_VIEWS = ("aten.view.default", "aten.reshape.default", "aten._unsafe_view.default", "aten.expand.default")
_SIZES = ("aten.sym_size.int",)
_NORMS = (
    "aten.batch_norm.default",
    "aten._native_batch_norm_legit_no_training.default",
    "aten.native_batch_norm.default",
)


_RECURRENT: Mapping[str, Any] = {"aten.gru.input": nn.GRU, "aten.lstm.input": nn.LSTM}
_ZEROS = ("aten.zeros.default",)
_PARTS = ("aten.expand_as.default",)
"""Calls that capture reads only as parts of others."""


@READERS.register("pt2")
class Pt2(Reader):
    """A program of torch.export."""

    suffixes = (".pt2",)

    def read(self, source: Source, shape: Shape | None = None) -> Imported:
        """See Reader."""
        archive = Archive(source)
        program = archive.json("models/model.json")
        graph, signature = program["graph_module"]["graph"], program["graph_module"]["signature"]
        weights, inputs = tensors(archive, signature)
        if len(inputs) != 1 or len(graph["outputs"]) != 1:
            raise Unsupported(
                f"{len(inputs)} inputs and {len(graph['outputs'])} outputs",
                "model",
                source.by,
                hint="one of each is needed",
            )
        sizes = [size_of(size) for size in graph["tensor_values"][inputs[0]]["sizes"]]
        given = checked_shape([s for s in sizes[1:] if isinstance(s, int)], source, "the input")
        if len(given) != len(sizes) - 1 or len(given) not in RANKS or min(given) < 1:
            raise InvalidInput(
                "input shape", sizes[1:], "samples (F,), (C, L) or (C, H, W) of fixed sizes", source.name
            )
        module = ExportedNetwork(graph, inputs[0], weights, source)
        return Imported(source.name.rpartition(".")[0], "torch.export program", given, module=module.eval())


class ExportedNetwork(nn.Module):
    """The module of a program; `forward` maps samples (N, *input shape) to outputs."""

    def __init__(
        self, graph: Any, given: str, weights: Mapping[str, tuple[str, Tensor]], source: Source
    ) -> None:
        super().__init__()
        self._source, self._values, self._given = source, graph["tensor_values"], given
        self._paths: dict[str, str] = {}
        self._zeros: set[str] = set()
        self._plan: list[tuple[str, Any, tuple[Any, ...], dict[str, Any], tuple[str, ...]]] = []
        refused: list[Unsupported] = []
        nodes = graph["nodes"]
        if len(nodes) > MOST_OPERATORS:
            raise source.broken(f"{len(nodes):,} operators, at most {MOST_OPERATORS:,}")
        known = {given, *weights}
        for node in nodes:
            outputs = _outputs(node)
            try:
                self._add(node, weights, outputs, known)
            except Unsupported as error:
                if error.where not in {one.where for one in refused}:
                    refused.append(error)
            known.update(outputs)
        if refused:
            raise refused[0].beside(refused[1:])
        self._output = str(graph["outputs"][0]["as_tensor"]["name"])
        if self._output not in known:
            raise source.broken(f"no operator computes the output {self._output!r}")
        for name in {
            n for _, _, args, kwargs, _ in self._plan for n in _references((args, kwargs)) if n in weights
        }:
            self._keep(*weights[name], name)

    def _add(
        self, node: Any, weights: Mapping[str, tuple[str, Tensor]], outputs: tuple[str, ...], known: set[str]
    ) -> None:
        target = str(node["target"]).removeprefix("torch.ops.")
        layer = str(node.get("metadata", {}).get("nn_module_stack", "")).rpartition(";")[2].split(",")
        title = (layer[1] if len(layer) > 1 and layer[1] else "") or str(node.get("name") or target)
        if target in _SIZES or target.startswith("_operator."):
            return
        if target in _ZEROS:
            self._zeros.update(outputs)
            return
        known_call = target in _RECURRENT or (target.startswith("aten.") and TRANSLATIONS.has(target))
        if not (known_call or target in (*_NORMS, *_PARTS)):
            raise Unsupported(target, title, self._source.by, place=_place(node))
        arguments = {
            str(one["name"]): self._argument(one["arg"], known, title, target) for one in node["inputs"]
        }
        positional = [str(one["name"]) for one in node["inputs"] if one.get("kind", 1) != 2]
        if target in _VIEWS:
            for name in ("size", "shape"):
                if name in arguments:
                    sizes = self._values[outputs[0]]["sizes"]
                    if any(not isinstance(size_of(size), int) for size in sizes[1:]):
                        raise Unsupported(
                            target,
                            title,
                            self._source.by,
                            hint="the batch must stay the first axis",
                            place=_place(node),
                        )
                    arguments[name] = [-1, *(size_of(size) for size in sizes[1:])]
        made: str | None
        if target in _RECURRENT:
            made = self._recurrent(target, arguments, weights, title)
        else:
            made = self._layer(target, arguments, weights)
            zeros = [name for name in _references(arguments) if name in self._zeros]
            if zeros:
                hint = "zeros other than the first state of a recurrent layer"
                raise Unsupported(_ZEROS[0], title, self._source.by, hint=hint, place=_place(node))
        if made is not None:
            self._plan.append((made, None, (arguments["input"],), {}, outputs))
            return
        operator, _, overload = target.removeprefix("aten.").partition(".")
        function = getattr(getattr(torch.ops.aten, operator), overload or "default")
        args = tuple(arguments[name] for name in positional)
        kwargs = {name: value for name, value in arguments.items() if name not in positional}
        self._plan.append(("", function, args, kwargs, outputs))

    def _argument(self, value: Any, known: set[str], title: str, target: str) -> Any:
        (kind, content), *_ = value.items()
        if kind == "as_tensor":
            if content["name"] not in known:
                raise self._source.broken(
                    f"it reads {content['name']!r}, which no earlier operator computes", title, target
                )
            return _Reference(str(content["name"]))
        if kind in ("as_tensors", "as_optional_tensors"):
            return [
                None if one.get("as_none") or "name" not in one.get("as_tensor", one)
                else _Reference(str(one.get("as_tensor", one)["name"]))
                for one in content
            ]  # fmt: skip
        if kind == "as_none":
            return None
        if kind in ("as_int", "as_ints", "as_float", "as_floats", "as_bool", "as_bools", "as_string"):
            return content
        if kind in ("as_sym_int", "as_sym_ints"):
            sizes = [one.get("as_int", -1) for one in (content if kind == "as_sym_ints" else [content])]
            return sizes if kind == "as_sym_ints" else sizes[0]
        if kind in ("as_scalar_type", "as_memory_format", "as_layout", "as_device"):
            return None
        raise Unsupported(f"{target} with an argument {kind}", title, self._source.by)

    def _layer(
        self, target: str, given: Mapping[str, Any], weights: Mapping[str, tuple[str, Tensor]]
    ) -> str | None:
        """Add the torch layer of a call and return its path; None for calls that stay functions."""
        weight = given.get("weight")
        if not isinstance(weight, _Reference) or weight.name not in weights:
            return None
        key, tensor = weights[weight.name]
        path, _, last = key.rpartition(".")
        if last != "weight" or not re.fullmatch(r"\w+(\.\w+)*", path):
            return None
        settings = repr(
            (target, {name: value for name, value in given.items() if not isinstance(value, _Reference)})
        )
        if path in self._paths:  # a layer that is called again
            return path if self._paths[path] == settings else None
        bias = given.get("bias")
        if isinstance(bias, _Reference) and weights.get(bias.name, (None, None))[0] != f"{path}.bias":
            return None
        biased = isinstance(bias, _Reference)
        made: nn.Module
        if target in ("aten.conv1d.default", "aten.conv2d.default"):
            groups = int(given.get("groups", 1))
            kind: Any = nn.Conv1d if "conv1d" in target else nn.Conv2d
            made = kind(
                tensor.shape[1] * groups, tensor.shape[0], tuple(tensor.shape[2:]), groups=groups, bias=biased,
                **{name: _tuple(given[name]) for name in ("stride", "padding", "dilation") if name in given},
            )  # fmt: skip
        elif target == "aten.linear.default":
            made = nn.Linear(tensor.shape[1], tensor.shape[0], bias=biased)
        elif target in _NORMS:
            statistics = [given.get(name) for name in ("running_mean", "running_var")]
            if not biased or not all(
                isinstance(one, _Reference) and one.name in weights for one in statistics
            ):
                return None
            rank = len(self._values[given["input"].name]["sizes"])
            made = (nn.BatchNorm2d if rank == 4 else nn.BatchNorm1d)(
                len(tensor), eps=float(given.get("eps", 1e-5))
            )
            for name, one in zip(("running_mean", "running_var"), statistics, strict=True):
                getattr(made, name).copy_(weights[str(getattr(one, "name", ""))][1])
        else:
            return None
        with torch.no_grad():
            made.weight.copy_(tensor)  # type: ignore[operator]
            if isinstance(bias, _Reference):
                made.bias.copy_(weights[bias.name][1])  # type: ignore[operator]
        self._place(path, made)
        self._paths[path] = settings
        return path

    def _recurrent(
        self, target: str, given: Mapping[str, Any], weights: Mapping[str, tuple[str, Tensor]], title: str
    ) -> str:
        """Add the layer of a GRU or LSTM whose first state is zero, and return its path."""
        states = given["hx"] if isinstance(given["hx"], list) else [given["hx"]]
        parameters = [weights.get(getattr(one, "name", "")) for one in given["params"]]
        layers, both = int(given["num_layers"]), bool(given["bidirectional"])
        each = 4 if given["has_biases"] else 2
        if not all(isinstance(one, _Reference) and one.name in self._zeros for one in states):
            raise Unsupported(target, title, self._source.by, hint="a first state that is not zero")
        tensors = [one[1] for one in parameters if one is not None]
        if (
            len(tensors) != len(parameters)
            or len(tensors) != each * layers * (1 + both)
            or not 1 <= layers <= 64
        ):
            raise self._source.broken(f"{len(parameters)} weights of {layers} layers", title, target)
        path = str(parameters[0][0]).rpartition(".")[0] or "recurrent"  # type: ignore[index]
        if path in self._paths:
            raise Unsupported(target, title, self._source.by, hint="a recurrent layer that is called twice")
        first, hidden = tensors[0], tensors[1]
        if first.ndim != 2 or hidden.ndim != 2:
            raise self._source.broken(f"weights of shape {tuple(first.shape)}", title, target)
        made = _RECURRENT[target](
            first.shape[1], hidden.shape[1], layers, bias=bool(given["has_biases"]), bidirectional=both,
            batch_first=bool(given["batch_first"]),
        )  # fmt: skip
        for (name, own), tensor in zip(made.named_parameters(), tensors, strict=True):
            if own.shape != tensor.shape:
                raise self._source.broken(
                    f"{name} of shape {tuple(tensor.shape)}, not {tuple(own.shape)}", title, target
                )
            with torch.no_grad():
                own.copy_(tensor)
        self._place(path, made)
        self._paths[path] = target
        return path

    def _place(self, path: str, made: nn.Module) -> None:
        """Put a layer at its path, in containers that exist for the names alone."""
        owner: nn.Module = self
        *outer, last = path.split(".")
        for name in outer:
            if name not in owner._modules:
                owner.add_module(name, nn.Module())
            owner = owner._modules[name]  # type: ignore[assignment]
        owner.add_module(last, made)

    def _keep(self, key: str, tensor: Tensor, name: str) -> None:
        """Register a tensor that a call reads directly."""
        made = _attribute(name)
        if isinstance(tensor, nn.Parameter):
            self.register_parameter(made, tensor)
        else:
            self.register_buffer(made, tensor, persistent=tensor.is_floating_point())

    def forward(self, x: Tensor) -> Tensor:
        """Run the calls in the order of the file."""
        values: dict[str, Any] = {self._given: x}
        for path, function, args, kwargs, outputs in self._plan:
            found = [_filled(one, values, self) for one in args]
            result = (
                self.get_submodule(path)(*found)
                if path
                else function(*found, **{name: _filled(one, values, self) for name, one in kwargs.items()})
            )
            values.update(zip(outputs, _flat(result), strict=False))
        made: Tensor = values[self._output]
        return made


class _Reference:
    """A tensor of the program by name."""

    def __init__(self, name: str) -> None:
        self.name = name


def _filled(value: Any, values: Mapping[str, Any], module: nn.Module) -> Any:
    if isinstance(value, _Reference):
        if value.name in values:
            return values[value.name]
        return getattr(module, _attribute(value.name))
    if isinstance(value, list):
        return [_filled(one, values, module) for one in value]
    return value


def _attribute(name: str) -> str:
    return "tensor_" + re.sub(r"[^0-9A-Za-z]", "_", name)


def _references(value: Any) -> list[str]:
    if isinstance(value, _Reference):
        return [value.name]
    if isinstance(value, dict):
        return [name for one in value.values() for name in _references(one)]
    return [name for one in value for name in _references(one)] if isinstance(value, list | tuple) else []


def _flat(result: Any) -> list[Any]:
    """Return the results of a call, also those of an LSTM: (steps, (state, cell))."""
    if isinstance(result, tuple | list):
        return [each for one in result for each in _flat(one)]
    return [result]


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _outputs(node: Any) -> tuple[str, ...]:
    names: list[str] = []
    for output in node["outputs"]:
        (kind, content), *_ = output.items()
        if kind == "as_tensors":
            names += [str(one["name"]) for one in content]
        elif isinstance(content, dict):
            names.append(str(content.get("name", content.get("as_name", ""))))
    return tuple(names)


def _place(node: Any) -> str:
    """Return file and line of the call, as the file states them."""
    found = re.findall(r'File "([^"]+)", line (\d+)', str(node.get("metadata", {}).get("stack_trace", "")))
    outside = [one for one in found if "site-packages/torch" not in one[0]]
    return f"{outside[-1][0].rpartition('/')[2]}, line {outside[-1][1]}" if outside else ""
