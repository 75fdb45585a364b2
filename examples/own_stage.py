"""A stage in one file: clip weights far from the others, so that the rest are quantized more finely.

sparsemod run own_stage.yaml --import own_stage       or       sparsemod serve --import own_stage
"""

from typing import Any, ClassVar, Literal

from pydantic import Field

from sparsemod.stages.base import STAGES, Stage


@STAGES.register("clip")
class Clip(Stage):
    """Clip the trained weights of each layer at a number of standard deviations."""

    needs: ClassVar[frozenset[str]] = frozenset({"trained"})
    ends: ClassVar[frozenset[str]] = frozenset({"deployable", "integer", "measured"})

    name: Literal["clip"] = "clip"
    deviations: float = Field(3.0, gt=0, description="Standard deviations beyond which a weight is clipped.")

    def run(self, work: Any) -> None:
        import torch

        clipped = 0
        with torch.no_grad():
            for weight in work.network().parameters():
                if weight.ndim > 1:
                    limit = float(self.deviations * weight.std())
                    clipped += int((weight.abs() > limit).sum())
                    weight.clamp_(-limit, limit)
        work.notes.append(f"clipped {clipped} weights")
