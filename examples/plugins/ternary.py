"""A quantization scheme: weights of three values, in int8."""

import dataclasses

import torch
from pydantic import Field
from torch import Tensor

from sparsemod.graph import Graph
from sparsemod.quantization import SCHEMES, IntegerNetwork, Scheme, quantize_static
from sparsemod.spec.methods import QuantizationConfig


class TernaryConfig(QuantizationConfig):
    """Keys besides `calibration_samples`."""

    threshold: float = Field(
        0.7, gt=0, lt=2, description="Weights below this multiple of their filter's mean |w| become zero."
    )


@SCHEMES.register("ternary")
class Ternary(Scheme[TernaryConfig]):
    """Ternary weight networks (Li et al., 2016): each filter's weights are -a, 0 or a; int8 activations."""

    Config = TernaryConfig

    def quantize(self, graph: Graph, samples: Tensor) -> IntegerNetwork:
        """Return the integer network of a deployed graph (batch norms folded)."""
        state = dict(graph.state)
        for operator in graph.operators:
            if operator.weight is not None:
                state[operator.weight] = self._ternary(graph.state[operator.weight])
        return quantize_static(dataclasses.replace(graph, state=state), samples)

    def _ternary(self, weight: Tensor) -> Tensor:
        size = weight.abs().flatten(1)
        large = size > self.config.threshold * size.mean(1, keepdim=True)
        level = (size * large).sum(1, keepdim=True) / large.sum(1, keepdim=True).clamp(min=1)
        return (torch.sign(weight).flatten(1) * large * level).view_as(weight)
