"""Network families: a search space and a builder of plain torch modules. Importing this package loads no torch; building does."""

from sparsemod.networks.family import FAMILIES, Family, create_family, family

__all__ = ["FAMILIES", "Family", "create_family", "family"]
