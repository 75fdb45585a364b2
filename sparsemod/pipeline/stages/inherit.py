"""Load the weights of a morph's parent."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from sparsemod.stages.base import STAGES, Stage

if TYPE_CHECKING:
    from sparsemod.pipeline.work import Work


@STAGES.register("inherit")
class Inherit(Stage):
    """Load the parent's weights into a candidate that has a parent; other candidates skip the stage."""

    needs: ClassVar[frozenset[str]] = frozenset({"network", "fresh"})
    certain: ClassVar[bool] = False

    name: Literal["inherit"] = Field(
        "inherit", description="Take the parent's weights, where there is a parent."
    )

    def applies(self, work: "Work") -> bool:
        """Return whether the candidate has a parent."""
        return work.parent is not None

    def run(self, work: "Work") -> None:
        """Load the parent's weights into the network."""
        from safetensors.torch import load as load_tensors

        from sparsemod.morphisms import inherit

        if work.parent is None:
            return
        module, problem = work.network(), work.problem
        own = problem.architecture(work.values)
        values = problem.space.fill(work.parent.parameters)
        parents = problem.architecture(values)
        windows, before = problem.splitter(work.values), problem.splitter(values)
        if own == parents and windows == before:
            # the same network: pruned weights stay zero, so that pruning can go on
            module.load_state_dict(load_tensors(work.parent.state))
            work.inherited_epochs = work.parent.epochs
            work.notes.append("inherited all weights of the same network")
            return
        inheritance = inherit(
            problem.family,
            parents,
            load_tensors(work.parent.state),
            own,
            module,
            problem.info,
        )
        module.load_state_dict(inheritance.state_dict)
        work.inherited_epochs = work.parent.epochs
        preserved = "kept" if inheritance.preserved else "not kept"
        if windows is not None and before is not None and windows != before:
            work.notes.append(f"windows of {windows.max_len} steps, of the parent {before.max_len}")
        work.notes += [f"inherited weights, function {preserved}", *inheritance.notes]
