"""How many filters each group of layers keeps, for a share of the filters or of the weights."""

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sparsemod.graph import Graph
from sparsemod.pruning.channels import Channels, is_depthwise
from sparsemod.pruning.plan import planned_keep

Share = Literal["filters", "weights"]
Kept = list[int]
"""The filters that stay, for each group of `Channels.groups`."""


class Counter:
    """Counts the weights of convolutions, linear and recurrent layers, and the filters, that a choice of channels leaves."""

    def __init__(self, graph: Graph, channels: Channels) -> None:
        self.channels = channels
        self.layers: list[tuple[NDArray[np.int64], NDArray[np.int64] | None, int]] = []
        done = set()
        for operator in graph.operators:
            if not operator.traits.weighted or operator.weight is None or operator.weight in done:
                continue
            done.add(operator.weight)
            source, units = channels.labels[operator.inputs[0]], channels.labels[operator.output]
            weight = graph.state[operator.weight]
            if operator.traits.recurrent:  # each unit reads the inputs and all units
                self.layers.append((units, np.concatenate([source, units]), len(weight) // len(units)))
                continue
            rows = channels.rows[operator.weight]
            if is_depthwise(operator, len(source)):
                self.layers.append((rows, None, weight[0].numel()))
                continue
            columns = source[: len(source) // operator.window.groups]
            self.layers.append((rows, columns, weight[0].numel() // len(columns)))
        self.weights = self.left(np.ones(channels.count, np.bool_))

    def left(self, keep: NDArray[np.bool_]) -> int:
        """Return the weights that stay with the labels in `keep`."""
        total = 0
        for rows, columns, per in self.layers:
            total += int(keep[rows].sum()) * (1 if columns is None else int(keep[columns].sum())) * per
        return total

    def weights_with(self, kept: Kept) -> int:
        """Return the weights that stay if each group keeps its first filters."""
        keep = np.ones(self.channels.count, np.bool_)
        for group, count in zip(self.channels.groups, kept, strict=True):
            keep[list(group.units[count:])] = False
        return self.left(keep)


def equal_shares(counter: Counter, sparsity: float, of: Share) -> Kept:
    """Return what stays if each group loses the same share of its filters.

    With `of` "weights" the share is the one whose weights are nearest to (1 - sparsity) of all.
    """
    sizes = [len(group.units) for group in counter.channels.groups]
    if of == "filters" or not sizes:
        return [planned_keep(size, sparsity) for size in sizes]
    places = sorted({gone / size for size in sizes for gone in range(size)})
    return nearest(
        counter, sparsity, len(places), lambda i: [planned_keep(size, places[i]) for size in sizes]
    )


def ranked(counter: Counter, order: list[tuple[int, int]], sparsity: float, of: Share) -> Kept:
    """Return what stays if filters of all groups go in one order, at least one of each group staying.

    `order` names the group of each filter that may go, first to last, with the layers in which it lies.
    """
    sizes = [len(group.units) for group in counter.channels.groups]
    left, steps = list(sizes), [list(sizes)]
    for group, _ in order:
        if left[group] > 1:
            left[group] -= 1
            steps.append(list(left))
    if of == "weights":
        return nearest(counter, sparsity, len(steps), lambda i: steps[i])
    wanted = sum(planned_keep(size, sparsity) for size in sizes)
    return min(steps, key=lambda kept: abs(sum(kept) - wanted))


def nearest(counter: Counter, sparsity: float, count: int, kept: Callable[[int], Kept]) -> Kept:
    """Return the one of `count` choices, from most to fewest weights, whose weights are nearest to the wanted ones."""
    wanted = (1 - sparsity) * counter.weights
    low, high = 0, count - 1
    while low < high:
        middle = (low + high) // 2
        if counter.weights_with(kept(middle)) <= wanted:
            high = middle
        else:
            low = middle + 1
    candidates = [kept(place) for place in (low - 1, low) if place >= 0]
    return min(candidates, key=lambda k: abs(counter.weights_with(k) - wanted))
