"""Sequences of different lengths: three kinds of motion, seen by two axes of an accelerometer."""

import torch
from torch.utils.data import Dataset

from sparsemod.data import from_datasets


class Motions(Dataset):
    """Pairs of a sequence (steps, 2) and its class: slow, fast, and fast with a changing amplitude."""

    def __init__(self, count, seed):
        random = torch.Generator().manual_seed(seed)
        self.items = []
        for index in range(count):
            kind = index % 3
            steps = torch.arange(20 + int(20 * torch.rand((), generator=random)), dtype=torch.float32)
            phase = 6 * torch.rand((), generator=random)
            wave = torch.sin(steps * (0.3 if kind == 0 else 0.9) + phase)
            if kind == 2:
                wave = wave * (1 + torch.sin(steps * 0.2)) / 2
            both = torch.stack([wave, wave.roll(2)], 1)
            self.items.append((both + 0.2 * torch.randn(both.shape, generator=random), kind))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


def prepare_motions(train=300):
    return from_datasets([Motions(train, 0), Motions(120, 1), Motions(120, 2)], layout="time-features")
