"""A torch module of Python code as a file, for a search that starts from it."""

from pathlib import Path

import torch

from sparsemod.errors import InvalidInput
from sparsemod.importing import Imported


def store_module(model: Imported, folder: Path) -> Path:
    """Write a torch module as NAME.pt2 into `folder`, so that its weights stay as they are now, and return the path.

    Raises InvalidInput when torch.export cannot express it.
    """
    if model.module is None:
        raise InvalidInput("model", model.name, "a float module")
    path = folder / f"{model.name}.pt2"
    try:
        program = torch.export.export(model.module.eval(), (torch.zeros(2, *model.shape),))
        folder.mkdir(parents=True, exist_ok=True)
        torch.export.save(program, path)
    except Exception as error:  # of torch.export, for any module
        words = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InvalidInput(
            "model", model.name, f"a module that torch.export can write; it says: {words}"
        ) from error
    return path
