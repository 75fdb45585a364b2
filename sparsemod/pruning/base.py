"""The base of pruning methods."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from sparsemod.plugins import Plugin, Plugins
from sparsemod.spec import methods
from sparsemod.spec.methods import PruningConfig

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sparsemod.graph import Graph
    from sparsemod.sequences import Batch

C = TypeVar("C", bound=PruningConfig)


class Context(Protocol):
    """The training in which a method prunes: the module on its device, the data, the loss of a batch, the seed.

    `layout` names the axes of a sample of `shape` (see `sparsemod.layouts`; None: the default one of the
    shape).
    """

    @property
    def module(self) -> "nn.Module": ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def layout(self) -> str | None: ...
    @property
    def seed(self) -> int: ...
    @property
    def loss(self) -> "Callable[[Tensor, Tensor], Tensor]": ...
    def batches(self, size: int = ...) -> Iterator[tuple["Batch", "Tensor"]]: ...
    def gradients(self, samples: int | None = None) -> dict[str, "Tensor"]: ...


@dataclass(frozen=True, eq=False)
class Plan:
    """Predicted result of pruning.

    `graph` is physically shrunk if the method shrinks networks. `zeros` of its weights are zero, at any
    position. `exact` is False if the shapes of the trained network may differ, because they follow from its
    weights.
    """

    graph: "Graph"
    zeros: int = 0
    exact: bool = True


class Method(Plugin[C]):
    """Removes weights of one module during its training. One object serves one training.

    A method may replace layers of the module in `before_epoch` and `load_state_dict`; the training loop then
    makes its optimizer anew.

    Before any training, `plan` predicts the result, from which costs are computed. The training loop calls
    `start` once, `before_epoch(epoch, epochs)` before each epoch (`epoch` counts from 1), `after_step`
    after each optimizer step, and `finish` at the end. Only weights of epochs with `at_target` may be kept.
    `transform` makes the network to deploy.
    """

    def plan(self, graph: "Graph", sparsity: float, owned: Collection[str] | None = None) -> Plan:
        """Return the plan for a captured (not deployed) graph at `sparsity` (0 for a method without that key).

        The plan never has more zeros than training will give. `owned`: the names of the module's tensors;
        layers whose weights are computed from others have another name in the graph.
        """
        return Plan(graph)

    def start(self, context: Context) -> None:
        """Start on the context's module, which the method changes in place. Nothing is pruned yet."""

    def before_epoch(self, epoch: int, epochs: int) -> None:
        """Prune to the sparsity of epoch `epoch` (from 1) of `epochs`; the last epoch prunes to the target."""

    def after_step(self) -> None:
        """Set pruned weights to zero again, since momentum or decay may have changed them."""

    @property
    def sparsity(self) -> float:
        """Return the share of the prunable weights (or filters) that is pruned now."""
        return 0.0

    @property
    def at_target(self) -> bool:
        """Return whether pruning is complete."""
        return True

    @property
    def restarts(self) -> bool:
        """Return whether the last `before_epoch` began a training anew: the loop then makes a fresh optimizer."""
        return False

    @property
    def notes(self) -> tuple[str, ...]:
        """Return sentences about the result for the trial's notes, such as the nearest reachable sparsity."""
        return ()

    def finish(self) -> None:
        """Release the module; its pruned weights stay zero. Raises InvalidInput if the target was never reached."""

    def transform(self, module: "nn.Module", shape: Sequence[int], layout: str | None = None) -> "nn.Module":
        """Return the network to deploy for a trained module on the CPU.

        It is the module itself, or a smaller one with the same function. `shape` is the shape of a sample,
        whose axes `layout` names. Raises Unsupported, BuildError.
        """
        return module

    def whole_state(self, module: "nn.Module") -> "dict[str, Tensor]":
        """Return the state of a trained module with the names and shapes that it had before pruning.

        Other networks inherit from it.
        """
        return dict(module.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and plain values from which `load_state_dict` continues after an interruption."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`; called after `start` with a module of the same shape.

        The module then has the layers of the state; its weights are loaded afterwards.
        """


METHODS: Plugins[Method[Any], PruningConfig] = methods.PRUNING
