"""The family `imported`: a trained model from a file, with the weights of the file."""

import copy
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from sparsemod.errors import BuildError, InvalidInput
from sparsemod.importing.places import named_file
from sparsemod.networks.family import family
from sparsemod.records import DataInfo, Value
from sparsemod.space.parameters import Fixed
from sparsemod.space.space import Space

if TYPE_CHECKING:
    from torch import nn

    from sparsemod.importing.reader import Imported


@family("imported")
class ImportedFamily:
    """A trained float model: .onnx, .tflite, or .pt2 of torch.export. It has no parameters of its own.

    Every candidate starts from the weights of the file. Options: `file`, its path or the digest of an uploaded model;
    `name`, the file's name, which a digest needs for its suffix. Raises InvalidInput for an int8 model.
    """

    checked = True  # `build` checks the shapes
    maps = True  # a model may have an output at each position

    def __init__(self, file: str, name: str = "") -> None:
        if not isinstance(file, str) or not file or not isinstance(name, str):
            raise InvalidInput("file", file, "the path of a model file, or the digest of an uploaded model")
        self.file, self.name = file, name or file.replace("\\", "/").rpartition("/")[2]

    def space(self, data: DataInfo) -> Space:
        """Return a space of one network."""
        return Space([Fixed(name="model", value=self.name)])

    def build(self, parameters: Mapping[str, Value], data: DataInfo) -> "nn.Module":
        """Return the model with the weights of the file.

        Raises BuildError for a model of another input or number of outputs, EnvironmentFailure for a file that is not here,
        and the errors of `sparsemod.importing.read_model`.
        """
        import torch

        path = named_file(self.file, "network.options.file")
        model = _read(str(path), self.name, path.stat().st_mtime_ns)
        if model.module is None:
            raise BuildError(f"{self.name} is an int8 model: training needs the float model")
        if model.shape != tuple(data.shape):
            raise BuildError(f"{self.name} reads samples of shape {model.shape}, not {tuple(data.shape)}")
        module = copy.deepcopy(model.module)
        with torch.no_grad():
            made = module.eval()(torch.zeros(1, *data.shape))
        if tuple(made.shape[1:]) != tuple(data.outputs):
            raise BuildError(
                f"{self.name} has outputs of shape {tuple(made.shape[1:])}, the data need {tuple(data.outputs)}"
            )
        return module.train()


@lru_cache(maxsize=4)
def _read(path: str, name: str, stamp: int) -> "Imported":
    """Read a file once; `stamp` is its time of modification."""
    from sparsemod.importing.reader import read_model
    from sparsemod.importing.source import Source

    source = Source.of(Path(path))
    return read_model(Source(name, source.content, source.folder))
