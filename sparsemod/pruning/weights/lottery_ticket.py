"""Lottery tickets (unstructured): prune, rewind the weights that stay to their initial values, train again."""

import math
from collections.abc import Collection, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from pydantic import Field

from sparsemod.errors import InvalidInput
from sparsemod.pruning.base import METHODS, Context, Plan
from sparsemod.pruning.masks import MaskMethod, at_start
from sparsemod.pruning.weights.prunable import graph_shapes, prunable_weights
from sparsemod.spec.methods import PruningConfig, PruningScheduleConfig

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sparsemod.graph import Graph


class LotteryTicketConfig(PruningConfig):
    """Keys of lottery_ticket."""

    rounds: int = Field(3, ge=1, le=100, description="How often the network is pruned and trained again.")
    conv_rate: float = Field(
        0.1, ge=0, lt=1, description="Share of a convolution's weights that a round removes."
    )
    fc_rate: float = Field(
        0.2, ge=0, lt=1, description="The same for linear layers; the output layer loses half of it."
    )
    one_shot: bool = Field(
        False,
        description="Prune the network of the first training in every round, each time by more (OSP), instead of the "
        "network of the round before (IMP).",
    )
    rewind: int = Field(
        0,
        ge=0,
        description="Epochs after which weights are stored, to which those that stay return (late rewinding).",
    )
    random: bool = Field(
        False, description="Give the weights that stay fresh random values instead: the control experiment."
    )

    @property
    def sparsity(self) -> float:
        """Return the share of the weights of linear layers, other than the output layer, to remove."""
        return 1 - (1 - self.fc_rate) ** self.rounds

    @property
    def schedule(self) -> PruningScheduleConfig:
        """Return a schedule, which is not used: rounds divide the epochs."""
        return at_start()


def remaining(weights: int, rate: float, rounds: int, one_shot: bool, output: bool) -> list[int]:
    """Return the weights of a layer that stay after 0, 1, ..., `rounds` rounds.

    A round of IMP removes ceil(weights that stay x rate). OSP removes ceil(weights x p) of all weights, where
    p grows to p + (1 - p) x rate; the output layer has half the rate, in OSP half of p. One weight stays.
    """
    exact, left = Fraction(str(rate)), [weights]
    share = Fraction(0)
    for _ in range(rounds):
        share += (1 - share) * exact
        gone = (
            weights - left[-1] + math.ceil(left[-1] * (exact / 2 if output else exact))
            if not one_shot
            else math.ceil(weights * (share / 2 if output else share))
        )
        left.append(max(1, weights - gone))
    return left


@METHODS.register("lottery_ticket")
class LotteryTicket(MaskMethod[LotteryTicketConfig]):
    """Trains `rounds` + 1 times for equal parts of the epochs; in between, it removes the smallest weights of each layer.

    The weights that stay return to their initial values, and the optimizer starts anew. Biases and norms are
    neither pruned nor reset. A learning rate that falls over the training falls over all rounds together.
    Source: Frankle and Carbin, "The lottery ticket hypothesis: finding sparse, trainable neural networks",
    2019; late rewinding: Frankle et al., "Stabilizing the lottery ticket hypothesis", 2019.
    """

    Config = LotteryTicketConfig

    def __init__(self, config: LotteryTicketConfig) -> None:
        super().__init__(config)
        self._round = 0
        self._restarts = False
        self._initial: dict[str, Tensor] = {}
        self._trained: dict[str, Tensor] = {}

    def plan(self, graph: "Graph", sparsity: float, owned: Collection[str] | None = None) -> Plan:
        """See Method. `sparsity` is ignored: rates and rounds decide."""
        shapes = graph_shapes(graph)
        left = self._ladder(shapes)
        return Plan(graph, sum(math.prod(shape) - left[name][-1] for name, shape in shapes.items()))

    def _ladder(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, list[int]]:
        """Return how many weights of each layer stay after each round."""
        config, last = self.config, list(shapes)[-1:]
        return {
            name: remaining(
                math.prod(shape),
                config.fc_rate if len(shape) == 2 else config.conv_rate,
                config.rounds,
                config.one_shot,
                [name] == last,
            )
            for name, shape in shapes.items()
        }

    def find(self, module: "nn.Module") -> "dict[str, Tensor]":
        """See MaskMethod."""
        return prunable_weights(module)

    def start(self, context: Context) -> None:
        """See Method. The weights are stored as the initial ones."""
        super().start(context)
        self._round, self._restarts, self._trained = 0, False, {}
        self._initial = {name: tensor.detach().clone() for name, tensor in self._tensors.items()}
        self._left = self._ladder({name: tuple(tensor.shape) for name, tensor in self._tensors.items()})

    @property
    def restarts(self) -> bool:
        """See Method."""
        return self._restarts

    def before_epoch(self, epoch: int, epochs: int) -> None:
        """See Method. A new round begins after each part of the epochs."""
        if not 1 <= epoch <= epochs:
            raise InvalidInput("epoch", epoch, f"1 to {epochs}")
        rounds = self.config.rounds
        wanted = rounds if epoch == epochs else (epoch - 1) * (rounds + 1) // epochs
        self._restarts = False
        if self._round == 0 and epoch == self.config.rewind + 1 and wanted == 0:
            self._initial = {name: tensor.detach().clone() for name, tensor in self._tensors.items()}
        while self._round < wanted and self._tensors:
            if self._round == 0 and self.config.one_shot:
                self._trained = {name: tensor.detach().clone() for name, tensor in self._tensors.items()}
            self._round += 1
            masks = self.choose(0.0)
            self._reset()
            self._apply(masks)
            self._restarts = True
        self._complete = self._at_target = self._round >= rounds or not self._tensors

    def choose(self, sparsity: float) -> "dict[str, Tensor]":
        """See MaskMethod. The masks of the current round; `sparsity` is ignored."""
        import torch

        masks = {}
        for name, tensor in self._tensors.items():
            score = self._trained.get(name, tensor).detach().abs().reshape(-1)
            if not self.config.one_shot:
                score = score.masked_fill(~self._masks[name].reshape(-1), -1.0)
            keep = torch.ones_like(score, dtype=torch.bool)
            keep[torch.argsort(score, stable=True)[: len(score) - self._left[name][self._round]]] = False
            masks[name] = keep.view_as(tensor)
        return masks

    def _reset(self) -> None:
        """Return all weights to their initial values, or to random ones; masks are applied afterwards."""
        import torch

        from sparsemod.pruning.draws import generator

        with torch.no_grad():
            for name, tensor in self._tensors.items():
                initial = self._initial[name]
                if self.config.random:
                    source = generator(self.context.seed, "lottery", name, str(self._round))
                    fresh = torch.randn(initial.shape, generator=source, dtype=torch.float64)
                    tensor.copy_((fresh * float(initial.std() if initial.numel() > 1 else 1.0)).to(tensor))
                else:
                    tensor.copy_(initial)

    def finish(self) -> None:
        """See Method."""
        super().finish()
        self._trained = {}

    def state_dict(self) -> dict[str, Any]:
        """See Method."""
        held = {"initial": self._initial, "trained": self._trained}
        tensors = {key: {n: t.clone() for n, t in part.items()} for key, part in held.items()}
        return {**super().state_dict(), **tensors, "round": self._round}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See Method."""
        super().load_state_dict(state)
        devices = {name: mask.device for name, mask in self._masks.items()}
        self._round = int(state["round"])
        self._initial = {n: t.to(devices[n]) for n, t in state["initial"].items()}
        self._trained = {n: t.to(devices[n]) for n, t in state["trained"].items()}
