"""The network of the scheme "none": it stays float and costs 4 bytes a weight."""

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from sparsemod.errors import InvalidInput, Unsupported
from sparsemod.graph import Graph, Operator, run_float
from sparsemod.graph.macs import operator_macs
from sparsemod.quantization.files import pack, tuples, unpack
from sparsemod.quantization.network import Evaluation, LayerInfo, sized

FORMAT, VERSION = "sparsemod-float-network", 1
_CHUNK = 256


@dataclass(frozen=True, eq=False)
class FloatNetwork(Evaluation):
    """A deployed graph that runs in float32."""

    title: ClassVar[str] = "float network"
    graph: Graph

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
                    self.graph, x[i : i + _CHUNK], lengths=None if steps is None else steps[i : i + _CHUNK]
                )
                for i in range(0, max(1, len(x)), _CHUNK)
            ]
        return np.asarray(torch.cat(parts).numpy(), dtype=np.float32)

    def layers_info(self) -> tuple[LayerInfo, ...]:
        """Return each operator in execution order."""
        return tuple(self._info(operator) for operator in self.graph.operators)

    def _info(self, operator: Operator) -> LayerInfo:
        shapes, state = self.graph.shapes, self.graph.state
        output = shapes[operator.output]
        weight = np.zeros(0) if operator.weight is None else state[operator.weight].numpy()
        return LayerInfo(
            name=operator.name,
            kind=operator.kind,
            input_shapes=tuple(shapes[n] for n in operator.inputs),
            output_shape=output,
            macs=operator_macs(self.graph, operator),
            weights=weight.size,
            nonzeros=int(np.count_nonzero(weight)),
            weight_bytes=4 * weight.size,
            bias_bytes=0 if operator.bias is None else 4 * state[operator.bias].numel(),
        )

    def to_bytes(self) -> bytes:
        """Return the file content that `from_bytes` reads; equal networks give equal bytes."""
        graph = self.graph
        used = sorted({key for o in graph.operators for key in _keys(o, graph)})
        header: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSION,
            "input": graph.input,
            "output": graph.output,
            "shapes": {name: list(shape) for name, shape in graph.shapes.items()},
            "operators": [dataclasses.asdict(operator) for operator in graph.operators],
            "state": used,
        }
        if graph.layouts:
            header["layouts"] = dict(graph.layouts)
        return pack(header, {str(i): graph.state[key].numpy() for i, key in enumerate(used)})

    @classmethod
    def from_bytes(cls, data: bytes) -> "FloatNetwork":
        """Return the network whose `to_bytes` returned `data`. Raises InvalidInput for other data."""
        header, arrays = unpack(data, FORMAT, VERSION)
        try:
            operators = tuple(
                Operator(**{k: tuples(v) for k, v in entry.items()}) for entry in header["operators"]
            )
            shapes = {name: tuple(shape) for name, shape in header["shapes"].items()}
            state = {key: torch.from_numpy(arrays[str(i)].copy()) for i, key in enumerate(header["state"])}
            layouts = dict(header.get("layouts", {}))
            network = cls(Graph(header["input"], header["output"], operators, shapes, state, layouts))
            network.logits(np.zeros((1, *network.input_shape), np.float32))
        except (
            KeyError,
            TypeError,
            AttributeError,
            ValueError,
            IndexError,
            RuntimeError,
            Unsupported,
        ) as error:
            raise InvalidInput(
                "network file", f"{type(error).__name__}: {error}", f"a complete {FORMAT} file"
            ) from error
        return network


def _keys(operator: Operator, graph: Graph) -> list[str]:
    references = [operator.weight, operator.bias, *operator.attributes.values()]
    return [key for key in references if isinstance(key, str) and key in graph.state]
