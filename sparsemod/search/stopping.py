"""Convergence of a search: the hypervolume gain over the last trials is below a tolerance."""

from collections.abc import Mapping, Sequence

from sparsemod.objectives import Objectives
from sparsemod.search.settings import StopSpec


def converged(
    objectives: Objectives, rows: Sequence[Mapping[str, float]], rule: StopSpec | None
) -> str | None:
    """Return the reason to stop, or None. `rows`: the completed trials' values in order of their index.

    The gain is a share of the reference box (see `Objectives.hypervolume`), measured over the last
    `rule.trials` rows. A search without a point inside the box has gained nothing but has not converged.
    """
    if rule is None or len(rows) <= rule.trials:
        return None
    before = objectives.hypervolume(rows[: -rule.trials])
    now = objectives.hypervolume(rows)
    if now == 0.0 or now - before >= rule.tolerance:
        return None
    return (
        f"converged: the last {rule.trials} completed trials gained {now - before:.3g} of hypervolume, "
        f"less than the tolerance {rule.tolerance:g}"
    )
