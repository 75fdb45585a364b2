"""A dataset's training and validation samples as tensors on the training device."""

import weakref
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsemod.errors import InvalidInput
from sparsemod.layouts import RANKS, described
from sparsemod.records import DataInfo
from sparsemod.sequences import Batch, Padded
from sparsemod.spec.methods import TaskConfig
from sparsemod.training.tasks.base import TASKS, Task


class _Split(Protocol):
    @property
    def y(self) -> NDArray[Any]: ...
    @property
    def lengths(self) -> NDArray[np.int64] | None: ...
    @property
    def sequence(self) -> NDArray[np.int64] | None: ...
    def tensors(self) -> tuple[Tensor, Tensor]: ...


class _Dataset(Protocol):
    @property
    def info(self) -> DataInfo: ...
    @property
    def train(self) -> _Split: ...
    @property
    def validation(self) -> _Split: ...


_held: "weakref.WeakKeyDictionary[Any, dict[str, Resident]]" = weakref.WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples of one split on one device.

    `rows` holds each sample as one contiguous row, images channels last, so that one copy gathers a batch
    in the memory format that convolutions prefer. `shape` is the shape of a sample, images channels first:
    (C, H, W). `layout` names its axes where it is known. With `channels_last` false, batches of images have
    torch's default format, which costs a second copy.
    """

    rows: Tensor  # float32 (N, elements)
    labels: Tensor  # what the loss compares the outputs with: int64 (N,) classes, or as the task says
    shape: tuple[int, ...]
    channels_last: bool = True
    layout: str | None = None
    lengths: Tensor | None = None  # int64 (N,), valid steps of sequences
    sequence: Tensor | None = None  # int64 (N,), on the CPU: the sequence of each window
    truth: NDArray[Any] | None = None  # what the metric compares predictions with, if other than `labels`
    counted: Tensor | None = None  # bool (N,): the samples whose loss is reported; None: all

    @staticmethod
    def of(
        x: Tensor,
        labels: Tensor,
        device: torch.device | str = "cpu",
        layout: str | None = None,
        lengths: Tensor | None = None,
        sequence: Tensor | None = None,
    ) -> "Samples":
        """Return samples from float32 samples (N, *shape), such as images (N, C, H, W), and int64 labels (N, ...) or float32 (N, ...).

        `lengths` (N,): the valid steps of sequences. `sequence` (N,): the sequence of each window, ascending. Only tensors in another memory layout are copied. Raises InvalidInput.
        """
        if x.dim() - 1 not in RANKS or x.dtype != torch.float32:
            allowed = f"float32 samples (N, ...), each one of {described()}"
            raise InvalidInput("x", (tuple(x.shape), str(x.dtype)), allowed)
        wanted = torch.float32 if labels.is_floating_point() else torch.int64
        plain = labels.dim() != 2 if wanted == torch.int64 else labels.dim() > 1
        if labels.shape[:1] != (len(x),) or labels.dtype != wanted or not plain:
            raise InvalidInput(
                "labels", (tuple(labels.shape), str(labels.dtype)), f"int64 labels of shape ({len(x)},), or what the task's loss needs"
            )  # fmt: skip
        flat = x.permute(0, 2, 3, 1) if x.dim() == 4 else x
        rows = flat.reshape(len(x), -1).to(device)
        lengths = None if lengths is None else lengths.to(device)
        return Samples(
            rows, labels.to(device), tuple(x.shape[1:]), layout=layout, lengths=lengths, sequence=sequence
        )

    def __len__(self) -> int:
        return len(self.labels)

    def shaped(self, rows: Tensor) -> Tensor:
        """Return rows as samples (n, *shape); images need no copy when channels are last."""
        if len(self.shape) != 3:
            return rows.view(len(rows), *self.shape)
        channels, height, width = self.shape
        images = rows.view(len(rows), height, width, channels).permute(0, 3, 1, 2)
        if self.channels_last:
            return images
        # Not `contiguous()`: images with one channel count as contiguous and still look channels last.
        return images.clone(memory_format=torch.contiguous_format)

    def batch(self, indices: Tensor) -> tuple[Batch, Tensor]:
        """Return the samples at `indices` (int64, on the device) and their labels."""
        x, labels = self.shaped(self.rows.index_select(0, indices)), self.labels.index_select(0, indices)
        return (x if self.lengths is None else Padded(x, self.lengths.index_select(0, indices))), labels

    def slice(self, start: int, stop: int) -> tuple[Batch, Tensor]:
        """Return consecutive samples and their labels, without a copy."""
        x, labels = self.shaped(self.rows[start:stop]), self.labels[start:stop]
        return (x if self.lengths is None else Padded(x, self.lengths[start:stop])), labels


@dataclass(frozen=True, eq=False)
class Resident:
    """Training and validation samples on `device`. Test data are never included."""

    train: Samples
    validation: Samples
    device: torch.device

    def channels_first(self) -> "Resident":
        """Return the same samples with batches in torch's default memory format."""
        train, validation = (replace(part, channels_last=False) for part in (self.train, self.validation))
        return Resident(train, validation, self.device)

    @staticmethod
    def of(
        dataset: _Dataset, device: torch.device | str = "cpu", task: Task[Any] | None = None
    ) -> "Resident":
        """Return the splits `train` and `validation` of a `sparsemod.data.Dataset`, with the targets of a fitted `task`.

        The same dataset, device and settings of the task give the same object.
        """
        cached = _held.setdefault(dataset, {})
        task = task or fitted(TASKS.config("classification"), dataset)
        key = f"{device} {task.config.model_dump_json()}"
        if key not in cached:
            splits = []
            for split in (dataset.train, dataset.validation):
                x, y = split.tensors()
                splits += [x, task.targets(x, y)]
            made = Resident.from_tensors(
                *splits,
                device=device,
                layout=dataset.info.layout,
                train_steps=_steps(dataset.train),
                validation_steps=_steps(dataset.validation),
            )
            truth = dataset.validation.y
            chosen = task.trained_on(truth)
            counted = (
                None
                if chosen is None or chosen.all() or not chosen.any()
                else torch.from_numpy(chosen).to(device)
            )
            cached[key] = replace(made, validation=replace(made.validation, truth=truth, counted=counted))
        return cached[key]

    @staticmethod
    def from_tensors(
        train_x: Tensor,
        train_y: Tensor,
        validation_x: Tensor,
        validation_y: Tensor,
        *,
        device: torch.device | str = "cpu",
        layout: str | None = None,
        train_steps: "Steps" = (None, None),
        validation_steps: "Steps" = (None, None),
    ) -> "Resident":
        """Return samples from float32 samples and int64 labels; `layout` names the axes of a sample.

        `train_steps`, `validation_steps`: `lengths` and `sequence` of `Samples.of`. Raises InvalidInput.
        """
        train, validation = (
            Samples.of(train_x, train_y, device, layout, *train_steps),
            Samples.of(validation_x, validation_y, device, layout, *validation_steps),
        )
        if train.shape != validation.shape:
            raise InvalidInput(
                "validation_x", validation.shape, f"samples of the training data's shape {train.shape}"
            )
        for name, samples in (("train", train), ("validation", validation)):
            if len(samples) < 1:
                raise InvalidInput(f"{name}_x", 0, "at least one sample")
        return Resident(train, validation, torch.device(device))


def fitted(config: TaskConfig, dataset: _Dataset) -> Task[Any]:
    """Return the task of `config`, with the constants of the training targets of `dataset`. Raises InvalidInput."""
    task = TASKS.create(config)
    task.fit(dataset.train.y, dataset.info)
    return task


Steps = tuple[Tensor | None, Tensor | None]
"""Lengths and sequences of samples."""


def _steps(split: _Split) -> Steps:
    lengths, sequence = (
        None if part is None else torch.from_numpy(part) for part in (split.lengths, split.sequence)
    )
    return lengths, sequence


def batch_bounds(count: int, batch_size: int) -> list[tuple[int, int]]:
    """Return the first and last + 1 index of every batch.

    A last batch of one sample, on which batch normalization fails, is merged into the previous one.
    """
    starts = list(range(0, count, batch_size))
    if len(starts) > 1 and count - starts[-1] == 1:
        starts.pop()
    return list(zip(starts, [*starts[1:], count], strict=True))
