"""The streaming form of a network on sequences: one step at a time, with the state of its layers in between.

A tensor with a place for each step becomes one step of it. A layer can stream when a step of its output depends on this step and the
ones before it:

- features of frames read a buffer of the samples of a window; then a step of the input has as many samples as frames have between them;
- layers on each step alone run on one step; views are no code;
- a causal convolution (stride 1, padded before the first step alone) reads a buffer of the steps that its kernel spans;
- a recurrent layer keeps its state;
- the last step, and a mean over steps, are computed anew after each step.

After step n the output is that of the window form for a sequence of n valid steps. The mean of a network without lengths is that of
all steps of the window: it holds after the last one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sparsemod.arena.recurrent_memory import UNIT_BYTES
from sparsemod.arena.signal_memory import with_spectrum
from sparsemod.errors import Unsupported
from sparsemod.export.c.arena import node
from sparsemod.export.c.layers import Context, Emitted, emit
from sparsemod.layouts import Shape, Tensors
from sparsemod.quantization.integer_network import IntegerNetwork
from sparsemod.quantization.layers import Concat, Conv, GlobalAvgPool, Layer
from sparsemod.quantization.layers.movements import Move
from sparsemod.quantization.layers.recurrent import LastStep, MeanSteps, Recurrent
from sparsemod.quantization.layers.signals import BandEnergies, Framed
from sparsemod.quantization.tensor import TensorInfo

STAGE = "the streaming form"


@dataclass(frozen=True)
class StepNetwork:
    """The tensors of one step, as the emitters read them."""

    tensors: Mapping[str, TensorInfo]

    @property
    def named(self) -> Tensors:
        """Return the shapes and layouts of the tensors."""
        layouts = {name: tensor.layout for name, tensor in self.tensors.items() if tensor.layout is not None}
        return Tensors({name: tensor.shape for name, tensor in self.tensors.items()}, layouts)


@dataclass(frozen=True)
class _NoOrder:
    """No vector of a step holds its elements in another order."""

    order_of: Mapping[str, Shape] = field(default_factory=dict)


@dataclass(frozen=True)
class StepLayer:
    """A layer of the streaming form: its `name`, its `code`, and the statements that run it."""

    name: str
    code: Emitted
    calls: tuple[str, ...]


@dataclass(frozen=True)
class Streaming:
    """The streaming form: its layers, the bytes of a sample and of all state, the statements of the reset, and the tensors' places."""

    layers: tuple[StepLayer, ...]
    sample: int
    state: int
    reset: tuple[str, ...]
    output: str
    counts: bool
    whole: bool = False
    """Whether the output holds only after all steps of the window."""


def streaming(
    network: IntegerNetwork, model: str, identifiers: Mapping[str, str], encodings: Mapping[str, str]
) -> Streaming:
    """Return the streaming form of a network. `identifiers`: layer -> the prefix of its constants in the window form.

    Raises Unsupported, with the first layer that cannot stream, or for an input that is no sequence.
    """
    return _Builder(network, model, identifiers, encodings).built()


class _Builder:
    def __init__(
        self,
        network: IntegerNetwork,
        model: str,
        identifiers: Mapping[str, str],
        encodings: Mapping[str, str],
    ) -> None:
        self.network, self.model, self.identifiers, self.encodings = network, model, identifiers, encodings
        self.hop = _hop(network)
        self.steps = network.steps // self.hop
        self.timed: set[str] = set()
        self.tensors = dict(network.tensors)
        self.places: dict[str, str] = {network.input: "sample"}
        self.layers: list[StepLayer] = []
        self.reset: list[str] = []
        self.size = 0
        self.counts = self.whole = False

    def built(self) -> Streaming:
        source = self.network.tensors[self.network.input]
        if self.network.several:
            raise Unsupported("input", self.network.input, STAGE, hint="it has several inputs or outputs")
        if len(source.axes.positions) != 1:
            raise Unsupported("input", self.network.input, STAGE, hint="its samples are no sequences")
        self.mark(self.network.input, self.hop)
        for layer in self.network.layers:
            if layer.name in self.identifiers or layer.traits.view:
                self.visit(layer)
        if self.network.output in self.timed:
            raise Unsupported(
                "output", self.network.output, STAGE, hint="it has a value for each step of the window"
            )
        if not self.size:
            raise Unsupported(
                "output", self.network.output, STAGE, hint="it depends on no step but the last one"
            )
        return Streaming(
            tuple(self.layers), self.network.named.image(self.network.input)[0] * self.hop, self.size, tuple(self.reset),
            self.places[self.network.output], self.counts, self.whole,
        )  # fmt: skip

    def mark(self, name: str, steps: int = 1) -> None:
        """Make a tensor one step of it, or of samples a few."""
        tensor = self.network.tensors[name]
        place = tensor.axes.positions[0]
        shape = tuple(steps if axis == place else size for axis, size in enumerate(tensor.shape))
        self.timed.add(name)
        self.tensors[name] = replace(tensor, shape=shape)

    def room(self, size: int) -> str:
        """Return the place of `size` more bytes of state, a whole number of words."""
        place = f"state.bytes + {self.size}" if self.size else "state.bytes"
        self.size += (size + 3) // 4 * 4
        return place

    def visit(self, layer: Layer) -> None:
        timed = [name in self.timed for name in layer.inputs]
        if not any(timed):
            self.plain(layer)
        elif not all(timed):
            raise self.refused(layer, "it reads single steps together with the whole window")
        elif layer.traits.same_image:
            self.mark(layer.output, self.hop if self.tensors[layer.output].bits == 16 else 1)
            self.places[layer.output] = self.places[layer.inputs[0]]
        elif isinstance(layer, Framed):
            self.frame(layer)
        elif isinstance(layer, Recurrent):
            self.recurrent(layer)
        elif isinstance(layer, Conv):
            self.convolution(layer)
        elif isinstance(layer, LastStep) or (isinstance(layer, Move) and self.is_last(layer)):
            self.places[layer.output] = self.places[layer.inputs[0]]
        elif isinstance(layer, MeanSteps | GlobalAvgPool):
            self.mean(layer)
        elif self.on_each_step(layer):
            self.mark(layer.output)
            self.emitted(layer)
        else:
            raise self.refused(layer, "it reads several steps of the window")

    def refused(self, layer: Layer, hint: str) -> Unsupported:
        return Unsupported(layer.kind, layer.name, STAGE, hint=hint)

    def plain(self, layer: Layer) -> None:
        """Run a layer that reads no steps as in the window form."""
        named = self.network.named
        if layer.traits.view:
            if named.moves(layer.inputs[0]) or named.moves(layer.output):
                raise self.refused(layer, "it moves bytes between steps")
            self.places[layer.output] = self.places[layer.inputs[0]]
            return
        self.emitted(layer)

    def on_each_step(self, layer: Layer) -> bool:
        """Whether a layer computes each step of its output from the same step of its inputs."""
        if isinstance(layer, Concat):
            return layer.axis == self.network.named.layout(layer.output).channel
        return (layer.traits.elementwise or layer.kind in ON_EACH_STEP) and all(
            self.network.named.image(name)[2] == self.steps_of(layer) for name in layer.inputs
        )

    def steps_of(self, layer: Layer) -> int:
        return self.network.named.image(layer.output)[2]

    def is_last(self, layer: Move) -> bool:
        """Whether a copy takes the last step of its input."""
        steps, features = self.network.tensors[layer.inputs[0]].shape
        axes = self.network.named.layout(layer.inputs[0])
        return (
            axes.channel == 1
            and (tuple(layer.sizes), tuple(layer.strides), layer.offset) == ((features,), (1,), (steps - 1) * features)
        )  # fmt: skip

    def frame(self, layer: Framed) -> None:
        """Make the features of the frame that ends with the step's samples, which a buffer of a window holds."""
        source, window = layer.inputs[0], layer.window_size
        width = 2 * self.network.named.image(source)[0]
        history, calls = f"{source} of {window}", list[str]()
        if history not in self.places:
            place = self.room(width * window)
            self.reset.append(f"memset({place}, 0, {width * window});")
            self.places[history] = f"(const int16_t *)(const void *)({place})"
            new, left = min(window, self.hop), max(0, self.hop - window) * width // 2
            samples = f"{self.places[source]} + {left}" if left else self.places[source]
            calls.append(
                f"nn_push({place}, {(window - new) * width}, {new * width}, (const int8_t *)({samples}));"
            )
        self.tensors[history] = replace(self.tensors[source], shape=(width // 2, window), layout=None)
        self.mark(layer.output)
        alone = replace(layer, inputs=(history,), hop=window)
        code = self.code(alone)
        size = (
            with_spectrum(node(layer), self.network.named).scratch if isinstance(layer, BandEnergies) else 0
        )
        scratch = self.room(size) if size else ""
        self.append(alone, code, [*calls, *code.calls], {"scratch": scratch})

    def recurrent(self, layer: Recurrent) -> None:
        if layer.reverse:
            raise self.refused(layer, "it reads the sequence from its end")
        state = self.room(UNIT_BYTES * layer.units)
        self.reset.append(f"memset({state}, 0, {UNIT_BYTES * layer.units});")
        if not layer.last:
            self.mark(layer.output)
        code = self.code(replace(layer, steps=1, lengths=0, last=True))
        call = code.calls[1]
        self.append(layer, code, [call], {"scratch": state})

    def convolution(self, layer: Conv) -> None:
        kernel, gap = layer.window.kernel[1], layer.dilation[1]
        span, source = gap * (kernel - 1) + 1, layer.inputs[0]
        if layer.stride != (1, 1) or layer.padding != (0, 0, span - 1, 0):
            raise self.refused(layer, "it is not causal: stride 1, and padded before the first step alone")
        channels = self.network.named.image(source)[0]
        self.mark(layer.output)
        if span == 1:
            self.emitted(layer)
            return
        history = f"{layer.name} history"
        place = self.room(span * channels)
        zero = self.network.tensors[source].zero_point
        self.reset.append(f"memset({place}, {zero}, {span * channels});")
        self.tensors[history] = replace(self.tensors[source], shape=(channels, span), layout=None)
        self.places[history] = place
        push = f"nn_push({place}, {(span - 1) * channels}, {channels}, {self.places[source]});"
        alone = replace(layer, inputs=(history,), padding=(0, 0, 0, 0))
        code = self.code(alone)
        scratch = self.room(kernel * channels // layer.groups) if "{scratch}" in code.calls[0] else ""
        self.append(alone, code, [push, *code.calls], {"scratch": scratch})

    def mean(self, layer: MeanSteps | GlobalAvgPool) -> None:
        source = layer.inputs[0]
        features = self.network.named.image(source)[0]
        sums = self.room(4 * features)
        zero = self.network.tensors[source].zero_point
        self.reset.append(f"memset({sums}, 0, {4 * features});")
        calls = [f"nn_add_step({features}, {zero}, {self.places[source]}, {sums});"]
        if isinstance(layer, MeanSteps):
            if layer.lengths != self.hop:
                raise self.refused(layer, "its steps are not those of the input")
            self.counts = True
            calls.append(f"nn_mean_of_sums({features}, steps, {zero}, {sums}, {{out}});")
        else:
            if self.network.named.image(source)[2] != self.steps:
                raise self.refused(layer, "its steps are not those of the input")
            self.whole = True
            shift = 0 if layer.multiplier == 0 else -2 - layer.shift
            zero_out = self.network.tensors[layer.output].zero_point
            calls.append(
                f"nn_scaled_sums({features}, {layer.multiplier}, {shift}, {zero_out}, {sums}, {{out}});"
            )
        self.append(layer, Emitted(calls, ("nn_requantized_any",), "mean over the steps so far"), calls, {})

    def code(self, layer: Layer) -> Emitted:
        """Return the C code of a layer on one step; its arrays are those of the window form."""
        window = self.identifiers[layer.name]
        index, _, words = window.removeprefix(f"{self.model}__").partition("_")
        network: Any = StepNetwork(self.tensors)
        layout: Any = _NoOrder()
        context = Context(
            network,
            layout,
            f"{self.model}__s{index}_{words}",
            self.encodings,
            window,
        )
        return emit(context, layer)

    def emitted(self, layer: Layer) -> None:
        code = self.code(layer)
        if any("{scratch}" in call for call in code.calls):
            raise self.refused(layer, "its kernel needs memory")
        self.append(layer, code, code.calls, {})

    def append(self, layer: Layer, code: Emitted, calls: list[str], holes: Mapping[str, str]) -> None:
        """Add a layer, with a place for its output; the network's output is the caller's."""
        size = self.tensors[layer.output].elements
        self.places[layer.output] = "output" if layer.output == self.network.output else self.room(size)
        found = {f"in{i}": self.places[name] for i, name in enumerate(layer.inputs)}
        filled = tuple(call.format(**found, out=self.places[layer.output], **holes) for call in calls)
        self.layers.append(StepLayer(layer.name, code, filled))


def _hop(network: IntegerNetwork) -> int:
    """Return the samples of one step: those between frames, 1 for a network without frames."""
    framed = [layer for layer in network.layers if isinstance(layer, Framed)]
    for layer in framed:
        if layer.hop != framed[0].hop:
            raise Unsupported(
                layer.kind, layer.name, STAGE, hint="its frames are not those of the layer before it"
            )
    return framed[0].hop if framed else 1


ON_EACH_STEP = frozenset(
    {"sum", "subtract", "multiply", "maximum", "minimum", "prelu", "softmax", "l2_normalize"}
)
"""Kinds that are not elementwise in the sense of their trait, but read no other step where their inputs have as many steps."""
