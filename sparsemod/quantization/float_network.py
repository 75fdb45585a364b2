"""The network of the scheme "none": it stays float and costs 4 bytes a weight."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from sparsemod.graph import Operator
from sparsemod.graph.macs import operator_macs
from sparsemod.quantization.files import pack, unpack
from sparsemod.quantization.graph_network import GraphNetwork, complete, graph_header, graph_of
from sparsemod.quantization.network import LayerInfo

FORMAT, VERSION = "sparsemod-float-network", 1


@dataclass(frozen=True, eq=False)
class FloatNetwork(GraphNetwork):
    """A deployed graph that runs in float32."""

    title: ClassVar[str] = "float network"

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
        header = graph_header(self.graph, FORMAT, VERSION)
        return pack(header, {str(i): self.graph.state[key].numpy() for i, key in enumerate(header["state"])})

    @classmethod
    def from_bytes(cls, data: bytes) -> "FloatNetwork":
        """Return the network whose `to_bytes` returned `data`. Raises InvalidInput for other data."""
        header, arrays = unpack(data, FORMAT, VERSION)
        with complete(FORMAT):
            state = {key: torch.from_numpy(arrays[str(i)].copy()) for i, key in enumerate(header["state"])}
            network = cls(graph_of(header, state))
            network.logits(np.zeros((1, *network.input_shape), np.float32))
        return network
