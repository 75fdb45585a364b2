"""Fixed random feedback matrices, stored or drawn again at each use, and the base of the rules that have them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import Field

from sparsemod.seeds import derived_seed
from sparsemod.spec.methods import RuleConfig
from sparsemod.training.rules.base import LossFunction, TrainingRule

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from sparsemod.sequences import Batch


class FeedbackConfig(RuleConfig):
    """Keys of the rules with feedback matrices."""

    matrices: Literal["stored", "seed"] = Field(
        "stored",
        description="Keep the feedback matrices in memory, or draw them from the seed at each use, which takes time instead.",
    )
    scale: float = Field(1.0, gt=0, le=1e3, description="Factor of the matrices' standard deviation.")
    angle: bool = Field(
        False,
        description="Record the angle between the rule's gradient and that of backpropagation, on the first batch of each epoch.",
    )


class Matrices:
    """The matrices of one training; a matrix depends on the seed, its place and its shape."""

    def __init__(self, config: FeedbackConfig, seed: int) -> None:
        self.config, self.seed = config, seed
        self._kept: dict[tuple[str, tuple[int, ...]], Tensor] = {}
        self.sizes: dict[str, int] = {}

    def get(self, place: str, shape: Sequence[int], deviation: float, like: "Tensor") -> "Tensor":
        """Return the matrix of a place: normal with this standard deviation x `scale`, on the device of `like`."""
        key = (place, tuple(shape))
        if key in self._kept:
            return self._kept[key]
        drawn = self._draw(place, tuple(shape), deviation).to(like.device, like.dtype)
        self.sizes[place] = drawn.numel() * drawn.element_size()
        if self.config.matrices == "stored":
            self._kept[key] = drawn
        return drawn

    def _draw(self, place: str, shape: tuple[int, ...], deviation: float) -> "torch.Tensor":
        import torch

        generator = torch.Generator().manual_seed(derived_seed(self.seed, place, shape))
        return torch.randn(shape, generator=generator) * (deviation * self.config.scale)

    @property
    def kept(self) -> "list[Tensor]":
        """The stored matrices."""
        return list(self._kept.values())

    @property
    def bytes(self) -> int:
        """Bytes that the matrices take: all when stored, the largest one when drawn at each use."""
        if not self.sizes:
            return 0
        return sum(self.sizes.values()) if self.config.matrices == "stored" else max(self.sizes.values())


C = TypeVar("C", bound=FeedbackConfig)


class FeedbackRule(TrainingRule[C]):
    """Base of the rules with feedback matrices."""

    layer_by_layer = True

    def start(self, module: "nn.Module", seed: int) -> None:
        """See TrainingRule."""
        from sparsemod.training.rules.angles import Angles

        super().start(module, seed)
        self.matrices, self.angles = Matrices(self.config, seed), Angles()

    def exact(self, x: "Batch", y: "Tensor", loss: LossFunction) -> None:
        """Write the gradients of backpropagation to the parameters."""
        from sparsemod.sequences import call

        loss(call(self.module, x), y).backward()

    def before_epoch(self, x: "Batch", y: "Tensor", loss: LossFunction) -> None:
        """See TrainingRule. Measure the angle, if the config says so."""
        if not self.config.angle:
            return
        update, self.update = self.update, None
        try:
            self.angles.measure(
                self.module, lambda: self.gradients(x, y, loss), lambda: self.exact(x, y, loss)
            )
        finally:
            self.update = update

    def feedback_bytes(self) -> int:
        """See TrainingRule."""
        return self.matrices.bytes

    def feedback(self) -> "list[Tensor]":
        """See TrainingRule."""
        return self.matrices.kept

    def notes(self) -> list[str]:
        """See TrainingRule."""
        kind = "stored" if self.config.matrices == "stored" else "drawn at each use, the largest"
        return [f"feedback matrices: {self.feedback_bytes():,} B ({kind})"]

    def degrees(self) -> tuple[float, ...]:
        """See TrainingRule."""
        return tuple(self.angles.degrees)

    def state_dict(self) -> dict[str, Any]:
        """Return the angles; the matrices follow from the seed."""
        return self.angles.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See TrainingRule."""
        self.angles.load_state_dict(state)
