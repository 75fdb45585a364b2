"""The common base of methods that prune with masks under a schedule."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from pydantic import Field

from sparsemod.errors import InvalidInput
from sparsemod.pruning.base import Context, Method
from sparsemod.pruning.schedules import SCHEDULES
from sparsemod.spec import methods
from sparsemod.spec.methods import PruningConfig, PruningSchedule, PruningScheduleConfig

if TYPE_CHECKING:
    from torch import Tensor, nn


def at_start() -> PruningScheduleConfig:
    """Return the schedule of methods that prune before the training: everything at once."""
    return methods.PRUNING_SCHEDULES.config("one-shot", begin=0.0)


class MaskConfig(PruningConfig):
    """Keys of a method that prunes to a sparsity under a schedule."""

    sparsity: float = Field(0.5, ge=0, lt=1, description="Share to remove.")
    schedule: PruningSchedule = Field(
        default_factory=lambda: methods.PRUNING_SCHEDULES.config("cubic"),
        description="Share of the sparsity that applies at each epoch.",
    )

    @classmethod
    def upgraded(cls, data: dict[str, Any], version: int) -> dict[str, Any]:
        """Return `data` with the schedule's `begin` and `end` moved into it.

        Configs without a version may place them beside its name.
        """
        moved = {key: data[key] for key in ("begin", "end") if key in data}
        schedule = data.get("schedule", "cubic")
        if version or not moved or not isinstance(schedule, str):
            return super().upgraded(data, version)
        rest = {key: value for key, value in data.items() if key not in moved}
        return super().upgraded({**rest, "schedule": {"name": schedule, **moved}}, version)


class Scheduled(Protocol):
    """What the base reads of a config: the final sparsity and the schedule."""

    @property
    def sparsity(self) -> float: ...
    @property
    def schedule(self) -> PruningScheduleConfig: ...


C = TypeVar("C", bound=PruningConfig)


class MaskMethod(Method[C]):
    """Holds a boolean mask (True = keep) per tensor; a subclass chooses tensors and masks.

    Masks only lose elements: pruned weights stay pruned when the schedule increases the sparsity.
    """

    def __init__(self, config: C) -> None:
        super().__init__(config)
        self._goal = cast(Scheduled, config)
        self.schedule = SCHEDULES.create(self._goal.schedule)
        self._tensors: dict[str, Tensor] = {}
        self._masks: dict[str, Tensor] = {}
        # tensors and the elements to zero in them; stored because every step needs them
        self._drops: list[tuple[Tensor, Tensor]] = []
        self._complete = False  # whether the masks in use are those of the final sparsity
        self._at_target = False

    @abstractmethod
    def find(self, module: "nn.Module") -> "dict[str, Tensor]":
        """Return the tensors of `module` that masks apply to, by their names in its state."""

    @abstractmethod
    def choose(self, sparsity: float) -> "dict[str, Tensor]":
        """Return masks of `sparsity` for the tensors' current values (pruned ones are zero)."""

    @property
    def sparsity(self) -> float:
        """See Method. The share refers to the masks' elements."""
        total = sum(mask.numel() for mask in self._masks.values())
        return 1.0 - sum(int(mask.sum()) for mask in self._masks.values()) / total if total else 0.0

    def start(self, context: Context) -> None:
        """See Method. A network without prunable weights is at its target from the start."""
        import torch

        self.context = context
        self.shape, self.layout = context.shape, context.layout
        self._tensors, self._drops = self.find(context.module), []
        self._masks = {name: torch.ones_like(t, dtype=torch.bool) for name, t in self._tensors.items()}
        self._at_target = self._goal.sparsity == 0 or not self._tensors

    def before_epoch(self, epoch: int, epochs: int) -> None:
        """See Method."""
        if not 1 <= epoch <= epochs:
            raise InvalidInput("epoch", epoch, f"1 to {epochs}")
        if self._at_target:
            return
        share = 1.0 if epoch == epochs else self.schedule.share((epoch - 1) / epochs)
        if share <= 0:
            return
        masks = self.choose(self._goal.sparsity * share)
        self._complete = share >= 1
        self._apply({name: self._masks[name] & mask for name, mask in masks.items()})
        self._at_target = self._complete

    def after_step(self) -> None:
        """See Method."""
        import torch

        with torch.no_grad():
            for tensor, drop in self._drops:
                # masked_fill instead of a product, because nan x 0 is nan
                tensor.masked_fill_(drop, 0.0)

    def _apply(self, masks: "Mapping[str, Tensor]") -> None:
        self._masks = dict(masks)
        drops = ((tensor, ~self._masks[name]) for name, tensor in self._tensors.items())
        self._drops = [(tensor, drop) for tensor, drop in drops if bool(drop.any())]
        self.after_step()

    @property
    def at_target(self) -> bool:
        """See Method."""
        return self._at_target

    @property
    def masks(self) -> "Mapping[str, Tensor]":
        """The masks (True = kept), by the tensors' names in the module's state."""
        return dict(self._masks)

    def finish(self) -> None:
        """See Method."""
        if not self._at_target:
            raise InvalidInput(
                "pruning", self.sparsity, f"training ended before sparsity {self._goal.sparsity} was reached"
            )
        self._tensors, self._drops = {}, []

    def state_dict(self) -> dict[str, Any]:
        """See Method."""
        return {"masks": {n: m.clone() for n, m in self._masks.items()}, "at_target": self._at_target}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See Method. Raises InvalidInput for masks of another network."""
        import torch

        masks: Mapping[str, Tensor] = state["masks"]
        shapes = {name: tuple(mask.shape) for name, mask in masks.items()}
        expected = {name: tuple(mask.shape) for name, mask in self._masks.items()}
        if shapes != expected:
            raise InvalidInput("pruning state", shapes, f"masks of this network: {expected}")
        self._complete = self._at_target = bool(state["at_target"])
        self._apply({n: m.to(self._masks[n].device, torch.bool) for n, m in masks.items()})
