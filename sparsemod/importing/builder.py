"""Builder of `Steps`: readers add steps, the builder computes shapes and collects everything that is not supported."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from sparsemod.errors import InvalidInput, SparsemodError, Unsupported
from sparsemod.importing.float_network import make_layer
from sparsemod.importing.recurrent_layer import Recurrent
from sparsemod.importing.source import MOST_ELEMENTS, Source
from sparsemod.importing.steps import Scale, Step, Steps
from sparsemod.layouts import RANKS, Shape

_BATCH = 2


@dataclass
class Builder:
    """A model under construction. `title` and `operator` are those of the file's operator that a reader translates now."""

    source: Source
    steps: list[Step] = field(default_factory=list)
    shapes: dict[str, Shape] = field(default_factory=dict)
    scales: dict[str, Scale] = field(default_factory=dict)
    refused: list[Unsupported] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    title: str = ""
    operator: str = ""
    _names: set[str] = field(default_factory=set)

    def input(self, name: str, shape: Shape) -> None:
        """Add the model's input. Raises InvalidInput for a shape that no sample has."""
        if len(shape) not in RANKS or min(shape, default=0) < 1 or math.prod(shape) > MOST_ELEMENTS:
            raise InvalidInput(
                "input shape", shape, "samples (F,), (C, L) or (C, H, W) of fixed sizes", self.source.name
            )
        self.shapes[name] = shape

    def emit(
        self, kind: str, inputs: tuple[str, ...], output: str, attributes: Mapping[str, Any] | None = None
    ) -> str:
        """Add a step and return its output. Raises InvalidInput when it does not fit its inputs."""
        step = Step(kind, self._free(), self.title, inputs, output, attributes or {})
        try:
            with torch.no_grad(), torch.device("meta"):
                layer = make_layer(step, self.shapes).eval()
                run = layer.outline if isinstance(layer, Recurrent) else layer
                made = run(*(torch.empty(_BATCH, *self.shapes[name]) for name in inputs))
        except SparsemodError:
            raise
        except Exception as error:  # noqa: BLE001  torch raises many kinds
            words = (str(error).strip().splitlines() or [type(error).__name__])[0]
            shapes = ", ".join(str(self.shapes[name]) for name in inputs)
            raise self.broken(f"inputs {shapes} do not fit: {words}") from None
        if made.ndim < 2 or made.shape[0] != _BATCH:
            raise self.unsupported("it changes the batch axis")
        if made.numel() > _BATCH * MOST_ELEMENTS:
            raise self.broken(f"a tensor of shape {tuple(made.shape[1:])}")
        self.shapes[output] = tuple(int(size) for size in made.shape[1:])
        self.steps.append(step)
        return output

    def _free(self) -> str:
        name = re.sub(r"[^\w.]+", "_", self.title.strip("/"), flags=re.ASCII).strip("_")[-80:]
        name = name or self.operator.lower()
        number, made = 1, name
        while made in self._names:
            number += 1
            made = f"{name}_{number}"
        self._names.add(made)
        return made

    def broken(self, what: object) -> InvalidInput:
        """Return the error of the operator that is being translated."""
        return self.source.broken(what, self.title, self.operator)

    def unsupported(self, hint: str = "", operator: str = "") -> Unsupported:
        """Return the error of the operator that is being translated."""
        return Unsupported(operator or self.operator, self.title, self.source.by, hint=hint)

    def refuse(self, error: Unsupported) -> None:
        """Record an unsupported operator; one error names all of them."""
        if error.where not in {one.where for one in self.refused}:
            self.refused.append(error)

    def finish(self, input: str, output: str, metadata: Mapping[str, str] | None = None) -> Steps:
        """Return the model. Raises Unsupported with every unsupported operator."""
        if self.refused:
            raise self.refused[0].beside(self.refused[1:])
        if output not in self.shapes:
            raise self.source.broken(f"no operator computes the output {output!r}")
        return Steps(
            input, output, tuple(self.steps), self.shapes, self.scales, metadata or {}, tuple(self.notes)
        ).needed()  # fmt: skip
