"""The data of a SpArSeMod project: [train, validation, test] data sets of torch, and the number of classes."""

import torch
from sklearn.datasets import load_digits
from torch.utils.data import TensorDataset


def prepare_digits(samples=1797):
    digits = load_digits()
    images = torch.tensor(digits.images[:samples], dtype=torch.float32)[:, None] / 16
    labels = torch.tensor(digits.target[:samples])
    order = torch.randperm(samples, generator=torch.Generator().manual_seed(0))
    train, validation = int(0.6 * samples), int(0.8 * samples)
    parts = [order[:train], order[train:validation], order[validation:]]
    return [TensorDataset(images[part], labels[part]) for part in parts], 10
