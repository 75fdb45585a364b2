"""Load the dataset of a spec as normalized, disjoint splits in memory."""

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from sparsemod.data.arrays import Arrays, Labels
from sparsemod.data.normalization import Floats, Normalization, fit, valid_steps
from sparsemod.data.places import data_root
from sparsemod.data.source import DATASETS, bind
from sparsemod.data.splits import grouped, stratified, subset
from sparsemod.data.targets import NORMAL_NAMES, strata, without_anomalies
from sparsemod.data.torch_sets import from_datasets
from sparsemod.data.windows import Splitter, windowed_info
from sparsemod.errors import InvalidInput, SparsemodError
from sparsemod.files import fingerprint
from sparsemod.records import DataInfo
from sparsemod.registry import summarize_error
from sparsemod.spec.methods import Targets
from sparsemod.spec.parts import DatasetSpec

if TYPE_CHECKING:
    import torch

SplitName = Literal["train", "validation", "test"]

_CACHED = 4  # datasets cached in this process; MNIST takes 190 MB, CIFAR-10 620 MB


@dataclass(frozen=True, eq=False)
class Split:
    """The samples of one split.

    `x`: normalized float32 (N, *shape), images with channels last in memory. `y`: the targets. int64 (N,) classes, or 0
    (normal) and 1 (anomalous); float32 (N, K) labels, 0 or 1, or values; int64 (N, H, W) a class for each position.
    `lengths`: int64 (N,), the valid steps of sequences of different lengths; zeros follow them. `sequence`: int64
    (N,), for windows of sequences: the index of each window's sequence, from 0 in ascending order.

    Trials share the arrays: do not write to them.
    """

    name: SplitName
    x: Floats
    y: Labels
    lengths: NDArray[np.int64] | None = None
    sequence: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.y)

    @property
    def sequences(self) -> int:
        """The number of sequences; without windows that of the samples."""
        return len(self) if self.sequence is None else int(self.sequence[-1]) + 1

    def first(self, count: int) -> "Split":
        """Return the first `count` samples."""
        lengths, sequence = (None if part is None else part[:count] for part in (self.lengths, self.sequence))
        return Split(self.name, self.x[:count], self.y[:count], lengths, sequence)

    def with_more(self, other: "Split") -> "Split":
        """Return the samples of both, under this name. Raises InvalidInput for windows of sequences."""
        if self.sequence is not None or other.sequence is not None:
            raise InvalidInput("split", self.name, "samples that are not windows")
        x = np.empty_like(
            self.x, shape=(len(self) + len(other), *self.x.shape[1:])
        )  # the same order in memory
        x[: len(self)], x[len(self) :] = self.x, other.x
        lengths = None
        if self.lengths is not None and other.lengths is not None:
            lengths = np.concatenate([self.lengths, other.lengths])
        return Split(self.name, x, np.concatenate([self.y, other.y]), lengths)

    def cut(self, splitter: Splitter, axis: int) -> "Split":
        """Return the windows of the sequences, whose steps are in `axis` of `x`."""
        x, lengths, sequence = splitter.cut(self.x, self.lengths, axis)
        return Split(self.name, x, self.y[sequence], lengths, sequence)

    def tensors(self) -> "tuple[torch.Tensor, torch.Tensor]":
        """Return `x` and `y` as CPU tensors that share their memory."""
        return self._tensors

    @cached_property
    def _tensors(self) -> "tuple[torch.Tensor, torch.Tensor]":
        import torch

        return torch.from_numpy(self.x), torch.from_numpy(self.y)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Disjoint splits of a dataset: `train`, `validation`, and the test split through `test_split()`."""

    info: DataInfo
    train: Split
    validation: Split
    normalization: Normalization
    names: tuple[str, ...]
    official_test: bool  # whether the dataset provides the test split
    own_validation: bool  # whether the dataset provides the validation split
    groups: dict[str, int] | None  # number of groups in each drawn split, None for data without groups
    _test_x: NDArray[Any] = field(repr=False)
    _test_y: Labels = field(repr=False)
    _test_lengths: NDArray[np.int64] | None = field(repr=False, default=None)
    _splitter: Splitter | None = None
    _windowed: "OrderedDict[Splitter, Dataset]" = field(default_factory=OrderedDict, repr=False)

    def test_split(self) -> Split:
        """Return the test split, normalized with the training split's constants.

        Use it only for the final report of a chosen network, never to choose one.
        """
        x = normalized(self.normalization, self._test_x, self._test_lengths, self.info)
        test = Split("test", x, self._test_y, self._test_lengths)
        return test if self._splitter is None else test.cut(self._splitter, self._step_axis)

    @property
    def _step_axis(self) -> int:
        return 1 + self.info.axes.positions[0]

    def windowed(self, splitter: Splitter) -> "Dataset":
        """Return the dataset with its sequences cut into windows; the same splitter gives the same object.

        Raises InvalidInput for samples that are no sequences.
        """
        if splitter not in self._windowed:
            info, axis = windowed_info(self.info, splitter), self._step_axis
            self._windowed[splitter] = replace(
                self,
                info=info,
                train=self.train.cut(splitter, axis),
                validation=self.validation.cut(splitter, axis),
                _splitter=splitter,
                _windowed=OrderedDict(),
            )
            while len(self._windowed) > _CACHED:
                self._windowed.popitem(last=False)
        self._windowed.move_to_end(splitter)
        return self._windowed[splitter]

    def with_validation(self, targets: Targets) -> "Dataset":
        """Return the dataset for a last training, on the training and the validation samples together.

        The split `validation` holds the same samples as before under the name "train": they measure the fit, and no
        choice may depend on them. With the targets `normal`, only normal samples are added. The test split is not read.
        """
        more = self.validation
        if targets == "normal":
            normal = more.y == 0
            lengths = None if more.lengths is None else more.lengths[normal]
            more = Split(more.name, more.x[normal], more.y[normal], lengths)
        return replace(
            self,
            train=self.train.with_more(more),
            validation=replace(self.validation, name="train"),
            _windowed=OrderedDict(),
        )

    @property
    def sizes(self) -> dict[str, int]:
        """Number of samples in each split."""
        return {"train": len(self.train), "validation": len(self.validation), "test": len(self._test_y)}


def normalized(
    normalization: Normalization, x: NDArray[Any], lengths: NDArray[Any] | None, info: DataInfo
) -> Floats:
    """Return normalized samples; the steps behind `lengths` (N,) become 0."""
    values = normalization.apply(x)
    if lengths is not None:
        axis = 1 + info.axes.positions[0]
        steps = np.moveaxis(values, axis, 1)  # a view
        steps[~valid_steps(lengths, steps.shape[1])] = 0.0
    return values


_cache: "OrderedDict[str, Dataset]" = OrderedDict()


def load(spec: DatasetSpec, *, targets: Targets = "classes", imports: bool = True) -> Dataset:
    """Load, split and normalize the dataset of `spec`. Equal specs in one process give the same object.

    The test split is the dataset's official test set, whole, or else a share `splits.test` of the samples.
    The validation split is the dataset's own, or else a share `splits.validation`. Drawn splits never divide
    a group. `limit` does not apply to splits that the dataset provides. Every dataset has the option
    `normalization`: "standard" (default; mean 0 and deviation 1 per channel), "symmetric" ([-1, 1]), "unit"
    ([0, 1]) or "none". `targets` is what the task learns: classes and the two kinds of anomaly data give stratified splits, others
    random ones; only normal samples are for training. A dataset function with a parameter `targets` gets it. With `imports`, `spec.name` may be `module:attribute`.
    Raises UnknownName, DataMissing, DigestMismatch, InvalidInput (fields named as in the spec).
    """
    key = f"{targets} {_key(spec)}"
    if key in _cache:
        _cache.move_to_end(key)
        return _cache[key]
    loaded = _load(spec, targets, imports)
    _cache[key] = loaded
    while len(_cache) > _CACHED:
        _cache.popitem(last=False)
    return loaded


def _key(spec: DatasetSpec) -> str:
    path = spec.options.get("path")
    stamp = ""
    if isinstance(path, str):
        # A user's file may change between calls; a published dataset does not.
        place = data_root(spec.root) / Path(path).expanduser()
        files = sorted(place.rglob("*")) if place.is_dir() else [place] if place.is_file() else []
        stamp = fingerprint("\n".join(f"{file} {file.stat().st_mtime_ns}" for file in files))
    text = "\n".join([spec.model_dump_json(), str(data_root(spec.root).absolute()), stamp])
    return fingerprint(text)


def _load(spec: DatasetSpec, targets: Targets, imports: bool) -> Dataset:
    source = DATASETS.get(spec.name, imports=imports, field="dataset.name")
    method = spec.options.get("normalization", "standard")
    bound = bind(source, spec, targets)
    try:
        arrays: Any = source(*bound.args, **bound.kwargs)
        if isinstance(arrays, list | tuple):
            arrays = from_datasets(arrays)
    except InvalidInput as error:
        # Errors from `Arrays` name a field of the arrays but not the dataset: add it.
        names_dataset = error.source is not None or error.field.startswith("dataset.")
        raise error if names_dataset else error.at(source=f"dataset {spec.name!r}") from error.__cause__
    except (SparsemodError, MemoryError):
        raise
    except Exception as error:  # from the source's code
        raise InvalidInput(
            "dataset", spec.name, f"with options {spec.options} its source raised {summarize_error(error)}"
        ) from error
    if not isinstance(arrays, Arrays):
        raise InvalidInput(
            "dataset.name",
            spec.name,
            f"must return sparsemod.data.Arrays or a list of torch's data sets, not {type(arrays).__name__}",
        )
    return _divide(spec, arrays.meant_for(targets, spec.name), str(method))


def _divide(spec: DatasetSpec, arrays: Arrays, method: str) -> Dataset:
    x, y, groups, lengths = arrays.x, arrays.y, arrays.groups, _whole(arrays.lengths)
    kind = arrays.kind
    if spec.limit is not None and spec.limit < len(y):
        chosen = subset(strata(kind, y), spec.limit, spec.splits.seed)
        x, y = x[chosen], y[chosen]
        groups, lengths = (None if part is None else part[chosen] for part in (groups, lengths))
    sizes: dict[str, float] = {}
    if arrays.val_x is None:
        sizes["validation"] = spec.splits.validation
    if arrays.test_x is None:
        sizes["test"] = spec.splits.test
    try:
        if groups is None:
            parts = stratified(strata(kind, y), sizes, spec.splits.seed)
        else:
            parts = grouped(strata(kind, y), groups, sizes, spec.splits.seed)
    except InvalidInput as error:
        raise error.at("dataset") from None
    if kind == "normal":
        parts = without_anomalies(y, parts, move=groups is None)
    info = DataInfo(
        name=spec.name, shape=arrays.shape, classes=arrays.class_count, layout=arrays.layout or "", sequences=lengths is not None, packed=arrays.packed,
        outputs=(arrays.class_count, *y.shape[1:]) if kind == "pixels" else (arrays.class_count,),
    )  # fmt: skip
    train_x = x[parts["train"]]
    train_lengths = None if lengths is None else lengths[parts["train"]]
    normalization = fit(method, train_x, arrays.layout, train_lengths)

    def part(
        name: str, own_x: NDArray[Any] | None, own_y: NDArray[Any] | None, own_lengths: NDArray[Any] | None
    ) -> tuple[NDArray[Any], Labels, NDArray[np.int64] | None]:
        if own_x is None or own_y is None:
            return x[parts[name]], y[parts[name]], None if lengths is None else lengths[parts[name]]
        return own_x, own_y, _whole(own_lengths)

    validation_x, validation_y, validation_lengths = part(
        "validation", arrays.val_x, arrays.val_y, arrays.val_lengths
    )
    test_x, test_y, test_lengths = part("test", arrays.test_x, arrays.test_y, arrays.test_lengths)
    return Dataset(
        info=info,
        train=Split(
            "train", normalized(normalization, train_x, train_lengths, info), y[parts["train"]], train_lengths
        ),
        validation=Split(
            "validation",
            normalized(normalization, validation_x, validation_lengths, info),
            validation_y,
            validation_lengths,
        ),
        normalization=normalization,
        names=arrays.names
        or (NORMAL_NAMES if kind == "normal" else tuple(str(label) for label in range(arrays.class_count))),
        official_test=arrays.test_x is not None,
        own_validation=arrays.val_x is not None,
        groups=None
        if groups is None
        else {
            name: len(np.unique(groups[parts[name]]))
            for name in ("train", "validation", "test")
            if name in parts
        },
        _test_x=test_x,
        _test_y=test_y,
        _test_lengths=test_lengths,
    )


def _whole(lengths: NDArray[Any] | None) -> NDArray[np.int64] | None:
    return None if lengths is None else lengths.astype(np.int64)
