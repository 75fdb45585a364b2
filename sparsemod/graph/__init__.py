"""Operator graphs: capture from any `torch.nn.Module`, folding for deployment, and float execution to check both.

`capture(module, shape)` -> `Graph`; `deployed(graph)` -> the `Graph` that cost models, the integer network and exporters use.
"""

from sparsemod.graph.capture import capture, capture_one
from sparsemod.graph.deployed import deployed
from sparsemod.graph.endings import without_ending
from sparsemod.graph.execute import run_float, run_float_named
from sparsemod.graph.operators import Graph, Operator

__all__ = [
    "Graph",
    "Operator",
    "capture",
    "capture_one",
    "deployed",
    "run_float",
    "run_float_named",
    "without_ending",
]
