"""What a network costs on its device, from the deployed graph alone: size, working memory, latency, multiply-adds.

`costs(graph, device, ...)` gives all of them as measurements; the modules hold one cost each. Error is measured elsewhere, on data.
"""

from sparsemod.measure.costs import costs

__all__ = ["costs"]
