"""A network as operators: captured from any `torch.nn.Module`, folded as it is deployed, and run in float to check both.

`capture(module, shape)` -> `Graph`; `deployed(graph)` -> the `Graph` that cost models, the integer network and exporters work on.
"""

from sparsemod.graph.capture import capture
from sparsemod.graph.deployed import deployed
from sparsemod.graph.execute import run_float
from sparsemod.graph.operators import Graph, Operator

__all__ = ["Graph", "Operator", "capture", "deployed", "run_float"]
