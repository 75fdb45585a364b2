"""The choice of every layer's decomposition under one budget of weights."""

import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sparsemod.pruning.low_rank.layers import Recipe


@dataclass(frozen=True)
class Option:
    """One way to decompose a layer. `cost`: its weights. `loss`: what the method minimizes, 0 for the whole layer.

    An empty recipe leaves the layer as it is.
    """

    cost: int
    loss: float
    recipe: Recipe = field(default_factory=dict, hash=False)


def frontier(options: Sequence[Option]) -> list[Option]:
    """Return the options that no other one beats in cost and loss, from the cheapest to the whole layer."""
    found: list[Option] = []
    for option in sorted(options, key=lambda o: (o.cost, o.loss)):
        if not found or option.loss < found[-1].loss:
            found.append(option)
    return found


Rule = Callable[[Sequence[Option], float], Option]
"""(a layer's frontier, a level that rises with the allowed loss) -> the layer's option."""


def cheapest_within(options: Sequence[Option], level: float) -> Option:
    """Return the cheapest option whose loss is at most `level`: this minimizes the largest loss of all layers."""
    place = bisect.bisect_left([-o.loss for o in options], -level)
    return options[min(place, len(options) - 1)]


def best_share(options: Sequence[Option], level: float) -> Option:
    """Return the option of least loss whose weights are at most the share 1 - `level` of the layer's."""
    limit = (1 - level) * options[-1].cost
    within = [o for o in options if o.cost <= limit]
    return within[-1] if within else options[0]


def best_trade(options: Sequence[Option], level: float) -> Option:
    """Return the option of least loss + `level` x cost."""
    return min(options, key=lambda o: (o.loss + level * o.cost, o.cost))


def allocate(
    layers: Sequence[Sequence[Option]], budget: float, rule: Rule, levels: Sequence[float]
) -> list[Option]:
    """Return one option for each layer whose summed cost is nearest to `budget`.

    `layers`: the frontier of each layer. `levels` rise; the rule's cost falls with them. The level is found by
    bisection. What it leaves of the budget goes to the layers of largest loss, step by step.
    """
    if not layers:
        return []

    def chosen(level: float) -> list[Option]:
        return [rule(options, level) for options in layers]

    low, high = 0, len(levels) - 1
    while low < high:
        middle = (low + high) // 2
        if sum(o.cost for o in chosen(levels[middle])) <= budget:
            high = middle
        else:
            low = middle + 1
    found = chosen(levels[low])
    return _filled(layers, found, budget)


def _filled(layers: Sequence[Sequence[Option]], found: list[Option], budget: float) -> list[Option]:
    """Spend the rest of the budget, or save what is too much, by steps of single layers."""
    places = [
        next(i for i, o in enumerate(options) if o == own) for options, own in zip(layers, found, strict=True)
    ]

    def step(layer: int, by: int) -> int:
        """Return the change in cost, 0 where there is no such option."""
        new = places[layer] + by
        if not 0 <= new < len(layers[layer]):
            return 0
        return layers[layer][new].cost - layers[layer][places[layer]].cost

    def total() -> int:
        return sum(options[place].cost for options, place in zip(layers, places, strict=True))

    def loss(layer: int, by: int) -> float:
        return layers[layer][places[layer] + by].loss

    while total() > budget:
        possible = [i for i in range(len(layers)) if step(i, -1)]
        if not possible:
            break
        places[min(possible, key=lambda i: loss(i, -1))] -= 1
    while True:
        possible = [i for i in range(len(layers)) if 0 < step(i, 1) <= budget - total()]
        if not possible:
            break
        places[max(possible, key=lambda i: loss(i, 0))] += 1
    above = [i for i in range(len(layers)) if step(i, 1)]
    nearest = min(above, key=lambda i: step(i, 1), default=None)
    if nearest is not None and total() + step(nearest, 1) - budget < budget - total():
        places[nearest] += 1
    return [options[place] for options, place in zip(layers, places, strict=True)]
