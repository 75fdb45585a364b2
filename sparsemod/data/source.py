"""The registry of datasets.

A dataset is a function `source(root, **options) -> Arrays`. `root` is the folder of all datasets, or None. A
function whose first parameter has a default, such as `prepare(folder="../data")`, gets options only. A function may
also return a list of torch's data sets, see `sparsemod.data.torch_sets`.
`options` are the keys of the spec's `dataset.options`; the function declares them as parameters.
"""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sparsemod.data.arrays import Arrays
from sparsemod.errors import InvalidInput
from sparsemod.records import DataInfo
from sparsemod.registry import Registry
from sparsemod.spec.methods import Targets
from sparsemod.spec.parts import DatasetSpec


class Source(Protocol):
    """A registered function: returns the arrays, or raises DataMissing, DigestMismatch or InvalidInput."""

    def __call__(self, root: Path | None, /, **options: Any) -> Arrays: ...


S = TypeVar("S", bound=Callable[..., Arrays])

DATASETS: Registry[Callable[..., Arrays]] = Registry(
    "dataset",
    "sparsemod.datasets",
    builtin=("sparsemod.data.sources @dataset",),
)


_DECLARED: dict[str, DataInfo] = {}


def dataset(
    name: str, *, shape: tuple[int, ...] | None = None, classes: int | None = None, layout: str = ""
) -> Callable[[S], S]:
    """Decorator that registers a source under `name`. Raises DuplicateName.

    Declare `shape` (of one sample, with its `layout`) and the number of `classes` if they never change. A
    server can then check a spec's search space without the data.
    """

    def register(source: S) -> S:
        DATASETS.add(name, source)
        _DECLARED.pop(name, None)
        if shape is not None and classes is not None:
            _DECLARED[name] = DataInfo(name=name, shape=shape, classes=classes, layout=layout)
        return source

    return register


def bind(
    source: Callable[..., Arrays], spec: DatasetSpec, targets: Targets = "classes"
) -> inspect.BoundArguments:
    """Return the arguments of `source` for `spec`; a parameter `targets` gets what the task learns. Raises InvalidInput for undeclared or missing options."""
    options = {name: value for name, value in spec.options.items() if name != "normalization"}
    if not callable(source):
        raise InvalidInput("dataset.name", spec.name, "a function that returns sparsemod.data.Arrays")
    signature = inspect.signature(source)
    if "targets" in signature.parameters:
        options = {"targets": targets, **options}
    parameters = list(signature.parameters.values())
    # A function without positional parameters, or whose first one has an option's name or a default, finds its files itself.
    takes_root = any(p.kind in (p.POSITIONAL_ONLY, p.VAR_POSITIONAL) for p in parameters) or any(
        p.kind == p.POSITIONAL_OR_KEYWORD for p in parameters[:1] if p.default is p.empty or p.name == "root"
    )
    root = (None if spec.root is None else Path(spec.root),) if takes_root else ()
    try:
        return signature.bind(*root, **options)
    except TypeError as error:
        known = [p.name for p in parameters[len(root) :]]
        raise InvalidInput(
            "dataset.options", options, f"{error}; {spec.name} takes {', '.join([*known, 'normalization'])}"
        ) from None


def declared(name: str, targets: Targets = "classes") -> DataInfo | None:
    """Return the declared shape and classes of dataset `name`, None if it declares none or the task has other targets.

    Raises UnknownName for the field `dataset.name`.
    """
    DATASETS.get(name, field="dataset.name")
    return _DECLARED.get(name) if targets == "classes" else None
