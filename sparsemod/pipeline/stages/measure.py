"""Error and costs of the finished network."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from sparsemod.stages.base import STAGES, Stage

if TYPE_CHECKING:
    from sparsemod.pipeline.work import Work


@STAGES.register("measure")
class Measure(Stage):
    """Everything about the finished network; the error is the integer network's on validation data."""

    needs: ClassVar[frozenset[str]] = frozenset({"costs", "deployable", "integer"})
    gives: ClassVar[frozenset[str]] = frozenset({"measured"})

    name: Literal["measure"] = Field("measure", description="Measure the finished network.")

    def run(self, work: "Work") -> None:
        """In mode "test" the error on the test split comes on top; nothing is chosen by it."""
        from sparsemod.pipeline.measuring import measurements, network_error

        network = work.finished()
        work.measurements += measurements(work, work.network(), network)
        if work.mode == "test":
            work.measurements.append(network_error(work.problem, network, work.data.test_split()))
