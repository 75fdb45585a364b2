"""An exported file against the network it came from, on the same samples."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.errors import InvalidInput, Unsupported
from sparsemod.export.report import Verification
from sparsemod.quantization.integer_network import IntegerNetwork
from sparsemod.quantization.layers import Layer, Weighted

RANDOM_SAMPLES = 64
CLOSE = 2.0**-12  # a factor of an add may be rounded to 21 bits below the largest one


def inputs(network: IntegerNetwork, samples: Any) -> NDArray[np.int8]:
    """int8 inputs to compare on: `samples` (floats) quantized, or random ones."""
    if samples is not None:
        return network.quantize_input(samples)
    rng = np.random.default_rng(0)
    return rng.integers(-128, 128, (RANDOM_SAMPLES, *network.input_shape)).astype(np.int8)


def compare(
    network: IntegerNetwork,
    run: Callable[[NDArray[np.int8]], NDArray[np.int8]],
    *,
    runtime: str,
    samples: Any,
    labels: Any,
    data: str,
    most: int | None = None,
    given: NDArray[np.int8] | None = None,
) -> Verification:
    """`run` takes int8 inputs (N, *input shape) and gives int8 outputs (N, *output shape); at most `most` samples are used. `given`: the int8
    inputs, where they are not `samples` (normalized floats) quantized. `labels` (N,) are classes, or (N, *positions) of a map; labels that are no whole numbers are not looked at."""
    given = inputs(network, samples)[:most] if given is None else given[:most]
    if not len(given):
        raise InvalidInput("samples", 0, "at least one sample")
    expected, found = network.run(given), run(given)
    gaps = np.abs(expected.astype(np.int32) - found.astype(np.int32))
    truth = None if labels is None or samples is None else np.asarray(labels)[:most]
    if truth is not None and truth.dtype.kind not in "iub":
        truth = None  # the values of a regression
    classes = same = None
    if expected.shape[1] > 1 and (network.classes or truth is not None):
        # Along the channels: a map has a class at each of its positions.
        classes, same = found.argmax(axis=1), expected.argmax(axis=1)
        if truth is not None and truth.shape != same.shape:
            raise InvalidInput("labels", truth.shape, f"a class for each output: {same.shape}")
    else:
        truth = None
    return Verification(
        runtime=runtime,
        data=data if samples is not None else "random inputs",
        samples=len(given),
        largest_difference=int(gaps.max()),
        differing=float(np.mean(gaps > 0)),
        agreement=None if classes is None else float(np.mean(classes == same)),
        error=None if truth is None else float(np.mean(classes != truth)),
        network_error=None if truth is None else float(np.mean(same != truth)),
    )


def weight_scales(network: IntegerNetwork, layer: Weighted) -> NDArray[np.float32]:
    """The real scale of each channel's weights: the layer's own, or what its multiplier makes of it where the two differ.

    A channel with multiplier 0 computes 0, whatever its weights: its scale is the smallest normal one.
    """
    source, made = network.tensors[layer.inputs[0]].scale, network.tensors[layer.output].scale
    real = layer.multiplier.astype(np.float64) * np.exp2(layer.shift - 31.0) * made / source
    stored = layer.weight_scale.astype(np.float64)
    chosen = np.where(np.abs(stored - real) <= 1e-6 * real, stored, real)
    return np.asarray(np.maximum(chosen, np.finfo(np.float32).tiny), dtype=np.float32)


def check_factors(network: IntegerNetwork, layer: Layer, by: str) -> None:
    """Raises Unsupported where a layer's integer factors are not those of its tensors' scales, from which other runtimes compute theirs."""
    made = network.tensors[layer.output]
    sources = [network.tensors[name] for name in layer.inputs]
    pairs = layer.factors([source.scale for source in sources], made.scale, sources[0].shape)
    largest = max((real for _, real in pairs), default=0.0)
    if any(abs(held - real) > CLOSE * largest for held, real in pairs):
        hint = "its integer factors are not those of its tensors' scales; formats that can: c"
        raise Unsupported(layer.kind, layer.name, by, hint=hint)
