"""The setting of a substitute that meets a budget, by bisection. Imports no torch."""

from collections.abc import Callable
from dataclasses import dataclass

from sparsemod.errors import InvalidInput
from sparsemod.substitutes.base import Substitute

TOLERANCE = 0.01
_STEPS = 60


@dataclass(frozen=True)
class Fit:
    """A substitute with the setting whose cost is nearest to the target; `met` when it is within the tolerance."""

    substitute: Substitute
    cost: float
    target: float
    met: bool

    def __str__(self) -> str:
        share = self.cost / self.target - 1
        if self.met:
            return f"{self.substitute}: {self.cost:,.0f}, {share:+.2%} of {self.target:,.0f}"
        return (
            f"unreachable, nearest is {self.substitute}: {self.cost:,.0f}, {share:+.2%} of {self.target:,.0f}"
        )


def fit(
    substitute: Substitute, target: float, cost: Callable[[Substitute], float], tolerance: float = TOLERANCE
) -> Fit:
    """Return the setting whose cost is nearest to `target`.

    `cost` maps a substitute with a setting to a cost that never falls where the setting gives more weights. The setting
    given with `substitute` does not matter. Bisection stops at a setting within a hundredth of the tolerance, or when no
    setting lies between the bounds. Of two equally near costs the smaller is taken.

    Raises InvalidInput for a substitute without a setting, and a target that is not above 0.
    """
    setting = substitute.setting
    if setting is None:
        raise InvalidInput("substitute", str(substitute), "a substitute with a setting, for a budget")
    if not 0 < target < float("inf"):
        raise InvalidInput("budget", target, "above 0")
    tried: dict[float, float] = {}

    def tried_cost(value: float) -> float:
        if value not in tried:
            tried[value] = cost(substitute.with_value(value))
        return tried[value]

    # `few` is the bound with fewer weights.
    lowest = setting.low if setting.whole else 1e-6
    few, many = (lowest, setting.high) if setting.grows else (setting.high, lowest)
    if tried_cost(few) < target < tried_cost(many):
        for _ in range(_STEPS):
            middle = round((few + many) / 2) if setting.whole else (few + many) / 2
            if middle in (few, many) or _near(tried_cost(middle), target, tolerance / 100):
                break
            if tried_cost(middle) <= target:
                few = middle
            else:
                many = middle
    value = min(tried, key=lambda v: (abs(tried[v] - target), tried[v], v))
    chosen = substitute.with_value(_short(value, tried[value], tried_cost) if not setting.whole else value)
    return Fit(chosen, tried[value], target, _near(tried[value], target, tolerance))


def _near(cost: float, target: float, tolerance: float) -> bool:
    return abs(cost - target) <= tolerance * target


def _short(value: float, cost: float, tried_cost: Callable[[float], float]) -> float:
    """Return the shortest decimal of at least two digits near `value` that has the same cost."""
    for digits in range(2, 10):
        rounded = float(f"{value:.{digits}g}")
        if tried_cost(rounded) == cost:
            return rounded
    return float(f"{value:.10g}")
