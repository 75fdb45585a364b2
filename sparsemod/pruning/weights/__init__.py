"""Unstructured pruning: methods that set single weights to zero, one file each."""

from sparsemod.pruning.weights.prunable import graph_shapes, graph_weights, prunable_weights

__all__ = ["graph_shapes", "graph_weights", "prunable_weights"]
