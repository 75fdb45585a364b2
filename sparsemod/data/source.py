"""Datasets by name.

A dataset is a function `source(root, **options) -> Arrays`; `root` is the folder that holds the data of all datasets (or None), `options`
are the keys of the spec's `dataset.options` that the function declares.
"""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sparsemod.data.arrays import Arrays
from sparsemod.errors import InvalidInput
from sparsemod.records import DataInfo
from sparsemod.registry import Registry
from sparsemod.spec.experiment import DatasetSpec


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
        "sparsemod.data.sources.csv_file",
        "sparsemod.data.sources.digits",
        "sparsemod.data.sources.mnist",
        "sparsemod.data.sources.npz",
    ),
)


_DECLARED: dict[str, DataInfo] = {}


def dataset(
    name: str, *, shape: tuple[int, ...] | None = None, classes: int | None = None, layout: str = ""
) -> Callable[[S], S]:
    """Decorator that registers a source under `name`. Raises DuplicateName.

    A dataset that always has the same `shape` (of one sample, with its `layout`) and number of `classes` declares them here: a server can then
    judge a spec's search space without having the data.
    """

    def register(source: S) -> S:
        DATASETS.add(name, source)
        _DECLARED.pop(name, None)
        if shape is not None and classes is not None:
            _DECLARED[name] = DataInfo(name=name, shape=shape, classes=classes, layout=layout)
        return source

    return register


def bind(source: Callable[..., Arrays], spec: DatasetSpec) -> inspect.BoundArguments:
    """The arguments with which `source` is called for `spec`. Raises InvalidInput for options that it does not declare, or that it lacks."""
    options = {name: value for name, value in spec.options.items() if name != "normalization"}
    if not callable(source):
        raise InvalidInput("dataset.name", spec.name, "a function that returns sparsemod.data.Arrays")
    signature = inspect.signature(source)
    parameters = list(signature.parameters.values())
    if not any(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL) for p in parameters):
        raise InvalidInput(
            "dataset.name", spec.name, "a function whose first argument is the folder of all data, or None"
        )
    try:
        return signature.bind(None if spec.root is None else Path(spec.root), **options)
    except TypeError as error:
        known = [p.name for p in parameters[1:]]
        raise InvalidInput(
            "dataset.options", options, f"{error}; {spec.name} takes {', '.join([*known, 'normalization'])}"
        ) from None


def declared(name: str) -> DataInfo | None:
    """What dataset `name` declares about itself, None when only loading it would tell. Raises UnknownName for the field `dataset.name`."""
    DATASETS.get(name, field="dataset.name")
    return _DECLARED.get(name)
