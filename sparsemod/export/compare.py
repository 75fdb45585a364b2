"""Comparison of an exported file with its integer network, on the same samples."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemod.errors import InvalidInput, Unsupported
from sparsemod.export.report import Verification
from sparsemod.quantization.dynamic_network import DynamicNetwork
from sparsemod.quantization.integer_network import IntegerNetwork
from sparsemod.quantization.layers import Layer, Weighted
from sparsemod.quantization.tensor import TensorInfo

RANDOM_SAMPLES = 64
CLOSE = 2.0**-12  # an add's factor may be rounded to 21 bits below the largest factor


Named = Mapping[str, NDArray[np.int8]]


def inputs(network: IntegerNetwork, samples: Any) -> Named:
    """Return int8 inputs by name for the comparison: the quantized `samples` (floats, for several inputs by name), or random inputs."""
    if samples is not None:
        return network.quantize_named(samples if isinstance(samples, Mapping) else {network.input: samples})
    rng = np.random.default_rng(0)
    return {name: _drawn(rng, network.tensors[name]) for name in network.inputs}


def _drawn(rng: np.random.Generator, tensor: TensorInfo) -> NDArray[Any]:
    half = 1 << (tensor.bits - 1)
    return rng.integers(-half, half, (RANDOM_SAMPLES, *tensor.shape)).astype(tensor.dtype)


def compare_named(
    network: IntegerNetwork,
    run: Callable[[Named], Named],
    *,
    runtime: str,
    samples: Any,
    labels: Any,
    data: str,
    most: int | None = None,
) -> Verification:
    """Compare all outputs of `run` with those of the network, on at most `most` samples; both map int8 inputs by name to int8 outputs.

    For one input and output see `compare`."""
    given = inputs(network, samples)
    if not network.several:

        def alone(x: NDArray[np.int8]) -> NDArray[np.int8]:
            return run({network.input: x})["output"]

        options: dict[str, Any] = {"samples": samples, "labels": labels, "data": data, "most": most}
        return compare(network, alone, runtime=runtime, int8_inputs=given[network.input], **options)
    given = {name: values[:most] for name, values in given.items()}
    count = len(next(iter(given.values())))
    if not count:
        raise InvalidInput("samples", 0, "at least one sample")
    expected, outputs = network.run_named(given), run(given)
    gaps = np.concatenate(
        [np.abs(expected[name].astype(np.int32) - outputs[name]).reshape(count, -1) for name in expected],
        axis=1,
    )
    return Verification(
        runtime=runtime,
        data=data if samples is not None else "random inputs",
        samples=count,
        largest_difference=int(gaps.max()),
        differing=float(np.mean(gaps > 0)),
        agreement=None,
        error=None,
        network_error=None,
    )


def compare(
    network: IntegerNetwork,
    run: Callable[[NDArray[np.int8]], NDArray[np.int8]],
    *,
    runtime: str,
    samples: Any,
    labels: Any,
    data: str,
    most: int | None = None,
    int8_inputs: NDArray[np.int8] | None = None,
    lengths: Any = None,
) -> Verification:
    """Compare the outputs of `run` with those of the network, on at most `most` samples.

    `run` maps int8 inputs (N, *input shape) to int8 outputs (N, *output shape). `int8_inputs`: the int8 inputs, if they are not the
    quantized `samples` (normalized floats). `lengths` (N,): the valid steps of the samples; `run` knows them. `labels` are classes (N,), or (N, *positions) for a map; labels that are not integers are
    ignored."""
    int8_inputs = (inputs(network, samples)[network.input] if int8_inputs is None else int8_inputs)[:most]
    if not len(int8_inputs):
        raise InvalidInput("samples", 0, "at least one sample")
    expected = network.run(int8_inputs, None if lengths is None else np.asarray(lengths)[:most])
    outputs = run(int8_inputs)
    gaps = np.abs(expected.astype(np.int32) - outputs.astype(np.int32))
    truth = None if labels is None or samples is None else np.asarray(labels)[:most]
    if truth is not None and truth.dtype.kind not in "iub":
        truth = None  # regression targets
    classes = same = None
    one_class = network.decoding is None or network.kind in ("classes", "pixels")
    if one_class and expected.shape[1] > 1 and (network.classes or truth is not None):
        # The classes are along the channels: a map has a class at each position.
        classes, same = outputs.argmax(axis=1), expected.argmax(axis=1)
        if truth is not None and truth.shape != same.shape:
            raise InvalidInput("labels", truth.shape, f"a class for each output: {same.shape}")
    else:
        truth = None
    return Verification(
        runtime=runtime,
        data=data if samples is not None else "random inputs",
        samples=len(int8_inputs),
        largest_difference=int(gaps.max()),
        differing=float(np.mean(gaps > 0)),
        agreement=None if classes is None else float(np.mean(classes == same)),
        error=None if truth is None else float(np.mean(classes != truth)),
        network_error=None if truth is None else float(np.mean(same != truth)),
    )


def float_inputs(network: DynamicNetwork, samples: Any, lengths: Any) -> tuple[NDArray[np.float32], Any]:
    """Return float samples (N, *input shape) and lengths for the comparison: the given ones, or random ones."""
    if samples is not None:
        return np.asarray(samples, np.float32), lengths
    shape = (RANDOM_SAMPLES, *network.input_shape)
    return np.random.default_rng(0).standard_normal(shape, np.float32), None


def compare_floats(
    network: DynamicNetwork,
    outputs: NDArray[np.float32],
    x: NDArray[np.float32],
    labels: Any,
    lengths: Any,
    *,
    runtime: str,
    data: str,
) -> Verification:
    """Compare float outputs (N, *output shape) of a file for normalized samples `x` with those of the network.

    Differences are in units in the last place. `labels`, `lengths`: see `compare`."""
    if not len(x):
        raise InvalidInput("samples", 0, "at least one sample")
    expected = network.logits(x, lengths)
    gaps = np.abs(_ordered(expected) - _ordered(outputs))
    truth = None if labels is None else np.asarray(labels)
    if truth is not None and truth.dtype.kind not in "iub":
        truth = None  # regression targets
    classes = same = None
    if network.kind in ("classes", "pixels") and (network.classes or truth is not None):
        classes, same = outputs.argmax(axis=1), expected.argmax(axis=1)
        if truth is not None and truth.shape != same.shape:
            raise InvalidInput("labels", truth.shape, f"a class for each output: {same.shape}")
    else:
        truth = None
    return Verification(
        runtime=runtime,
        data=data,
        samples=len(x),
        largest_difference=int(gaps.max()),
        differing=float(np.mean(gaps > 0)),
        agreement=None if classes is None else float(np.mean(classes == same)),
        error=None if truth is None else float(np.mean(classes != truth)),
        network_error=None if truth is None else float(np.mean(same != truth)),
    )


def _ordered(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return whole numbers that grow with the floats, by 1 from each float to the next."""
    bits = np.ascontiguousarray(values, np.float32).view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def weight_scales(network: IntegerNetwork, layer: Weighted) -> NDArray[np.float32]:
    """Return the real scale of each channel's weights: the layer's scale, or the scale implied by the multiplier if the two differ.

    A channel with multiplier 0 always computes 0: its scale is the smallest normal number.
    """
    source, output_scale = network.tensors[layer.inputs[0]].scale, network.tensors[layer.output].scale
    real = layer.multiplier.astype(np.float64) * np.exp2(layer.shift - 31.0) * output_scale / source
    stored = layer.weight_scale.astype(np.float64)
    scales = np.where(np.abs(stored - real) <= 1e-6 * real, stored, real)
    return np.asarray(np.maximum(scales, np.finfo(np.float32).tiny), dtype=np.float32)


def check_factors(network: IntegerNetwork, layer: Layer, by: str) -> None:
    """Raise Unsupported when a layer's integer factors do not match its tensors' scales.

    Other runtimes compute their factors from these scales."""
    output = network.tensors[layer.output]
    sources = [network.tensors[name] for name in layer.inputs]
    pairs = layer.factors([source.scale for source in sources], output.scale, sources[0].shape)
    largest = max((real for _, real in pairs), default=0.0)
    if any(abs(factor - real) > CLOSE * largest for factor, real in pairs):
        hint = "its integer factors do not match its tensors' scales; supported by: c"
        raise Unsupported(layer.kind, layer.name, by, hint=hint)
