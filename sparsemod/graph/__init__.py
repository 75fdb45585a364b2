"""Operator graphs: capture from any `torch.nn.Module`, folding for deployment, and float execution to check both.

`capture(module, shape)` -> `Graph`; `deployed(graph)` -> the `Graph` that cost models, the integer network and exporters use.
"""

from sparsemod.graph.capture import capture
from sparsemod.graph.deployed import deployed
from sparsemod.graph.endings import without_ending
from sparsemod.graph.execute import run_float
from sparsemod.graph.operators import Graph, Operator

__all__ = ["Graph", "Operator", "capture", "deployed", "run_float", "without_ending"]
