"""Models that the exporters here wrote, read again: the same integers, the same outputs."""

import io

import numpy as np
import pytest
import torch
from support_export import Every, quantized
from support_operator_networks import DrawnOperators
from support_operators import EXAMPLES, Example

from sparsemod.errors import InvalidInput, Unsupported
from sparsemod.export.onnx.exporter import to_onnx
from sparsemod.export.tflite.exporter import to_tflite
from sparsemod.graph import capture
from sparsemod.importing import Source, read_model
from sparsemod.quantization import IntegerNetwork, quantize

WRITERS = {"onnx": to_onnx, "tflite": to_tflite}
NOT_READ = {"log_softmax", "group_norm", "matmul", "offset"}
"""Kinds of layers whose int8 form no reader of files knows."""
READ_AS_FLOATS = {"group_norm", "offset"}
"""Those among them that a reader reads as floats."""
READ = [example for example in EXAMPLES if example.layout is None and example.kind not in NOT_READ]
STEPS = [example for example in EXAMPLES if example.layout is not None]
"""Layers over time steps: no reader has their int8 form."""


def read_again(network: IntegerNetwork, suffix: str) -> IntegerNetwork:
    """Write a network in a format and read it. Skips what the format cannot express."""
    try:
        content = WRITERS[suffix](network)
    except Unsupported as error:
        pytest.skip(str(error))
    found = read_model(Source(f"model.{suffix}", content)).network
    assert found is not None
    return found


def outputs(network: IntegerNetwork, images: np.ndarray) -> np.ndarray:
    """Run a network on images whose axes may be those of another layout of the same memory."""
    return network.run(images.reshape(-1, *network.input_shape))


def largest_difference(network: IntegerNetwork, again: IntegerNetwork, seed: int = 0) -> int:
    rng = np.random.default_rng(seed)
    images = rng.integers(-128, 128, (8, *network.input_shape)).astype(np.int8)
    expected = network.run(images)
    return int(np.abs(outputs(again, images).astype(int).reshape(expected.shape) - expected).max())


def example_network(example: Example) -> IntegerNetwork:
    torch.manual_seed(0)
    network = quantize(example.module().eval(), torch.randn(16, *example.shape), layout=example.layout)
    assert isinstance(network, IntegerNetwork)
    return network


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("example", READ, ids=lambda e: f"{e.kind}-{len(e.shape)}")
def test_every_kind_of_layer_is_read_as_it_was_written(example: Example, suffix: str) -> None:
    network = example_network(example)
    if example.kind == "prelu" and suffix == "tflite":
        assert largest_difference(network, read_again(network, suffix)) <= 2  # int8 slopes in the file
        return
    assert largest_difference(network, read_again(network, suffix)) == 0


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("kind", sorted(NOT_READ - READ_AS_FLOATS))
def test_other_kinds_of_layers_are_refused_by_name(kind: str, suffix: str) -> None:
    example = next(one for one in EXAMPLES if one.kind == kind and one.layout is None)
    with pytest.raises((Unsupported, InvalidInput), match=rf"'{kind}"):
        read_again(example_network(example), suffix)


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize(
    "example",
    [one for one in EXAMPLES if one.kind in READ_AS_FLOATS and one.layout is None],
    ids=lambda e: f"{e.kind}-{len(e.shape)}",
)
def test_kinds_of_layers_without_an_int8_form_are_read_as_floats(example: Example, suffix: str) -> None:
    network = example_network(example)
    found = read_model(Source(f"model.{suffix}", WRITERS[suffix](network)))
    assert found.module is not None and "is not int8 in the file" in found.notes[-1]
    x = torch.randn(16, *example.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        made = found.module(x.reshape(-1, *found.shape)).flatten(1).numpy()
    difference = np.abs(made - network.logits(x).reshape(made.shape))
    assert difference.mean() < 0.03, "the rounding of the file, and rarely its saturation"


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("seed", range(6))
def test_random_networks_are_read_as_they_were_written(seed: int, suffix: str) -> None:
    drawn = (DrawnOperators(100 * seed + number).network for number in range(100))
    # Views of vectors, which attention makes, are no regular copies in a file.
    network = next(
        one for one in drawn if not (NOT_READ | {"move", "prelu"}) & {layer.kind for layer in one.layers}
    )
    assert largest_difference(network, read_again(network, suffix), seed) == 0


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_network_keeps_its_scales_integers_normalization_and_classes(suffix: str) -> None:
    from dataclasses import replace

    from sparsemod.quantization.raw_samples import InputNormalization

    network = quantized(Every)
    network = replace(
        network, normalization=InputNormalization("standard", (0.5,), (2.0,)), classes=tuple("abcdefghij")
    )
    again = read_again(network, suffix)
    assert again.normalization == network.normalization and again.classes == network.classes
    pairs = [(one.input, one.output) for one in (network, again)]
    for place in (0, 1):
        first, second = (
            one.tensors[names[place]] for one, names in zip((network, again), pairs, strict=True)
        )
        assert (first.scale, first.zero_point) == (second.scale, second.zero_point)
    written = sorted(layer.weight.tobytes() for layer in network.weighted())
    assert sorted(layer.weight.tobytes() for layer in again.weighted()) == written
    biases = sorted(layer.bias.tobytes() for layer in network.weighted())
    assert sorted(layer.bias.tobytes() for layer in again.weighted()) == biases


@pytest.mark.parametrize("dynamic", [False, True])
def test_a_program_of_torch_export_becomes_layers_with_its_names_and_weights(dynamic: bool) -> None:
    torch.manual_seed(0)
    module, samples = Every().eval(), torch.randn(4, 1, 8, 8)
    sizes = ({0: torch.export.Dim("batch")},) if dynamic else None
    file = io.BytesIO()
    torch.export.save(torch.export.export(module, (samples,), dynamic_shapes=sizes), file)
    found = read_model(Source("every.pt2", file.getvalue()))
    assert found.module is not None and found.shape == (1, 8, 8) and found.title == "torch.export program"
    other = torch.randn(3, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(found.module(other), module(other))
    assert set(module.state_dict()) == set(found.module.state_dict())
    operators = {o.attributes.get("parameter") for o in capture(found.module, (1, 8, 8)).operators}
    assert {"first.weight", "depthwise.weight", "hidden.weight"} <= operators


@pytest.mark.parametrize("example", READ, ids=lambda e: f"{e.kind}-{len(e.shape)}")
def test_every_kind_of_operator_is_read_from_a_program_of_torch_export(example: Example) -> None:
    torch.manual_seed(0)
    module, samples = example.module().eval(), torch.randn(2, *example.shape)
    file = io.BytesIO()
    torch.export.save(torch.export.export(module, (samples,)), file)
    found = read_model(Source("model.pt2", file.getvalue()))
    assert found.module is not None
    with torch.no_grad():
        assert torch.allclose(found.module(samples), module(samples))
        assert capture(found.module, found.shape).output


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("example", STEPS, ids=lambda e: e.kind)
def test_layers_over_time_steps_are_refused_or_read_as_they_were_written(
    example: Example, suffix: str
) -> None:
    network = example_network(example)
    try:
        again = read_again(network, suffix)
    except (Unsupported, InvalidInput) as error:
        assert "model." + suffix in str(error)
    else:
        assert largest_difference(network, again) == 0
