"""Error and costs of the finished network."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from sparsemod.stages.base import STAGES, Stage

if TYPE_CHECKING:
    from sparsemod.pipeline.work import Work


@STAGES.register("measure")
class Measure(Stage):
    """Measure the finished network; its metric is that of the integer network on validation data."""

    needs: ClassVar[frozenset[str]] = frozenset({"costs", "deployable", "integer"})
    gives: ClassVar[frozenset[str]] = frozenset({"measured"})

    name: Literal["measure"] = Field("measure", description="Measure the finished network.")

    def run(self, work: "Work") -> None:
        """Add the metric on the test split in the modes "test" and "final"; no choice depends on it."""
        from sparsemod.pipeline.measuring import measurements, network_quality

        network = work.finished()
        work.measurements += measurements(work, work.network(), network)
        if work.mode != "search":
            work.measurements.append(network_quality(work, network, work.data.test_split()))
