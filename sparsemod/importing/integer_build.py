"""An integer network under construction from the steps of an int8 model."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from sparsemod.errors import Unsupported
from sparsemod.graph.functions import X, evaluate, title
from sparsemod.importing.steps import Scale, Step, Steps
from sparsemod.importing.views import moved
from sparsemod.layouts import RANKS, Shape
from sparsemod.patterns import OUTSIDE, by_axis, pattern_of
from sparsemod.quantization.arithmetic import INT8_MAX, INT8_MIN, quantize_values
from sparsemod.quantization.layers import Flatten, Layer, Reshape
from sparsemod.quantization.layers.functions import Table
from sparsemod.quantization.layers.movements import Move, Take
from sparsemod.quantization.tensor import TensorInfo

BY = "reading an int8 model"
Moved = tuple[str, torch.Tensor, str]
"""A tensor, the numbers of its elements (1, *shape), and the value of padding."""


class Build:
    """A network under construction."""

    def __init__(self, model: Steps, file: str) -> None:
        self.model, self.file = model, file
        self.tensors: dict[str, TensorInfo] = {model.input: self.info(model.input)}
        self.layers: list[Layer] = []
        self.moved: dict[str, Moved] = {}

    def scale(self, name: str) -> Scale:
        return self.model.scales[name]

    def info(self, name: str, scale: Scale | None = None) -> TensorInfo:
        given = scale or self.model.scales[name]
        return TensorInfo(self.model.shapes[name], float(np.float32(given.scale)), given.zero_point)

    def put(self, layer: Layer, info: TensorInfo) -> None:
        """Add a layer and its output."""
        self.layers.append(layer)
        self.tensors[layer.output] = info

    def tensor(self, name: str) -> str:
        """Return a tensor in memory: copies that are still only numbers of elements become a layer, or several where no one can be all."""
        if name not in self.moved:
            return name
        source, index, fill = self.moved.pop(name)
        step = next(s for s in self.model.steps if s.output == name)
        layer = self._copy(step, source, index, fill)
        if layer is None:
            self._part_way(step, source)
            source, index, fill = self.moved.pop(name)
            layer = self._copy(step, source, index, fill)
            if layer is None:
                raise Unsupported("a copy of elements in no regular order", step.title, BY)
        scale = self.tensors[source]
        self.put(layer, TensorInfo(self.model.shapes[name], scale.scale, scale.zero_point))
        return name

    def _copy(self, step: Step, source: str, index: torch.Tensor, fill: str) -> Layer | None:
        """Return the layer that copies the elements `index` of `source`; None where their order is not regular. Raises Unsupported."""
        base: dict[str, Any] = {"name": step.name, "inputs": (source,), "output": step.output}
        shape, flat = self.model.shapes[step.output], index.reshape(-1).round().long().numpy()
        if len(shape) not in RANKS:
            raise Unsupported("a tensor of more than 3 axes", step.title, BY)
        given = self.model.shapes[source]
        count = math.prod(given)
        if len(flat) == count and np.array_equal(flat, np.arange(count)):
            return Flatten(**base) if len(shape) == 1 else Reshape(**base, made_shape=shape)
        pattern = None if OUTSIDE in flat else pattern_of(flat)
        if pattern is not None:
            return Move(
                **base, sizes=pattern.sizes, strides=pattern.strides, offset=pattern.offset, made_shape=shape
            )  # fmt: skip
        places = by_axis(flat.reshape(shape), given)
        return None if places is None else Take(**base, places=places, fill=fill or "zero")

    def _part_way(self, step: Step, source: str) -> None:
        """Put a tensor between `source` and the view `step` into memory: the last one that a single layer can copy.

        `moved` then holds the views after it. Raises Unsupported when there is none.
        """
        views = [step]
        while views[0].inputs[0] != source:
            views.insert(0, next(s for s in self.model.steps if s.output == views[0].inputs[0]))
        for count in range(len(views) - 1, 0, -1):
            index, fill = self._through(views[:count], source)
            last = views[count - 1]
            if len(self.model.shapes[last.output]) not in RANKS:
                continue
            layer = self._copy(last, source, index, fill)
            if layer is not None:
                self.put(layer, self.info(last.output))
                index, fill = self._through(views[count:], last.output)
                self.moved[step.output] = (last.output, index, fill)
                return
        raise Unsupported("a copy of elements in no regular order", step.title, BY)

    def _through(self, views: list[Step], source: str) -> tuple[torch.Tensor, str]:
        """Return the numbers of a tensor's elements after views, and the value of padding."""
        index, fill = numbers(self.model.shapes[source]), ""
        for view in views:
            index, padded = moved(index, view.attributes["operator"], view.attributes["arguments"])
            fill = padded or fill
        return index, fill

    def sources(self, step: Step) -> tuple[str, ...]:
        """Return the tensors that a step reads, in memory."""
        return tuple(self.tensor(name) for name in step.inputs)

    def base(self, step: Step, output: str | None = None) -> dict[str, Any]:
        return {"name": step.name, "inputs": self.sources(step), "output": output or step.output}

    def clamps(self, step: Step) -> dict[str, Any]:
        """Return the int8 bounds of a step's result."""
        info, bounds = self.info(step.output), step.attributes.get("clamp", (None, None))
        low, high = (
            limit
            if bound is None
            else int(quantize_values(np.array([bound]), info.scale, info.zero_point)[0])
            for bound, limit in zip(bounds, (INT8_MIN, INT8_MAX), strict=True)
        )
        return {"low": low, "high": max(low, high)}

    def table(self, name: str, source: str, output: str, function: Any, titled: str = "") -> None:
        """Add the table of a function from one tensor to another, computed as floats and rounded half to even."""
        info, made = self.tensors[source], self.info(output)
        real = (
            np.arange(INT8_MIN, INT8_MAX + 1, dtype=np.float32) - np.float32(info.zero_point)
        ) * np.float32(info.scale)
        values = evaluate(function, torch.from_numpy(real.astype(np.float64))).float().numpy()
        low, high = ((bound - made.zero_point) * made.scale for bound in (INT8_MIN, INT8_MAX))
        values = np.nan_to_num(values, nan=0.0, posinf=high, neginf=low)
        table = quantize_values(values, made.scale, made.zero_point)
        layer = Table(name, (source,), output, table=table, function=titled or title(function))
        self.put(layer, made)

    def keeping(
        self, step: Step, make: Callable[[dict[str, Any]], Layer], scale: Scale | None = None
    ) -> None:
        """Add a layer whose result has its input's scale, or `scale`; a table follows where the file's scale differs."""
        wanted = self.scale(step.output)
        own = scale or self.scale(step.inputs[0])
        same = (np.float32(own.scale), own.zero_point) == (np.float32(wanted.scale), wanted.zero_point)
        output = step.output if same else f"{step.output}/before"
        layer = make(self.base(step, output))
        self.put(layer, self.info(step.output, own))
        if not same:
            self.table(f"{step.name}.scale", output, step.output, X, "rescale")


def numbers(shape: Shape) -> torch.Tensor:
    """Return the number of each element of a tensor, (1, *shape)."""
    # whole numbers up to 2^53 are exact in doubles, which padding needs
    return torch.arange(math.prod(shape), dtype=torch.float64).reshape(1, *shape)
