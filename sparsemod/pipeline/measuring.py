"""The measurements of a finished network: error on validation data, costs with their provenance, and where they differ from the plan."""

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from sparsemod.data import Split
from sparsemod.pipeline.on_device import linked_size, measure_on_device
from sparsemod.pipeline.screening import measured_costs
from sparsemod.quantization import Quantized
from sparsemod.records import Measurement
from sparsemod.units import over_budget

if TYPE_CHECKING:
    from sparsemod.pipeline.work import Work


def measurements(work: "Work", module: nn.Module, network: Quantized) -> list[Measurement]:
    """Error and costs of `network`, and the error of `module` before quantization. Differences from the planned costs become notes of `work`."""
    problem = work.problem
    found = measured_costs(problem, module, network)
    found["model_size"] = linked_size(network, found["model_size"])
    measured, notes = measure_on_device(problem, network, found)
    found |= measured
    work.notes += notes
    x, y = work.data.validation.tensors()
    with torch.inference_mode():
        # Torch's default memory format: a module of the user's may ask for it by `view`.
        plain = x.clone(memory_format=torch.contiguous_format)
        wrong = int((module.eval()(plain).argmax(1) != y).sum()) / len(y)
    floating = Measurement(
        metric="float_error", value=wrong, unit="fraction", method=f"float network before quantization on {len(y)} samples",
        target="host", split="validation", standard_error=_standard_error(wrong, len(y)),
    )  # fmt: skip
    for name in problem.spec.objectives:
        if name in work.planned and found[name].value != work.planned[name].value:
            work.notes.append(
                f"{name}: planned {work.planned[name].value:g}, measured {found[name].value:g} {found[name].unit}"
            )
    values = {name: measurement.value for name, measurement in found.items()}
    for name, excess in problem.objectives.over_budget(values).items():
        work.notes.append(
            f"{over_budget(name, excess)}: measured so; before training it was planned within it"
        )
    return [classification_error(network, work.data.validation), floating, *found.values()]


def classification_error(network: Quantized, split: Split) -> Measurement:
    """The share of `split` that `network` classifies wrongly, with its binomial standard error."""
    wrong = float(np.mean(network.predict(split.x) != split.y))
    return Measurement(
        metric="error",
        value=wrong,
        unit="fraction",
        method=f"{network.title} on {len(split)} samples",
        target="host",
        split="test" if split.name == "test" else "validation",
        standard_error=_standard_error(wrong, len(split)),
    )


def _standard_error(share: float, samples: int) -> float:
    """Of a binomial share."""
    return math.sqrt(share * (1 - share) / samples)
