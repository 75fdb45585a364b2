"""Costs of a network on its device, from the deployed graph alone: size, working memory, latency, multiply-adds.

`costs(graph, device, ...)` returns all of them as measurements; each module computes one cost. Error is measured elsewhere, on data.
"""

from sparsemod.measure.costs import costs

__all__ = ["costs"]
