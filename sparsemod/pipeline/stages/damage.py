"""What compression damages beyond the error."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from sparsemod.stages.base import STAGES, Stage

if TYPE_CHECKING:
    from sparsemod.pipeline.work import Work


@STAGES.register("damage")
class Damage(Stage):
    """Measure the loss, the worst class, the calibration error, and the metric on noisy, blurred and pale validation data."""

    needs: ClassVar[frozenset[str]] = frozenset({"integer", "measured"})

    name: Literal["damage"] = Field("damage", description="Measure damage beyond the error.")

    def run(self, work: "Work") -> None:
        """Add the measurements of the finished network."""
        from sparsemod.pipeline.damaging import damage

        work.measurements += damage(work)
