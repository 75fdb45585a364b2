"""Weight rewinding: after pruning, the weights that stay return to earlier values."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from safetensors.torch import load as load_tensors
from torch import nn

from sparsemod.errors import BuildError
from sparsemod.plugins import PluginConfig
from sparsemod.training.context import TrainingContext
from sparsemod.training.pruner import Pruner

if TYPE_CHECKING:
    from sparsemod.pipeline.work import Work


def rewound(work: "Work", method: Pruner) -> Pruner:
    """Return the pruner that also rewinds the weights to the parent's artifact `rewind`; the trial stores it again.

    Raises BuildError when the parent has no such artifact.
    """
    if work.parent is None or work.parent.rewind is None:
        raise BuildError("rewinding needs the stored early weights of the parent, which it does not have")
    content = work.parent.rewind
    work.keep("rewind", "rewind.safetensors", lambda: content)
    return _Rewound(method, content)


class _Rewound:
    """A pruner that prunes trained weights before the first epoch, and then loads early weights into what stays."""

    def __init__(self, method: Pruner, content: bytes) -> None:
        self._method, self._content = method, content
        self._module: nn.Module | None = None

    @property
    def config(self) -> PluginConfig:
        return self._method.config

    def start(self, context: TrainingContext) -> None:
        self._module = context.module
        self._method.start(context)

    def before_epoch(self, epoch: int, epochs: int) -> None:
        """Raises BuildError when pruning is not complete before the first epoch, or has replaced layers."""
        self._method.before_epoch(epoch, epochs)
        if epoch > 1 or self._module is None:
            return
        if not self._method.at_target:
            raise BuildError(
                "rewinding needs a schedule that prunes before the first epoch: {name: one-shot, begin: 0}"
            )
        early = load_tensors(self._content)
        own = self._module.state_dict()
        if {n: t.shape for n, t in own.items()} != {n: t.shape for n, t in early.items()}:
            raise BuildError("rewinding needs a pruning method that keeps the layers")
        self._module.load_state_dict(early)
        self._method.after_step()

    def after_step(self) -> None:
        self._method.after_step()

    @property
    def sparsity(self) -> float:
        return self._method.sparsity

    @property
    def at_target(self) -> bool:
        return self._method.at_target

    @property
    def restarts(self) -> bool:
        return self._method.restarts

    def finish(self) -> None:
        self._method.finish()
        self._module = None

    def state_dict(self) -> dict[str, Any]:
        return self._method.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._method.load_state_dict(state)
