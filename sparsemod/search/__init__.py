"""Which candidate to try next: Sobol, a Gaussian process with exact costs, morphs of the front. Torch, BoTorch and Ax load on first use."""

from sparsemod.search.observation import Costs, Morph, Morphs, Observation, Suggestion
from sparsemod.search.strategy import Search

__all__ = ["Costs", "Morph", "Morphs", "Observation", "Search", "Suggestion"]
