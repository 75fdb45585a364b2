"""The base of augmentations, and the chain that the spec's list describes."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from sparsemod.errors import InvalidInput
from sparsemod.plugins import Plugin, Plugins
from sparsemod.spec import methods
from sparsemod.spec.methods import AugmentationConfig

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from sparsemod.sequences import Batch

C = TypeVar("C", bound=AugmentationConfig)


class Augmentation(Plugin[C]):
    """Changes training samples. All random numbers come from the generator, so a CPU and a GPU draw the same ones."""

    def fit(self, shape: tuple[int, ...]) -> None:
        """Prepare for samples of `shape` (without batch axis). Raises InvalidInput with a config key as field."""

    def __call__(self, x: "Tensor", generator: "torch.Generator") -> "Tensor":
        """Return a batch of the same shape for a normalized batch (N, *shape) and a CPU generator.

        Do not write to `x`.
        """
        raise NotImplementedError


AUGMENTATIONS: Plugins[Augmentation[Any], AugmentationConfig] = methods.AUGMENTATIONS


def build(configs: Iterable[AugmentationConfig], shape: tuple[int, ...]) -> tuple[Augmentation[Any], ...]:
    """Return the augmentations of a spec for samples of `shape`. Raises UnknownName, InvalidInput with the key."""
    chain = []
    for place, config in enumerate(configs):
        augmentation = AUGMENTATIONS.create(config)
        try:
            augmentation.fit(shape)
        except InvalidInput as error:
            raise error.at(f"training.augmentation.{place}") from None
        chain.append(augmentation)
    return tuple(chain)


def augmented(
    batch: "Batch", chain: Iterable[Augmentation[Any]], generator: "torch.Generator", channels_last: bool
) -> "Batch":
    """Return the augmented batch, contiguous unless images are `channels_last`; sequences keep their lengths."""
    import torch

    from sparsemod.sequences import Padded

    x = before = batch if isinstance(batch, torch.Tensor) else batch.x
    for augment in chain:
        x = augment(x, generator)
    if x is not before and not channels_last:
        x = x.clone(memory_format=torch.contiguous_format)
    return x if isinstance(batch, torch.Tensor) else Padded(x, batch.lengths)


def image_shape(name: str, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return `shape` as (C, H, W). Raises InvalidInput for samples that are not images."""
    if len(shape) != 3:
        raise InvalidInput("name", name, f"works on images (C, H, W); the samples have shape {shape}")
    return shape[0], shape[1], shape[2]


def at_most(key: str, value: int, high: int) -> int:
    """Return `value` of the config's `key` when it is at most `high`. Raises InvalidInput."""
    if value > high:
        raise InvalidInput(key, value, f"a whole number from 1 to {high} for these samples")
    return value
