"""No pruning, so that pipelines need no special case."""

from sparsemod.pruning.base import METHODS, Method
from sparsemod.spec.methods import PruningConfig


class NoPruningConfig(PruningConfig):
    """Keys of none: none."""

    FORMER = frozenset({"sparsity", "schedule", "begin", "end"})


@METHODS.register("none")
class NoPruning(Method[NoPruningConfig]):
    """Nothing is pruned."""

    Config = NoPruningConfig
