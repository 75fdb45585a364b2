"""Losses with a teacher: softened outputs and attention transfer."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sparsemod.errors import InvalidInput
from sparsemod.sequences import Batch, call
from sparsemod.spec.teacher import TeacherSpec
from sparsemod.spec.training import TrainingSpec
from sparsemod.training.resident import Samples
from sparsemod.training.rules import LossFunction

_BATCH = 256

Seen = tuple[Tensor, ...]
"""The teacher's outputs (N, classes) and its attention maps (N, positions) at the taps."""


class Distillation:
    """One training of `module` with `teacher`.

    The teacher runs in evaluation mode without gradients. With `samples`, all training samples of a training without
    augmentation, each sample goes through the teacher once. `finish` removes the hooks from both networks.

    Raises InvalidInput for taps that are no layers, or that both networks do not name.
    """

    def __init__(
        self, module: nn.Module, teacher: nn.Module, settings: TeacherSpec, samples: Samples | None = None
    ) -> None:
        self.module, self.settings = module, settings
        self.teacher = teacher.eval().requires_grad_(False)
        pairs = self._pairs() if settings.beta else ()
        self._handles: list[Any] = []
        self._ours: dict[int, Tensor] = {}
        self._theirs: dict[int, Tensor] = {}
        for place, (own, other) in enumerate(pairs):
            self._watch(module, own, place, self._ours)
            self._watch(teacher, other, place, self._theirs)
        self._taps = len(pairs)
        self._samples, self._cached = samples, None if samples is None else self._see_all(samples)

    def _pairs(self) -> tuple[tuple[str, str], ...]:
        given = self.settings.pairs()
        if given is None:
            own, other = (tuple(getattr(part, "taps", ())) for part in (self.module, self.teacher))
            if not own or len(own) != len(other):
                raise InvalidInput(
                    "training.teacher.taps",
                    None,
                    f"layers by name: the networks name {len(own)} and {len(other)} taps of their own",
                )
            given = tuple(zip(own, other, strict=True))
        for part, names in (
            (self.module, [own for own, _ in given]),
            (self.teacher, [other for _, other in given]),
        ):
            known = [name for name, _ in part.named_modules() if name]
            for name in names:
                if name not in known:
                    raise InvalidInput("training.teacher.taps", name, f"a layer: {', '.join(known[:40])}")
        return given

    def _watch(self, part: nn.Module, name: str, place: int, into: dict[int, Tensor]) -> None:
        def keep(_: nn.Module, given: Any, output: Tensor) -> None:
            into[place] = attention(output)

        self._handles.append(part.get_submodule(name).register_forward_hook(keep))

    def _see(self, x: Batch) -> Seen:
        with torch.no_grad():
            outputs = call(self.teacher, x)
        return outputs, *(self._theirs[place] for place in range(self._taps))

    def _see_all(self, samples: Samples) -> Seen:
        parts = [
            self._see(samples.slice(start, start + _BATCH)[0]) for start in range(0, len(samples), _BATCH)
        ]
        return tuple(torch.cat(column) for column in zip(*parts, strict=True))

    def loss(self, x: Batch, indices: Tensor, own: LossFunction) -> LossFunction:
        """Return the loss of a batch: the samples `x` at `indices`, where `own` is the loss on the labels."""
        seen = (
            self._see(x)
            if self._cached is None
            else tuple(part.index_select(0, indices) for part in self._cached)
        )
        settings = self.settings

        def mean(outputs: Tensor, targets: Tensor) -> Tensor:
            value = own(outputs, targets) * (1.0 - settings.alpha)
            if settings.alpha:
                value = value + settings.alpha * softened(outputs, seen[0], settings.temperature)
            for place in range(self._taps):
                value = value + settings.beta / self._taps * self._difference(place, seen[1 + place])
            return value

        return mean

    def _difference(self, place: int, other: Tensor) -> Tensor:
        ours = self._ours[place]
        if ours.shape != other.shape:
            raise InvalidInput(
                "training.teacher.taps",
                f"tap {place + 1}",
                f"outputs of one size: {ours.shape[1]} positions, the teacher's {other.shape[1]}",
            )
        return functional.mse_loss(ours, other)

    def finish(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()
        self._ours.clear()
        self._theirs.clear()


def taught(
    module: nn.Module,
    teacher: nn.Module | None,
    settings: TrainingSpec,
    samples: Samples | None,
) -> Distillation | None:
    """Return the distillation of a training with these settings, None without a teacher in them.

    `samples`: see Distillation. Raises InvalidInput without the teacher's network.
    """
    if settings.teacher is None:
        return None
    if teacher is None:
        raise InvalidInput("training.teacher", None, "the teacher's network, an argument of this training")
    device = next(module.parameters()).device
    return Distillation(module, teacher.to(device), settings.teacher, samples)


def attention(activations: Tensor) -> Tensor:
    """Return the attention map (N, positions) of activations (N, C, ...) in float32: the channels' mean square, with length 1."""
    return functional.normalize(activations.float().square().mean(1).reshape(len(activations), -1))


def softened(outputs: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return temperature^2 x the mean KL divergence from the teacher's softened outputs (N, classes) to ours."""
    ours = functional.log_softmax(outputs / temperature, 1)
    theirs = functional.log_softmax(teacher / temperature, 1)
    return functional.kl_div(ours, theirs, reduction="batchmean", log_target=True) * temperature**2
