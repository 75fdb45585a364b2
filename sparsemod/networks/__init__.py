"""Network families: a search space and a builder of plain torch modules. Only building imports torch."""

from sparsemod.networks.family import FAMILIES, Family, create_family, family

__all__ = ["FAMILIES", "Family", "create_family", "family"]
