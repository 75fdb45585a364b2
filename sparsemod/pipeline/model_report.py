"""The costs of a model that was read from a file: as an integer network, layer by layer, on a device."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sparsemod.emulator import Emulator
from sparsemod.errors import EmulationError, InvalidInput, ToolsMissing, UnknownName, Unsupported
from sparsemod.export.c import plan
from sparsemod.export.model_report import LayerCost, ModelReport
from sparsemod.export.report import Verification
from sparsemod.importing import Imported
from sparsemod.importing.as_graph import as_graph
from sparsemod.measure import costs
from sparsemod.pipeline.on_device import measurements
from sparsemod.quantization import IntegerNetwork, quantize
from sparsemod.records import Measurement
from sparsemod.targets import Device, device, device_names
from sparsemod.targets.device_fit import device_fits

CALIBRATION = 512
"""Largest number of samples from which activation ranges are taken."""
RANDOM = 64
UNKNOWN = "activation ranges are from random inputs, so the accuracy is unknown; `sparsemod measure --data` takes them from samples"


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples as the model reads them, (N, *shape) floats, with labels (N,) or None; `description` for notes."""

    x: Any
    y: Any = None
    description: str = ""


def integer_network(
    model: Imported, samples: Samples | None = None
) -> tuple[IntegerNetwork, tuple[str, ...]]:
    """Return a model's integer network, and notes: the file's own, or the quantized float module.

    Raises Unsupported for operators without an integer kernel, InvalidInput for samples of another shape.
    """
    if samples is not None and tuple(samples.x.shape[1:]) != model.shape:
        raise InvalidInput("data", tuple(samples.x.shape[1:]), f"samples of shape {model.shape}")
    if model.network is not None:
        return model.network, (*model.notes, "scales, zero points and integers are those of the file")
    if model.module is None:
        raise InvalidInput("model", model.name, "a float module or an integer network")
    if samples is None:
        generator = torch.Generator().manual_seed(0)
        x, note = torch.randn(RANDOM, *model.shape, generator=generator), UNKNOWN
    else:
        rows = np.random.default_rng(0).permutation(len(samples.x))[:CALIBRATION]
        x = torch.from_numpy(np.ascontiguousarray(np.asarray(samples.x, np.float32)[np.sort(rows)]))
        note = f"activation ranges are from {len(x)} samples of {samples.description}"
    network = quantize(model.module, x)
    if not isinstance(network, IntegerNetwork):
        raise InvalidInput("model", model.name, "a network that the static scheme quantizes")
    return network, (*model.notes, note)


def report_on(
    model: Imported,
    network: IntegerNetwork,
    target: str,
    *,
    samples: Samples | None = None,
    notes: Sequence[str] = (),
    check: Verification | str = "",
) -> ModelReport:
    """Return the report of a model whose integer network is `network`, for the device `target`.

    The costs are counted on the emulated core where its tools are installed, else predicted by the core's model; each
    measurement states which. Raises UnknownName for a device, Unsupported for a layer without a cost rule.
    """
    aim = device(target)
    graph, notes = as_graph(network), list(notes)
    found = costs(
        graph,
        aim,
        nonzeros=network.layer_nonzeros(),
        encodings=network.encodings or None,
        working_memory="arena",
    )
    per_layer = dict(found["latency"].detail["instructions"])
    method = found["latency"].method
    kernels = dict(found["latency"].detail.get("kernels", {}))
    try:
        emulation = Emulator(aim.core).measure(network)
    except (ToolsMissing, UnknownName, EmulationError, Unsupported) as error:
        notes.append(f"the costs are predicted by the operator model: {error}")
    else:
        found |= measurements(emulation, aim, found)
        per_layer, method = dict(emulation.per_layer), found["instructions"].method
    others = [device(name) for name in device_names() if name != aim.name]
    wrong, float_wrong = _errors(model, network, samples)
    return ModelReport(
        name=model.name,
        format=model.title,
        device=aim.name,
        shape=network.input_shape,
        outputs=network.tensors[network.output].shape,
        layers=_layers(network, per_layer, aim, kernels),
        measurements=tuple(found.values()),
        layer_method=method,
        fits=device_fits(found.values(), [aim, *others]),
        check=check if isinstance(check, Verification) else None,
        missing=check if isinstance(check, str) else "",
        error=wrong,
        float_error=float_wrong,
        notes=tuple(notes),
        trainable=model.module is not None,
    )


def _layers(
    network: IntegerNetwork, per_layer: dict[str, float], target: Device, kernels: Mapping[str, str]
) -> tuple[LayerCost, ...]:
    live = dict(plan(network).timeline)
    return tuple(
        LayerCost(
            name=info.name,
            kind=info.kind,
            inputs=info.input_shapes,
            output=info.output_shape,
            macs=info.macs,
            weights=info.weights,
            bytes=info.weight_bytes + info.bias_bytes if info.weights else 0,
            memory=live.get(info.name, 0),
            instructions=float(per_layer.get(info.name, 0.0)),
            milliseconds=target.milliseconds(
                target.weighted({info.name: float(per_layer.get(info.name, 0.0))}, kernels)
            ),
        )
        for info in network.layers_info()
    )


def _errors(
    model: Imported, network: IntegerNetwork, samples: Samples | None
) -> tuple[float | None, float | None]:
    """Return the errors of the integer network and of the float module on labelled samples."""
    if samples is None or samples.y is None or len(network.tensors[network.output].shape) != 1:
        return None, None
    error, float_error = network.error(samples.x, samples.y), None
    if model.module is not None:
        x = torch.from_numpy(np.ascontiguousarray(np.asarray(samples.x, np.float32)))
        with torch.inference_mode():
            float_error = float(np.mean(model.module(x).numpy().argmax(axis=1) != np.asarray(samples.y)))
    return error, float_error


def total(report: ModelReport, metric: str) -> Measurement | None:
    """Return the measurement of a metric, None when it has none."""
    return next((m for m in report.measurements if m.metric == metric), None)
