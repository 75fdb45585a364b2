"""Quantization of a trial's network as it is now."""

from typing import TYPE_CHECKING

import numpy as np
import torch

from sparsemod import quantization
from sparsemod.delivery.described import described
from sparsemod.errors import BuildError, InvalidInput
from sparsemod.pipeline.deployment import captured, decoding_of, encoded
from sparsemod.quantization import IntegerNetwork, Quantized
from sparsemod.quantization.dynamic_network import DynamicNetwork

if TYPE_CHECKING:
    from sparsemod.pipeline.work import Work


def quantized(work: "Work") -> tuple[Quantized, list[str]]:
    """Return `work.module` quantized by the spec's scheme, and notes; `work` is not changed.

    It is calibrated on training samples that the trial's seed chooses. Raises BuildError for weights that cannot be
    quantized.
    """
    spec, notes = work.problem.spec.quantization, list[str]()
    x, _ = work.data.train.tensors()
    rows = np.random.default_rng(work.seed).permutation(len(x))[: spec.calibration_samples]
    try:
        chosen = torch.from_numpy(np.sort(rows))
        lengths = work.data.train.lengths
        steps = None if lengths is None else torch.from_numpy(lengths)[chosen]
        graph, dropped = captured(work.network(), work.problem)
        if dropped:
            names = ", ".join(repr(name) for name in dropped)
            notes.append(f"not deployed: {names}; it does not change which class is the largest")
        network = quantization.quantize(graph, x[chosen], spec, lengths=steps)
        if isinstance(network, IntegerNetwork):
            meaning = decoding_of(network, work.problem, work.data)
            network = encoded(described(network, work.data, meaning), work.network(), work.problem)
        elif isinstance(network, DynamicNetwork):
            network = described(network, work.data, decoding_of(network, work.problem, work.data))
    except InvalidInput as error:
        # The weights of this network are the cause, such as sums that exceed 32 bits; the spec is valid.
        raise BuildError(f"the trained network cannot be quantized: {error}") from error
    return network, notes
