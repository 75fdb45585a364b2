"""What a training rule is."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from sparsemod.plugins import Plugin, Plugins
from sparsemod.spec import methods
from sparsemod.spec.methods import RuleConfig

if TYPE_CHECKING:
    from torch import Tensor, nn

C = TypeVar("C", bound=RuleConfig)
LossFunction = Callable[["Tensor", "Tensor"], "Tensor"]
"""(outputs (N, classes), targets (N,)) -> mean loss of the batch."""


class TrainingRule(Plugin[C]):
    """Computes gradients. One object serves one training."""

    layer_by_layer: ClassVar[bool] = False
    """Whether the rule hooks single layers or replaces their forward: then no layers are run as one fused step."""

    def start(self, module: "nn.Module", seed: int) -> None:
        """Take over `module`, in training mode, on its device; anything random is drawn from `seed`."""
        self.module = module

    def gradients(self, x: "Tensor", y: "Tensor", loss: LossFunction) -> "Tensor":
        """Put the batch's gradients into the parameters' `grad` (None before); returns the loss, detached.

        Here by autograd: enough for a rule that changes in `start` what autograd does in single layers.
        """
        value = loss(self.module(x), y)
        value.backward()
        return value.detach()

    def finish(self) -> None:
        """Let the module go: remove hooks. Called at the end of a training, after a divergence too."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values (nested mappings, text keys without "/") that the next epoch depends on; part of each checkpoint."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`; called after `start`. Tensors in it are on the CPU."""


RULES: Plugins[TrainingRule[Any], RuleConfig] = methods.RULES
