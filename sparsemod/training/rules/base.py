"""The base of training rules."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from sparsemod.plugins import Plugin, Plugins
from sparsemod.spec import methods
from sparsemod.spec.methods import RuleConfig

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sparsemod.sequences import Batch

C = TypeVar("C", bound=RuleConfig)
LossFunction = Callable[["Tensor", "Tensor"], "Tensor"]
"""(outputs (N, classes), targets (N,)) -> mean loss of the batch."""


class TrainingRule(Plugin[C]):
    """Computes gradients. One object serves one training."""

    layer_by_layer: ClassVar[bool] = False
    """Whether the rule hooks single layers or replaces their forward; layers are then not fused."""

    update: "Callable[[], None] | None" = None
    """Where the training allows it: updates the parameters that have a gradient and drops these gradients.

    A rule may call it after each layer; the training updates what is left.
    """

    outputs: "Callable[[Batch], Tensor] | None" = None
    """Where the training sets it: returns the outputs of a batch, in place of the module. Only for rules that use
    `gradients` of this class.
    """

    scaled: "Callable[[Tensor], Tensor] | None" = None
    """Where the training sets it: returns the value to differentiate for a loss."""

    def start(self, module: "nn.Module", seed: int) -> None:
        """Start on `module`, in training mode, on its device; draw random values from `seed`."""
        self.module = module

    def gradients(self, x: "Batch", y: "Tensor", loss: LossFunction) -> "Tensor":
        """Write the batch's gradients to the parameters' `grad` (None before); return the loss, detached.

        This method uses autograd. A rule that only changes autograd in single layers, in `start`, can keep
        it.
        """
        from sparsemod.sequences import call

        value = loss(call(self.module, x) if self.outputs is None else self.outputs(x), y)
        (value if self.scaled is None else self.scaled(value)).backward()
        return value.detach()

    def feedback_bytes(self) -> int:
        """Return the bytes of the rule's own matrices beside the network's weights, after the first batch."""
        return 0

    def feedback(self) -> "list[Tensor]":
        """Return the rule's own matrices that exist between batches."""
        return []

    def before_epoch(self, x: "Batch", y: "Tensor", loss: LossFunction) -> None:
        """Observe the first batch of an epoch before its gradients; the parameters have no gradients."""

    def degrees(self) -> tuple[float, ...]:
        """Return the angles, in degrees, between the rule's gradient and the true one by epoch; empty if not measured."""
        return ()

    def notes(self) -> list[str]:
        """Return sentences about the training for the trial's notes; called at its end."""
        return []

    def finish(self) -> None:
        """Remove hooks from the module. Called at the end of a training, also after a divergence."""

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and plain values that the next epoch depends on; they are part of each checkpoint.

        Values may be nested mappings with text keys without "/".
        """
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`; called after `start`. Tensors in it are on the CPU."""


RULES: Plugins[TrainingRule[Any], RuleConfig] = methods.RULES
