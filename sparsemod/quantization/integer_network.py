"""The integer network: int8 tensors and layers in execution order. Accuracy, size and every exporter derive from it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sparsemod.arena import Fused
from sparsemod.decoding import Decoding
from sparsemod.errors import InvalidInput
from sparsemod.kinds.encodings import ENCODINGS
from sparsemod.layouts import Shape, TensorLayout, Tensors
from sparsemod.quantization.answers import answers
from sparsemod.quantization.arithmetic import (
    Float32,
    Int8,
    dequantize_values,
)
from sparsemod.quantization.integer_file import content, fields_of
from sparsemod.quantization.interpreter import run
from sparsemod.quantization.layers import Layer, Weighted
from sparsemod.quantization.network import Evaluation, LayerInfo, best, by_name, checked_lengths, sized
from sparsemod.quantization.raw_samples import InputNormalization
from sparsemod.quantization.tensor import TensorInfo


@dataclass(frozen=True, eq=False)
class IntegerNetwork(Evaluation):
    """An integer network: `tensors` by name, and `layers` in execution order.

    Each layer reads only tensors that exist before it runs. A network with several inputs has `other_inputs`, whose tensors have the
    inputs' names; one with several outputs has `other_outputs`, and in `output_names` the names of all outputs. `run_named` takes and
    returns arrays by these names; the methods with one array are for networks with one input and one output.

    `normalization` converts raw samples to the network's real inputs, when known. `classes` holds the names of the
    classes, labels or values in the order of the outputs; () when the names are unknown. `encodings`: layer -> encoding
    of its weights on the device ("dense", "mask" or "gaps"), when already chosen. `core`: the core for which the C code has kernels
    of its own; "" when not chosen. `decoding`: what the outputs mean;
    None: a vector of outputs are the scores of classes.

    Raises InvalidInput at construction when shapes, names or scales do not fit, or when a 32-bit accumulator could
    overflow.
    """

    title: ClassVar[str] = "integer network"
    input: str
    output: str
    tensors: Mapping[str, TensorInfo]
    layers: tuple[Layer, ...]
    normalization: InputNormalization | None = None
    classes: tuple[str, ...] = ()
    encodings: Mapping[str, str] = field(default_factory=dict)
    decoding: Decoding | None = None
    other_inputs: tuple[str, ...] = ()
    other_outputs: tuple[str, ...] = ()
    output_names: tuple[str, ...] = ()
    core: str = ""
    fused: tuple[Fused, ...] = ()

    def __post_init__(self) -> None:
        available = set(self.inputs)
        if len(available) != 1 + len(self.other_inputs):
            raise InvalidInput("inputs", self.inputs, "different tensors")
        tensors = (self.output, *self.other_outputs)
        names = len(set(self.output_names or ("output",)))
        if len(set(tensors)) != len(tensors) or names != len(tensors):
            raise InvalidInput("outputs", (tensors, self.output_names), "different tensors, each with a name")
        for layer in self.layers:
            missing = [name for name in layer.inputs if name not in available]
            if missing or layer.output in available:
                raise InvalidInput(
                    f"layer {layer.name!r}",
                    (layer.inputs, layer.output),
                    "inputs that earlier layers compute, and one new output",
                )
            available.add(layer.output)
        if available != set(self.tensors) or not available.issuperset(tensors):
            raise InvalidInput(
                "tensors", sorted(self.tensors), f"exactly the layers' tensors: {sorted(available)}"
            )
        for layer in self.layers:
            self._check(layer)
        channels, outputs = self.named.image(self.input)[0], self.tensors[self.output].shape[0]
        if self.several and any(tensor.bits != 8 for tensor in self.tensors.values()):
            allowed = "int8 tensors in a network with several inputs or outputs"
            raise InvalidInput("tensors", sorted(self.named.wide), allowed)
        if self.several and (self.normalization is not None or self.classes):
            allowed = "none for a network with several inputs or outputs"
            raise InvalidInput("normalization, classes", (self.normalization, self.classes), allowed)
        if self.normalization is not None and len(self.normalization.offset) != channels:
            raise InvalidInput(
                "normalization", len(self.normalization.offset), f"constants for each of {channels} channels"
            )
        weighted = {layer.name for layer in self.weighted()}
        for name, encoding in self.encodings.items():
            if name not in weighted or encoding not in ENCODINGS:
                raise InvalidInput(
                    f"encodings.{name}", encoding, f"a layer with weights, one of {', '.join(ENCODINGS)}"
                )
        names_of = [layer.name for layer in self.layers]
        for fused in self.fused:
            missing = [name for name in fused.layers if name not in names_of]
            if missing or len(fused.layers) < 2 or fused.rows < 1:
                raise InvalidInput(
                    "fused",
                    (fused.layers, fused.rows),
                    "two or more layers of the network, and at least one row",
                )
        if self.classes and len(self.classes) != outputs:
            raise InvalidInput("classes", self.classes, f"a name for each of {outputs} outputs")

        decoding, size = self.decoding, math.prod(self.tensors[self.output].shape)
        if decoding is not None and decoding.targets == "values" and len(decoding.scale) != size:
            raise InvalidInput("decoding.scale", len(decoding.scale), f"a scale for each of {size} outputs")
        if decoding is not None and decoding.targets == "normal" and size != math.prod(self.input_shape):
            raise InvalidInput(
                "decoding.targets",
                "normal",
                f"as many outputs as inputs: {math.prod(self.input_shape)}, not {size}",
            )

    def _check(self, layer: Layer) -> None:
        shape, output = (
            layer.shape(tuple(self.tensors[n].shape for n in layer.inputs)),
            self.tensors[layer.output],
        )
        if layer.traits.same_image and self.named.image(layer.inputs[0]) != self.named.image(layer.output):
            raise InvalidInput(f"layer {layer.name!r}.output", output, "the other layout of a sequence")
        input_layouts = [self.named.layout(name) for name in layer.inputs]
        output_layout = self.named.layout(layer.output)
        if not (layer.traits.view or layer.traits.any_layout) and any(
            layout.rank == output_layout.rank and layout != output_layout for layout in input_layouts
        ):
            raise InvalidInput(f"layer {layer.name!r}.output", output_layout.name, "the layout of its inputs")
        if shape != output.shape:
            raise InvalidInput(f"layer {layer.name!r}.output", output.shape, f"shape {shape}")
        source = self.tensors[layer.inputs[0]]
        widths = {self.tensors[name].bits for name in layer.inputs}
        same = output.bits == source.bits if layer.traits.view else output.bits == 8
        if (
            widths != {source.bits}
            or not same
            or (not layer.traits.view and layer.traits.reads_wide != (source.bits == 16))
        ):
            allowed = "int16 samples where the layer reads them, else int8 tensors"
            raise InvalidInput(f"layer {layer.name!r}.inputs", sorted(widths), allowed)
        if layer.traits.positions and self.named.layout(layer.inputs[0]).channel != 0:
            raise InvalidInput(f"layer {layer.name!r}.inputs", source, "a layout whose channels come first")
        if layer.traits.keeps_scale and (source.scale, source.zero_point) != (
            output.scale,
            output.zero_point,
        ):
            raise InvalidInput(
                f"layer {layer.name!r}.output", output, f"scale and zero point of its input: {source}"
            )
        if isinstance(layer, Weighted):
            results = layer.sums() * layer.multiplier.astype(np.float64) * np.exp2(layer.shift - 31.0)
            if results.max() >= 2**31 - 512:
                raise InvalidInput(
                    f"layer {layer.name!r}.multiplier", float(results.max()), "results that fit in 32 bits"
                )

    def weighted(self) -> tuple[Weighted, ...]:
        """Return the layers with weights, in execution order."""
        return tuple(layer for layer in self.layers if isinstance(layer, Weighted))

    @cached_property
    def named(self) -> Tensors:
        """Return the shapes and layouts of the network's tensors."""
        layouts = {name: tensor.layout for name, tensor in self.tensors.items() if tensor.layout is not None}
        wide = frozenset(name for name, tensor in self.tensors.items() if tensor.bits == 16)
        return Tensors({name: tensor.shape for name, tensor in self.tensors.items()}, layouts, wide)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Return the tensors of all inputs, in order; their names are the inputs' names."""
        return self.input, *self.other_inputs

    @property
    def outputs(self) -> dict[str, str]:
        """Return the tensors of all outputs by the outputs' names, in order."""
        tensors = self.output, *self.other_outputs
        return dict(zip(self.output_names or ("output",), tensors, strict=True))

    @property
    def several(self) -> bool:
        """Whether the network has several inputs or outputs."""
        return bool(self.other_inputs or self.other_outputs)

    def _single(self, method: str) -> None:
        """Raise InvalidInput when the network has several inputs or outputs."""
        if self.several:
            names = f"inputs {', '.join(self.inputs)}, outputs {', '.join(self.outputs)}"
            raise InvalidInput(
                "network", names, f"one input and one output; instead of {method} use {method}_named"
            )

    @property
    def input_shape(self) -> Shape:
        """Shape of one sample, of the first input."""
        return self.tensors[self.input].shape

    @property
    def input_layout(self) -> TensorLayout:
        """The layout of a sample, of the first input."""
        return self.tensors[self.input].axes

    @property
    def output_shape(self) -> Shape:
        """Shape of the first output of one sample."""
        return self.tensors[self.output].shape

    def quantize_named(self, samples: Mapping[str, Any]) -> dict[str, Int8]:
        """Quantize float samples (N, *input shape) of every input, by name, to int8."""
        quantized = {}
        for name, values in by_name(samples, self.inputs).items():
            info = self.tensors[name]
            quantized[name] = info.quantize(sized(values, info.shape))
        return quantized

    def run_named(self, inputs: Mapping[str, Int8], lengths: Any = None) -> dict[str, Int8]:
        """Compute int8 outputs (N, *output shape) by name from int8 inputs (N, *input shape) by name, in integer arithmetic alone.

        `lengths`: see `run`."""
        given = by_name(inputs, self.inputs)
        for name, values in given.items():
            kind = self.tensors[name].dtype
            if values.dtype != kind:
                allowed = f"{np.dtype(kind)}; `quantize_named` takes floats"
                raise InvalidInput(f"inputs.{name}", str(values.dtype), allowed)
            sized(values, self.tensors[name].shape)
        if len({len(values) for values in given.values()}) != 1:
            counts = {name: len(values) for name, values in given.items()}
            raise InvalidInput("inputs", counts, "the same number of samples of each")
        count = len(next(iter(given.values())))
        return run(self, given, self.checked_lengths(count, lengths))

    def logits_named(self, samples: Mapping[str, Any]) -> dict[str, Float32]:
        """Return the real outputs (N, *output shape) by name of float samples of every input by name."""
        outputs = self.run_named(self.quantize_named(samples))
        infos = {name: self.tensors[tensor] for name, tensor in self.outputs.items()}
        return {
            name: dequantize_values(values, infos[name].scale, infos[name].zero_point)
            for name, values in outputs.items()
        }

    @property
    def uses_lengths(self) -> bool:
        """Whether a layer reads the number of valid steps of each sample."""
        return any(layer.attributes.get("lengths") for layer in self.layers)

    @property
    def steps(self) -> int:
        """The steps of a sample, when it is a sequence."""
        return self.named.image(self.input)[2]

    def quantize_input(self, images: Any) -> Int8:
        """Quantize float images (N, *input shape) to the network's int8 input: round half to even, clamp."""
        self._single("quantize")
        info = self.tensors[self.input]
        return info.quantize(sized(images, self.input_shape))

    def quantize_samples(self, raw: Any) -> Int8:
        """Normalize raw samples (N, *input shape), if the network has a normalization, and quantize them to its int8 input."""
        if self.normalization is None:
            return self.quantize_input(raw)
        return self.quantize_input(self.normalization.apply(sized(raw, self.input_shape)))

    def run(self, images: Int8, lengths: Any = None) -> Int8:
        """Compute int8 outputs (N, *output shape) from int8 inputs (N, *input shape), in integer arithmetic alone.

        `lengths` (N,): the valid steps of each sample, for a network that uses them; without it every step is valid.
        """
        self._single("run")
        kind = self.tensors[self.input].dtype
        if images.dtype != kind:
            allowed = f"{np.dtype(kind)}; `logits` and `predict` take floats"
            raise InvalidInput("images", str(images.dtype), allowed)
        return self.run_named({self.input: sized(images, self.input_shape)}, lengths)["output"]

    def checked_lengths(self, count: int, lengths: Any = None) -> NDArray[np.int64] | None:
        """Return `lengths` (N,) as int64, the number of all steps without it; None for a network that does not use lengths.

        Raises InvalidInput unless they are `count` whole numbers from 1 to the number of steps."""
        if not self.uses_lengths:
            return None
        return checked_lengths(count, self.steps, lengths)

    def logits(self, images: Any, lengths: Any = None) -> Float32:
        """Return the real outputs (N, classes) of float images: the dequantized int8 outputs. `lengths`: see `run`."""
        self._single("logits")
        info = self.tensors[self.output]
        outputs = self.run(self.quantize_input(images), lengths)
        return dequantize_values(outputs, info.scale, info.zero_point)

    def seen(self, images: Any) -> Float32:
        """See Quantized."""
        info = self.tensors[self.input]
        return dequantize_values(self.quantize_input(images), info.scale, info.zero_point)

    @property
    def kind(self) -> str:
        """What the outputs are, as `Decoding.targets` says; "" for outputs that are nothing of that."""
        if self.several:
            return ""
        shape = self.tensors[self.output].shape
        vector = len(shape) == 1 and shape[0] > 1
        kind = "classes" if self.decoding is None else self.decoding.targets
        return "" if kind == "classes" and not vector else kind

    def answers(self, inputs: Int8, outputs: Int8) -> NDArray[Any]:
        """Return what the C code makes of int8 outputs (N, *output shape) for int8 inputs (N, *input shape), bit for bit.

        Classes int64 (N,), or (N, H, W) of a map; labels uint8 (N, K), 1 where a label holds; values float32 (N, K) in
        the targets' units; scores float32 (N,). A network without `decoding` gives classes.
        """
        return answers(self.decoding, self.tensors[self.input], self.tensors[self.output], inputs, outputs)

    def predict(self, images: Any, lengths: Any = None) -> NDArray[np.int64]:
        """Return the class of each float image (N,): the index of the largest int8 output, the first of equal ones."""
        return best(self.run(self.quantize_input(images), lengths))

    def layers_info(self) -> tuple[LayerInfo, ...]:
        """Return each layer in execution order; int8 weights, int32 biases."""
        return tuple(self._info(layer) for layer in self.layers)

    def _info(self, layer: Layer) -> LayerInfo:
        output = self.tensors[layer.output].shape
        weight = layer.weight if isinstance(layer, Weighted) else np.zeros(0, np.int8)
        return LayerInfo(
            name=layer.name,
            kind=layer.kind,
            input_shapes=tuple(self.tensors[n].shape for n in layer.inputs),
            output_shape=output,
            macs=layer.macs(output),
            weights=weight.size,
            nonzeros=int(np.count_nonzero(weight)),
            weight_bytes=weight.size,
            bias_bytes=4 * layer.constants if isinstance(layer, Weighted) else 0,
        )

    def to_bytes(self) -> bytes:
        """Return the file content that `from_bytes` reads; equal networks give equal bytes."""
        return content({each.name: getattr(self, each.name) for each in fields(self)})

    @classmethod
    def from_bytes(cls, data: bytes) -> "IntegerNetwork":
        """Return the network whose `to_bytes` returned `data`.

        Raises InvalidInput for other data, Unsupported for a layer whose kind is not registered here.
        """
        return cls(**fields_of(data))

    @classmethod
    def load(cls, path: Path | str) -> "IntegerNetwork":
        """Read a file written by `save`."""
        return cls.from_bytes(Path(path).read_bytes())
