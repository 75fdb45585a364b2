"""Datasets by name.

A dataset is a function `source(root, **options) -> Arrays`; `root` is the folder that holds the data of all datasets (or None), `options`
are the keys of the spec's `dataset.options` that the function declares.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sparsemod.data.arrays import Arrays
from sparsemod.registry import Registry


class Source(Protocol):
    """What is registered: returns the arrays, or raises DataMissing, DigestMismatch or InvalidInput."""

    def __call__(self, root: Path | None, /, **options: Any) -> Arrays: ...


S = TypeVar("S", bound=Callable[..., Arrays])

DATASETS: Registry[Callable[..., Arrays]] = Registry(
    "dataset",
    "sparsemod.datasets",
    builtin=(
        "sparsemod.data.sources.cifar10",
        "sparsemod.data.sources.cifar10_binary",
        "sparsemod.data.sources.digits",
        "sparsemod.data.sources.mnist",
        "sparsemod.data.sources.npz",
    ),
)


def dataset(name: str) -> Callable[[S], S]:
    """Decorator that registers a source under `name`. Raises DuplicateName."""

    def register(source: S) -> S:
        DATASETS.add(name, source)
        return source

    return register
