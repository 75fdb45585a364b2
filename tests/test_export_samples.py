"""The inputs and outputs of exports: raw samples, names of the classes, real numbers."""

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from support_export import Every, quantized
from support_programs import needs_compiler
from support_trials import default_candidate, tiny_spec
from torch import nn

from sparsemod.data import load
from sparsemod.data.arrays import Arrays
from sparsemod.data.dataset import Dataset, _divide
from sparsemod.data.normalization import fit
from sparsemod.delivery.deliver import Subject, deliver
from sparsemod.delivery.described import described
from sparsemod.errors import InvalidInput
from sparsemod.export import export
from sparsemod.export.c import generate, host_run, project
from sparsemod.export.metadata import CLASSES, NORMALIZATION
from sparsemod.export.onnx.exporter import to_onnx
from sparsemod.export.tflite.exporter import to_tflite
from sparsemod.pipeline.trial import evaluate
from sparsemod.quantization import IntegerNetwork, quantize
from sparsemod.quantization.raw_samples import InputNormalization
from sparsemod.spec.parts import DatasetSpec


def raw_digits() -> tuple[np.ndarray, np.ndarray]:
    """All 1,797 digits as they are in the dataset: pixels of 0 to 16."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return found.images[:, None].astype(np.float32), found.target


@pytest.fixture(scope="module")
def data() -> Dataset:
    return load(DatasetSpec(name="digits"))


@pytest.fixture(scope="module")
def trained(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The network file that a trial on digits leaves."""
    spec = tiny_spec("mlp", dataset={"name": "digits"})
    folder = tmp_path_factory.mktemp("trial")
    evaluate(spec, default_candidate(spec), epochs=2, seed=7, data=data, workdir=folder)
    return (folder / "network.npz").read_bytes()


@needs_compiler
def test_raw_pixels_give_the_accuracy_that_was_measured(data: Dataset, trained: bytes) -> None:
    network = IntegerNetwork.from_bytes(trained)
    raw, labels = raw_digits()
    assert network.normalization is not None and network.classes == tuple("0123456789")
    assert (round(network.normalization.offset[0], 1), round(network.normalization.scale[0], 1)) == (4.9, 6.0)
    normalized = data.normalization.apply(raw.astype(np.uint8))
    assert np.array_equal(network.quantize_samples(raw), network.quantize_input(normalized))
    right = float(np.mean(network.predict(normalized) == labels))
    assert right > 0.5
    outputs = host_run(network, raw)
    assert np.array_equal(outputs, network.run(network.quantize_input(normalized)))
    assert float(np.mean(outputs.argmax(1) == labels)) == right


@pytest.mark.parametrize("shape", [(3, 4, 5), (7,)])
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32])
def test_data_and_networks_normalize_alike(shape: tuple[int, ...], kind: type) -> None:
    rng = np.random.default_rng(0)
    x = (rng.normal(90, 40, (50, *shape)).clip(0, 255)).astype(kind)
    for method in ("standard", "symmetric", "unit"):
        known = fit(method, x)
        held = InputNormalization(known.method, known.offset, known.scale)
        assert np.array_equal(held.apply(x), known.apply(x))
        assert np.allclose(held.undo(known.apply(x)), x, atol=1e-3)


def labelled(network: IntegerNetwork) -> IntegerNetwork:
    known = InputNormalization("standard", (4.891,), (6.021,))
    return replace(network, normalization=known, classes=("null", "één", *map(str, range(2, 10))))


@needs_compiler
def test_header_readme_and_example_say_it(tmp_path: Path) -> None:
    network = labelled(quantized(Every))
    made = project(network, tmp_path / "net", name="digits")
    header, readme = made.files["digits.h"], made.files["README.md"]
    for text in (header, readme):
        assert "offset 4.891" in text and "scale 6.021" in text and "raw" in text
    assert "extern const char *const digits_labels[DIGITS_LABEL_COUNT];" in header and "| 1 | één |" in readme
    subprocess.run(["make"], cwd=tmp_path / "net", check=True, capture_output=True)
    raw = np.random.default_rng(0).uniform(0, 16, (20, 1, 8, 8)).astype(np.float32)
    done = subprocess.run(
        [tmp_path / "net" / "example"], input=raw.tobytes(), capture_output=True, check=True
    )
    best = network.run(network.quantize_samples(raw)).argmax(1)
    assert done.stdout.decode().splitlines() == [f"{i} {network.classes[i]}" for i in best]


def test_without_constants_the_files_say_that_too() -> None:
    files = generate(quantized(Every)).files
    assert all("must be normalized as in training" in files[path] for path in ("network.h", "README.md"))
    assert "_labels" not in files["network.h"]


def test_onnx_and_tflite_carry_them_as_metadata() -> None:
    from ai_edge_litert import schema_py_generated as schema

    network = labelled(quantized(Every))
    held = {entry.key: entry.value for entry in onnx.load_from_string(to_onnx(network)).metadata_props}
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(to_tflite(network), 0))
    inside = {one.name.decode(): bytes(model.buffers[one.buffer].data).decode() for one in model.metadata}
    assert held == inside
    assert json.loads(held[NORMALIZATION]) == {"method": "standard", "offset": [4.891], "scale": [6.021]}
    assert json.loads(held[CLASSES])[:2] == ["null", "één"]
    assert not onnx.load_from_string(to_onnx(quantized(Every))).metadata_props


@needs_compiler
def test_the_card_shows_the_normalization_also_of_networks_of_an_earlier_release(
    data: Dataset, trained: bytes, tmp_path: Path
) -> None:
    network = IntegerNetwork.from_bytes(trained)
    old = replace(network, normalization=None, classes=(), encodings={}).to_bytes()
    assert b"normalization" not in old
    subject = Subject.of(tiny_spec("mlp", dataset={"name": "digits"}), old, "old")
    assert (subject.network.normalization, subject.network.classes) == (
        network.normalization,
        network.classes,
    )
    done = deliver(subject, tmp_path, ["c"], target="stm32f446", name="old_digits")
    (check,) = done.reports[0].verifications
    assert check.exact and check.runtime.endswith("from raw samples") and check.error == check.network_error
    card = (tmp_path / "card.md").read_text()
    assert "Samples are normalized (standard)" in card and "Classes: 0 0, 1 1, 2 2" in card
    offset = re.search(r"\| 0 \| ([\d.]+) \| ([\d.]+) \|", card)
    assert offset is not None and float(offset[1]) == pytest.approx(network.normalization.offset[0])


def test_a_file_keeps_them() -> None:
    network = replace(labelled(quantized(Every)), encodings={"first": "mask"})
    again = IntegerNetwork.from_bytes(network.to_bytes())
    assert (again.normalization, again.classes, dict(again.encodings)) == (network.normalization, network.classes, {"first": "mask"})  # fmt: skip
    with pytest.raises(InvalidInput, match="constants for each of 1 channels"):
        replace(network, normalization=InputNormalization("unit", (0.0, 1.0), (1.0, 1.0)))
    with pytest.raises(InvalidInput, match="a name for each of 10 outputs"):
        replace(network, classes=("a",))
    with pytest.raises(InvalidInput, match=r"encodings.pool = 'mask'"):
        replace(network, encodings={"pool": "mask"})
    with pytest.raises(InvalidInput, match="positive"):
        InputNormalization("unit", (0.0,), (0.0,))


def test_names_go_to_outputs_that_are_classes_alone() -> None:
    x = np.random.default_rng(0).integers(0, 9, (60, 1, 8, 8)).astype(np.uint8)
    arrays = Arrays(x, np.arange(60) % 3, names=("a", "b", "c"))
    made = _divide(DatasetSpec(name="digits"), arrays, "standard")
    assert described(quantized(nn.Sequential(nn.Flatten(), nn.Linear(64, 3))), made).classes == (
        "a",
        "b",
        "c",
    )
    assert described(quantized(nn.Conv2d(1, 3, 3)), made).classes == ()


MAP = nn.Conv2d(1, 3, 1)


@needs_compiler
@pytest.mark.parametrize("kind", ["map", "regression", "scalar"])
def test_outputs_that_are_not_classes_are_not_compared_by_class(kind: str, tmp_path: Path) -> None:
    module: nn.Module = {
        "map": MAP,
        "regression": nn.Sequential(nn.Flatten(), nn.Linear(64, 2)),
        "scalar": nn.Sequential(nn.Flatten(), nn.Linear(64, 1)),
    }[kind]
    network = quantized(module)
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(12, 1, 8, 8)).astype(np.float32)
    labels: Any = rng.normal(size=(12, 2)) if kind == "regression" else None
    for name in ("c", "onnx", "tflite"):
        for check in export(name, network, tmp_path / name, samples=samples, labels=labels).verifications:
            assert check.agreement is None and check.error is None
    files = generate(network).files
    assert ("network_classify" in files["network.h"]) == (kind == "regression")
    if kind != "regression":
        assert "network_dequantize(output, real);" in files["main.c"] and "classify" not in files["README.md"]


@needs_compiler
def test_a_map_of_classes_is_judged_at_each_position(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = replace(quantized(MAP), classes=("road", "tree", "sky"))
    samples = np.random.default_rng(0).normal(size=(6, 1, 8, 8)).astype(np.float32)
    truth = network.run(network.quantize_input(samples)).argmax(1)
    (check,) = export("c", network, tmp_path, samples=samples, labels=truth).verifications
    assert check.agreement == 1.0 and check.error == 0.0
    wrong = truth.copy()
    wrong[:, 0, :4] = (wrong[:, 0, :4] + 1) % 3
    (check,) = export("c", network, tmp_path / "b", samples=samples, labels=wrong).verifications
    assert check.error == 4 / 64


@needs_compiler
def test_dequantize_gives_the_real_outputs(tmp_path: Path) -> None:
    network = quantized(nn.Sequential(nn.Flatten(), nn.Linear(64, 1)))
    project(network, tmp_path / "net")
    subprocess.run(["make"], cwd=tmp_path / "net", check=True, capture_output=True)
    x = np.random.default_rng(0).normal(size=(30, 1, 8, 8)).astype(np.float32)
    done = subprocess.run([tmp_path / "net" / "example"], input=x.tobytes(), capture_output=True, check=True)
    assert np.array_equal(np.array(done.stdout.split(), np.float32), network.logits(x)[:, 0])


def test_quantize_is_the_libraries_own_function() -> None:
    """A network straight from `quantize` has no constants: its samples are normalized ones."""
    network = quantize(nn.Linear(4, 2).eval(), torch.randn(8, 4))
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    assert network.normalization is None
    assert np.array_equal(network.quantize_samples(x), network.quantize_input(x))
