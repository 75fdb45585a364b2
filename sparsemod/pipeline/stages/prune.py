"""From trained weights to the module that is deployed."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from sparsemod.stages.base import STAGES, Stage

if TYPE_CHECKING:
    from sparsemod.pipeline.work import Work


@STAGES.register("prune")
class Prune(Stage):
    """Keep the trained weights as an artifact, and take pruned filters out of the module: it becomes physically smaller."""

    needs: ClassVar[frozenset[str]] = frozenset({"trained"})
    gives: ClassVar[frozenset[str]] = frozenset({"deployable"})
    ends: ClassVar[frozenset[str]] = frozenset({"integer", "measured"})

    name: Literal["prune"] = Field("prune", description="Bring the trained network into the form to deploy.")

    def run(self, work: "Work") -> None:
        """The artifact `weights` holds the module before it shrinks: morphs inherit from it."""
        from safetensors.torch import save as save_tensors

        from sparsemod.pipeline.work import plain_state
        from sparsemod.pruning import shrink

        module = work.network()
        work.keep("weights", "weights.safetensors", lambda: save_tensors(plain_state(module)))
        module = module.to("cpu")
        if work.problem.spec.pruning.method == "filters" and work.problem.sparsity(work.values) > 0:
            module = shrink(module, work.data.info.shape)
        work.module = module
