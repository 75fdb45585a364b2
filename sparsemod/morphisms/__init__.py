"""Morphs: modified copies of a candidate that inherit its trained weights.

`morphs` changes parameters with operators (one file each in `operators/`) and needs no torch. `inherit`
transfers the weights and preserves the network's function where the change allows it (`inheritance/`).
"""

from sparsemod.morphisms.inheritance.result import Inheritance
from sparsemod.morphisms.morphism import Morph, Morphism
from sparsemod.morphisms.morphism_set import MORPHISMS, MorphismSet, inherit, morphs

__all__ = ["MORPHISMS", "Inheritance", "Morph", "Morphism", "MorphismSet", "inherit", "morphs"]
