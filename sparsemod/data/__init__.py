"""Datasets: named sources of arrays, and their seeded splits. Only `Split.tensors()` imports torch."""

from sparsemod.data.arrays import Arrays
from sparsemod.data.dataset import Dataset, Split, load
from sparsemod.data.normalization import Normalization
from sparsemod.data.source import DATASETS, dataset, declared
from sparsemod.data.torch_sets import from_datasets

__all__ = [
    "DATASETS",
    "Arrays",
    "Dataset",
    "Normalization",
    "Split",
    "dataset",
    "declared",
    "from_datasets",
    "load",
]
