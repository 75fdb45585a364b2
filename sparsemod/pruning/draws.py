"""Random numbers of pruning methods: they follow from the training's seed and the tensor's name alone."""

import torch
from torch import Tensor

from sparsemod.seeds import derived_seed


def generator(seed: int, *words: str) -> torch.Generator:
    """Return a generator for a seed and a purpose, equal on every machine."""
    return torch.Generator().manual_seed(derived_seed(seed, *words))


def uniform(seed: int, name: str, count: int) -> Tensor:
    """Return `count` float64 numbers in (0, 1)."""
    drawn = torch.rand(count, dtype=torch.float64, generator=generator(seed, name))
    return drawn.clamp(1e-300, 1 - 1e-16)


def sampled(probabilities: Tensor, seed: int, name: str) -> Tensor:
    """Return scores whose k largest are a sample of k without replacement, for every k.

    `probabilities` need not sum to 1. The scores are log p plus a Gumbel number; p = 0 comes last, ordered
    at random. Source: Efraimidis and Spirakis, "Weighted random sampling with a reservoir", 2006.
    """
    p = probabilities.detach().double().cpu().reshape(-1)
    drawn = uniform(seed, name, p.numel())
    gumbel = -torch.log(-torch.log(drawn))
    return (
        torch.where(p > 0, torch.log(p.clamp_min(1e-300)), torch.tensor(-1e6, dtype=torch.float64)) + gumbel
    )
