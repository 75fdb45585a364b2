"""Trained models of other tools: readers of files, as torch modules or as integer networks.

`read_model(Source.of(path))` -> `Imported`. No reader unpickles anything, and every size is checked before it is used.
"""

from sparsemod.importing.reader import READERS, Imported, Reader, read_model
from sparsemod.importing.source import Source

__all__ = ["READERS", "Imported", "Reader", "Source", "read_model"]
