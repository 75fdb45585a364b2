"""Quantization of the trained network."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from sparsemod.stages.base import STAGES, Stage

if TYPE_CHECKING:
    from sparsemod.pipeline.work import Work


@STAGES.register("quantize")
class Quantize(Stage):
    """Quantize by the spec's scheme, calibrated on training samples that the trial's seed chooses."""

    needs: ClassVar[frozenset[str]] = frozenset({"deployable"})
    gives: ClassVar[frozenset[str]] = frozenset({"integer"})
    ends: ClassVar[frozenset[str]] = frozenset({"measured"})

    name: Literal["quantize"] = Field("quantize", description="Make the integer network.")

    def run(self, work: "Work") -> None:
        """Quantize the network. Raises BuildError for weights that cannot be quantized."""
        from sparsemod.pipeline.quantizing import quantized

        work.integer, notes = quantized(work)
        work.notes += notes
        work.keep("network", "network.npz", work.integer.to_bytes)
