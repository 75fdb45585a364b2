"""The report on a model that was read from a file: its costs layer by layer, and the devices that it fits. Imports no torch."""

from pydantic import Field

from sparsemod.export.report import Verification
from sparsemod.records import Measurement, Record
from sparsemod.targets.device_fit import DeviceFit


class LayerCost(Record):
    """One layer of the integer network. Shapes are those of one sample, channels first.

    `weights` counts weights without biases, `bytes` holds both; `memory` is the working memory in bytes while the layer
    runs; `instructions` of one inference and `milliseconds` are 0 for a layer that runs no kernel.
    """

    name: str
    kind: str
    inputs: tuple[tuple[int, ...], ...]
    output: tuple[int, ...]
    macs: int
    weights: int
    bytes: int
    memory: int
    instructions: float
    milliseconds: float


class ModelReport(Record):
    """A model's costs on a device.

    `measurements`: the costs of the whole network with unit and method. `layer_method` is the source of each layer's
    instructions. `fits` lists the target first. `check` compares the integer network with the file in its runtime;
    `missing` states why there is none. `error` and `float_error` are shares of wrong predictions on the given data, None
    without labels. `trainable`: a float model, whose weights a search can train on.
    """

    name: str
    format: str
    device: str
    shape: tuple[int, ...]
    outputs: tuple[int, ...]
    layers: tuple[LayerCost, ...]
    measurements: tuple[Measurement, ...]
    layer_method: str
    fits: tuple[DeviceFit, ...]
    check: Verification | None = None
    missing: str = ""
    error: float | None = Field(None, ge=0, le=1)
    float_error: float | None = Field(None, ge=0, le=1)
    notes: tuple[str, ...] = ()
    trainable: bool = False
