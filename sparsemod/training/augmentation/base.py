"""What an augmentation is, and how the spec's list becomes a chain of them."""

import inspect
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from sparsemod.errors import InvalidInput
from sparsemod.registry import Registry
from sparsemod.spec.training import AugmentationSpec

Augmentation = Callable[[Tensor, torch.Generator], Tensor]
"""(normalized batch (N, *shape), CPU generator) -> batch of the same shape; the argument may not be written to.

All randomness comes from the generator, so that a CPU and a GPU draw the same numbers."""

AugmentationFactory = Callable[..., Augmentation]
"""(one sample's shape, **options) -> Augmentation."""

AUGMENTATIONS: Registry[AugmentationFactory] = Registry(
    "augmentation",
    "sparsemod.augmentations",
    builtin=(
        "sparsemod.training.augmentation.cutout",
        "sparsemod.training.augmentation.flip",
        "sparsemod.training.augmentation.noise",
        "sparsemod.training.augmentation.shift",
    ),
)


def build(specs: Iterable[AugmentationSpec], shape: tuple[int, ...]) -> tuple[Augmentation, ...]:
    """The augmentations of a spec, for samples of `shape`. Raises UnknownName, InvalidInput naming the option."""
    chain = []
    for place, spec in enumerate(specs):
        field = f"training.augmentation.{place}"
        factory = AUGMENTATIONS.get(spec.name, field=f"{field}.name")
        try:
            bound = inspect.signature(factory).bind(shape, **spec.options)
        except TypeError as error:
            known = ", ".join(list(inspect.signature(factory).parameters)[1:]) or "none"
            raise InvalidInput(
                f"{field}.options", spec.options, f"{error}; options of {spec.name}: {known}"
            ) from None
        try:
            chain.append(factory(*bound.args, **bound.kwargs))
        except InvalidInput as error:
            raise error.at(field) from None
    return tuple(chain)


def image_shape(name: str, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """`shape` as (C, H, W). Raises InvalidInput for samples that are no images."""
    if len(shape) != 3:
        raise InvalidInput("name", name, f"works on images (C, H, W); the samples have shape {shape}")
    return shape[0], shape[1], shape[2]


def whole(field: str, value: object, low: int, high: int) -> int:
    """`value` as an integer in [low, high]. Raises InvalidInput."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidInput(f"options.{field}", value, f"an integer from {low} to {high}")
    return value


def real(field: str, value: object, low: float, high: float) -> float:
    """`value` as a number in [low, high]. Raises InvalidInput."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise InvalidInput(f"options.{field}", value, f"a number from {low} to {high}")
    return float(value)
