"""The protocol of pruning methods, and what every method that works by masks has in common."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sparsemod.errors import InvalidInput
from sparsemod.pruning.plan import check_sparsity
from sparsemod.pruning.schedules import Schedule
from sparsemod.registry import Registry


class Pruner(ABC):
    """Removes weights of one module while it is trained.

    The training loop calls `start` once, `before_epoch(epoch, epochs)` before each epoch (`epoch` counts from
    1), `after_step` after each optimizer step, and `finish` at the end. Only weights of epochs with
    `at_target` may be kept.
    """

    @abstractmethod
    def start(self, module: nn.Module) -> None:
        """Take over `module`, which is changed in place from now on. Nothing is pruned yet."""

    @abstractmethod
    def before_epoch(self, epoch: int, epochs: int) -> None:
        """Prune to what the schedule asks for in epoch `epoch` (from 1) of `epochs`; the last epoch always
        has full sparsity."""

    @abstractmethod
    def after_step(self) -> None:
        """Set pruned weights to zero again, whatever momentum or decay did to them."""

    @property
    @abstractmethod
    def sparsity(self) -> float:
        """Share of the prunable weights (or filters) that is pruned now."""

    @property
    @abstractmethod
    def at_target(self) -> bool:
        """Whether full sparsity is reached: nothing more will be pruned."""

    @abstractmethod
    def finish(self) -> None:
        """Let the module go. Pruned weights stay zero in it. Raises InvalidInput when full sparsity was never
        reached."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values from which `load_state_dict` continues after an interruption."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`; call it after `start` with a module of the same shape, which is masked at
        once."""


class MaskPruner(Pruner):
    """A pruner that holds a boolean mask (True = keep) per tensor; a subclass says which tensors and which
    masks.

    Masks only ever shrink: what was pruned stays pruned when the schedule asks for more.
    """

    def __init__(self, sparsity: float, schedule: Schedule) -> None:
        self.target = check_sparsity(sparsity)
        self.schedule = schedule
        self._tensors: dict[str, Tensor] = {}
        self._masks: dict[str, Tensor] = {}
        # tensors and what to zero in them; kept because every step needs them
        self._drops: list[tuple[Tensor, Tensor]] = []
        self._at_target = False

    @abstractmethod
    def find(self, module: nn.Module) -> dict[str, Tensor]:
        """The tensors of `module` that masks apply to, by their names in its state."""

    @abstractmethod
    def choose(self, sparsity: float) -> dict[str, Tensor]:
        """Masks of `sparsity`, given the tensors' values now (pruned ones are zero)."""

    @abstractmethod
    def measure(self) -> float:
        """Share pruned by the current masks."""

    def start(self, module: nn.Module) -> None:
        """See Pruner. A network without anything to prune is at its target from the start."""
        self._tensors, self._drops = self.find(module), []
        self._masks = {name: torch.ones_like(t, dtype=torch.bool) for name, t in self._tensors.items()}
        self._at_target = self.target == 0 or not self._tensors

    def before_epoch(self, epoch: int, epochs: int) -> None:
        """See Pruner."""
        if not 1 <= epoch <= epochs:
            raise InvalidInput("epoch", epoch, f"1 to {epochs}")
        if self._at_target:
            return
        share = 1.0 if epoch == epochs else self.schedule.share((epoch - 1) / epochs)
        if share <= 0:
            return
        chosen = self.choose(self.target * share)
        self._apply({name: self._masks[name] & mask for name, mask in chosen.items()})
        self._at_target = share >= 1

    def after_step(self) -> None:
        """See Pruner."""
        with torch.no_grad():
            for tensor, drop in self._drops:
                # masked_fill rather than a product: nan x 0 would stay nan
                tensor.masked_fill_(drop, 0.0)

    def _apply(self, masks: Mapping[str, Tensor]) -> None:
        self._masks = dict(masks)
        drops = ((tensor, ~self._masks[name]) for name, tensor in self._tensors.items())
        self._drops = [(tensor, drop) for tensor, drop in drops if bool(drop.any())]
        self.after_step()

    @property
    def sparsity(self) -> float:
        """See Pruner."""
        return self.measure()

    @property
    def at_target(self) -> bool:
        """See Pruner."""
        return self._at_target

    @property
    def masks(self) -> Mapping[str, Tensor]:
        """The masks (True = kept), by the tensors' names in the module's state."""
        return dict(self._masks)

    def finish(self) -> None:
        """See Pruner."""
        if not self._at_target:
            raise InvalidInput(
                "pruning", self.sparsity, f"training ended before sparsity {self.target} was reached"
            )
        self._tensors, self._drops = {}, []

    def state_dict(self) -> dict[str, Any]:
        """See Pruner."""
        return {"masks": {n: m.clone() for n, m in self._masks.items()}, "at_target": self._at_target}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See Pruner. Raises InvalidInput for masks of another network."""
        masks: Mapping[str, Tensor] = state["masks"]
        shapes = {name: tuple(mask.shape) for name, mask in masks.items()}
        expected = {name: tuple(mask.shape) for name, mask in self._masks.items()}
        if shapes != expected:
            raise InvalidInput("pruning state", shapes, f"masks of this network: {expected}")
        self._apply({n: m.to(self._masks[n].device, torch.bool) for n, m in masks.items()})
        self._at_target = bool(state["at_target"])


PrunerFactory = Callable[[float, Schedule, tuple[int, ...]], Pruner]
"""(sparsity, schedule, one sample's shape) -> Pruner."""

PRUNERS: Registry[PrunerFactory] = Registry(
    "pruning method",
    "sparsemod.pruners",
    builtin=("sparsemod.pruning.none", "sparsemod.pruning.magnitude", "sparsemod.pruning.filters"),
)
