"""Networks that run a graph in float32, entirely or between layers, and the part of their files that holds the graph."""

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsemod.errors import InvalidInput, Unsupported
from sparsemod.graph import Graph, Operator, run_float
from sparsemod.graph.execute import step
from sparsemod.quantization.files import tuples
from sparsemod.quantization.network import Evaluation, sized

_CHUNK = 256


@dataclass(frozen=True, eq=False)
class GraphNetwork(Evaluation):
    """A deployed graph with one input and one output. Raises InvalidInput for a graph with several."""

    graph: Graph

    def __post_init__(self) -> None:
        if self.graph.several:
            allowed = "one input and one output; the scheme static takes several"
            raise InvalidInput("network", (self.graph.inputs, tuple(self.graph.outputs)), allowed)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return self.graph.shapes[self.graph.input]

    def logits(self, images: Any, lengths: Any = None) -> NDArray[np.float32]:
        """Return the outputs (N, classes) of float images (N, *input shape). `lengths`: see Quantized."""
        x = torch.from_numpy(np.ascontiguousarray(sized(images, self.input_shape), dtype=np.float32))
        steps = None if lengths is None else torch.from_numpy(np.asarray(lengths))
        with torch.no_grad():
            parts = [
                run_float(
                    self.graph,
                    x[i : i + _CHUNK],
                    lengths=None if steps is None else steps[i : i + _CHUNK],
                    run=self._step,
                )
                for i in range(0, max(1, len(x)), _CHUNK)
            ]
        return np.asarray(torch.cat(parts).numpy(), dtype=np.float32)

    def _step(self, graph: Graph, operator: Operator, inputs: list[Tensor], lengths: Tensor | None) -> Tensor:
        return step(graph, operator, inputs, lengths)


def graph_header(graph: Graph, kind: str, version: int) -> dict[str, Any]:
    """Return the header of a file of `kind`; `state` lists the keys of the graph's state that its operators use."""
    header: dict[str, Any] = {
        "format": kind,
        "version": version,
        "input": graph.input,
        "output": graph.output,
        "shapes": {name: list(shape) for name, shape in graph.shapes.items()},
        "operators": [dataclasses.asdict(operator) for operator in graph.operators],
        "state": sorted({key for operator in graph.operators for key in _keys(operator, graph)}),
    }
    if graph.layouts:
        header["layouts"] = dict(graph.layouts)
    return header


def graph_of(header: Mapping[str, Any], state: Mapping[str, Tensor]) -> Graph:
    """Return the graph of a header from `graph_header`."""
    operators = tuple(Operator(**{k: tuples(v) for k, v in entry.items()}) for entry in header["operators"])
    shapes = {name: tuple(shape) for name, shape in header["shapes"].items()}
    layouts = dict(header.get("layouts", {}))
    return Graph(header["input"], header["output"], operators, shapes, dict(state), layouts)


@contextmanager
def complete(kind: str) -> Iterator[None]:
    """Raise InvalidInput for every error that missing or damaged entries of a file of `kind` cause."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError, IndexError, RuntimeError, Unsupported) as error:
        raise InvalidInput(
            "network file", f"{type(error).__name__}: {error}", f"a complete {kind} file"
        ) from error


def _keys(operator: Operator, graph: Graph) -> list[str]:
    references = [operator.weight, operator.bias, *operator.attributes.values()]
    return [key for key in references if isinstance(key, str) and key in graph.state]
