"""Turn the trained module into the module to deploy."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from sparsemod.stage_errors import stage_errors
from sparsemod.stages.base import STAGES, Stage

if TYPE_CHECKING:
    from sparsemod.pipeline.work import Work


@STAGES.register("prune")
class Prune(Stage):
    """Store the trained weights as an artifact and let the pruning method make the module to deploy.

    Filter pruning, for example, removes the pruned filters.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"trained"})
    gives: ClassVar[frozenset[str]] = frozenset({"deployable"})
    ends: ClassVar[frozenset[str]] = frozenset({"integer", "measured"})

    name: Literal["prune"] = Field("prune", description="Bring the trained network into the form to deploy.")

    def run(self, work: "Work") -> None:
        """Store the weights in the shape before pruning as the artifact `weights`, from which morphs inherit; then transform it."""
        from safetensors.torch import save as save_tensors

        from sparsemod.pipeline.substituted import deployable
        from sparsemod.pipeline.work import plain_tensors

        module = work.network()
        method, info = work.pruning(), work.data.info
        work.keep(
            "weights", "weights.safetensors", lambda: save_tensors(plain_tensors(method.whole_state(module)))
        )
        work.notes += method.notes
        with stage_errors("pruning"):
            module = deployable(module.to("cpu"), info.shape, info.layout)
            work.module = method.transform(module, info.shape, info.layout)
