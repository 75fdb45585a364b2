"""What a pruning method is."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from sparsemod.plugins import Plugin, Plugins
from sparsemod.spec import methods
from sparsemod.spec.methods import PruningConfig

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sparsemod.graph import Graph

C = TypeVar("C", bound=PruningConfig)


class Context(Protocol):
    """The training that a method prunes in: the module on its device, the training data, the loss of a batch, the training's seed.

    `layout` names the axes of a sample of `shape` (see `sparsemod.layouts`; None: the default one of the shape).
    """

    @property
    def module(self) -> "nn.Module": ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def layout(self) -> str | None: ...
    @property
    def seed(self) -> int: ...
    def batches(self, size: int = ...) -> Iterator[tuple["Tensor", "Tensor"]]: ...
    def gradients(self, samples: int | None = None) -> dict[str, "Tensor"]: ...


@dataclass(frozen=True, eq=False)
class Plan:
    """What pruning will leave: `graph`, physically shrunk where the method shrinks, and in it `zeros` weights that are zero, wherever
    they are."""

    graph: "Graph"
    zeros: int = 0


class Method(Plugin[C]):
    """Removes weights of one module while it is trained. One object serves one training.

    Before any training, `plan` says what will be left; costs are predicted from it. The training loop then calls `start` once,
    `before_epoch(epoch, epochs)` before each epoch (`epoch` counts from 1), `after_step` after each optimizer step, and `finish` at the
    end. Only weights of epochs with `at_target` may be kept. `transform` makes the network to deploy.
    """

    def plan(self, graph: "Graph", sparsity: float, owned: Collection[str] | None = None) -> Plan:
        """What will be left of a captured (not deployed) graph at `sparsity` (0 for a method without that key); never more zeros than
        training will give.

        `owned`: the names of the module's tensors; layers whose weights are computed from others have another name in the graph.
        """
        return Plan(graph)

    def start(self, context: Context) -> None:
        """Take over the context's module, which is changed in place from now on. Nothing is pruned yet."""

    def before_epoch(self, epoch: int, epochs: int) -> None:
        """Prune to what is asked for in epoch `epoch` (from 1) of `epochs`; in the last epoch, to the end."""

    def after_step(self) -> None:
        """Set pruned weights to zero again, whatever momentum or decay did to them."""

    @property
    def sparsity(self) -> float:
        """Share of the prunable weights (or filters) that is pruned now."""
        return 0.0

    @property
    def at_target(self) -> bool:
        """Whether nothing more will be pruned."""
        return True

    def finish(self) -> None:
        """Let the module go. Pruned weights stay zero in it. Raises InvalidInput when the target was never reached."""

    def transform(self, module: "nn.Module", shape: Sequence[int], layout: str | None = None) -> "nn.Module":
        """The network to deploy, for samples of `shape` whose axes `layout` names, from a trained module on the CPU: the module itself,
        or a smaller one that computes the same. Raises Unsupported, BuildError."""
        return module

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values from which `load_state_dict` continues after an interruption."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`; called after `start` with a module of the same shape."""


METHODS: Plugins[Method[Any], PruningConfig] = methods.PRUNING
