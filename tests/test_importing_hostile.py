"""Broken and hostile model files: one clear error that names the file, nothing run, nothing read elsewhere, no memory eaten."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from support_models import (
    float_tflite,
    lstm_tflite,
    node,
    onnx_model,
    parsed,
    quantized_onnx,
    small_cnn,
    small_gru,
    weights,
)
from torch import nn

from sparsemod.errors import InvalidInput, NotFound, SparsemodError, Unsupported
from sparsemod.importing import Source, read_model
from sparsemod.importing.readers.exported_archive import without_examples


def program() -> bytes:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    file = io.BytesIO()
    torch.export.save(torch.export.export(network.eval(), (torch.zeros(2, 1, 8, 8),)), file)
    return without_examples(file.getvalue())


def int8_onnx(folder: Path) -> bytes:
    x = np.random.default_rng(0).normal(size=(4, 1, 8, 8)).astype(np.float32)
    return quantized_onnx(small_cnn(), x, unsigned=False, per_channel=True, folder=folder)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("files")
    return {
        "float.onnx": small_cnn(), "int8.onnx": int8_onnx(folder), "float.tflite": float_tflite(), "program.pt2": program(),
        "gru.onnx": small_gru(), "lstm.tflite": lstm_tflite(),
    }  # fmt: skip


NAMES = ("float.onnx", "int8.onnx", "float.tflite", "program.pt2", "gru.onnx", "lstm.tflite")


def refused(name: str, content: bytes) -> SparsemodError | None:
    """The error of reading a file, None when it was read; any other exception fails the test."""
    try:
        read_model(Source(name, content))
    except SparsemodError as error:
        return error
    return None


@pytest.mark.parametrize("name", NAMES)
def test_every_cut_file_is_refused_with_its_name(name: str, files: dict[str, bytes]) -> None:
    content = files[name]
    for length in np.linspace(0, len(content) - 1, 25).astype(int):
        error = refused(name, content[:length])
        assert error is not None and name in str(error) and "\n" not in str(error), (length, error)


@pytest.mark.parametrize("name", NAMES)
def test_changed_bytes_raise_nothing_but_our_errors(name: str, files: dict[str, bytes]) -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        content = bytearray(files[name])
        for place in rng.integers(0, len(content), 6):
            content[place] = int(rng.integers(0, 256))
        refused(name, bytes(content))


def changed(content: bytes, change: Callable[[Any], None]) -> bytes:
    model = parsed(content)
    change(model)
    made: bytes = model.SerializeToString()
    return made


def test_a_cycle_of_operators() -> None:
    nodes = [node("Add", "x b", "a"), node("Relu", "a", "b"), node("Relu", "b", "y")]
    error = refused("cycle.onnx", onnx_model(nodes, {}, (1, 8, 8)))
    assert isinstance(error, InvalidInput)
    assert (
        str(error)
        == "cycle.onnx: layer 'a' (Add) = \"it reads 'b': a cycle of operators\": a complete model file"
    )


def test_a_missing_tensor_names_layer_and_operator() -> None:
    error = refused("lost.onnx", onnx_model([node("Conv", "x w", "y", kernel_shape=[3, 3])], {}, (1, 8, 8)))
    assert (
        error is not None
        and "lost.onnx: layer 'y' (Conv)" in str(error)
        and "no operator computes it" in str(error)
    )


def test_inputs_that_do_not_fit_name_layer_and_operator() -> None:
    model = onnx_model([node("Conv", "x w", "y", kernel_shape=[3, 3])], {"w": weights(2, 7, 3, 3)}, (1, 8, 8))
    error = refused("odd.onnx", model)
    assert error is not None and "odd.onnx: layer 'y' (Conv)" in str(error)


def huge_constant(model: Any) -> None:
    tensor = model.graph.initializer[0]
    del tensor.dims[:]
    tensor.dims.extend([1 << 20, 1 << 20, 3, 3])


def negative_constant(model: Any) -> None:
    model.graph.initializer[0].dims[0] = -8


def huge_input(model: Any) -> None:
    for dimension in model.graph.input[0].type.tensor_type.shape.dim[1:]:
        dimension.dim_value = 1 << 40


@pytest.mark.parametrize("change", [huge_constant, negative_constant, huge_input])
def test_sizes_are_checked_before_memory_is_taken(change: Callable[[Any], None]) -> None:
    error = refused("big.onnx", changed(small_cnn(), change))
    assert isinstance(error, InvalidInput) and "big.onnx" in str(error)


@pytest.mark.parametrize(
    "nodes",
    [
        [node("ConstantOfShape", "big", "c"), node("Add", "x c", "y")],
        [node("Resize", "x  scales", "y", mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric")],
        [node("Pad", "x pads", "y")],
    ],
    ids=["constant", "resize", "pad"],
)  # fmt: skip
def test_operators_cannot_make_huge_tensors(nodes: list[Any]) -> None:
    constants = {
        "big": np.array([1 << 20, 1 << 20]), "scales": np.array([1, 1, 1 << 14, 1 << 14], np.float32),
        "pads": np.array([0, 0, 1 << 30, 0, 0, 0, 0, 0]),
    }  # fmt: skip
    used = {name for one in nodes for name in one.input}
    content = onnx_model(nodes, {n: v for n, v in constants.items() if n in used}, (1, 8, 8))
    error = refused("big.onnx", content)
    assert isinstance(error, InvalidInput) and "big.onnx" in str(error)


def test_steps_of_a_sequence_are_not_run_to_find_a_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch goes through steps one by one, also on the meta device: a small file can state millions of them."""
    forward = nn.GRU.forward

    def of_one_step(layer: nn.GRU, x: torch.Tensor, *states: Any) -> Any:
        if x.shape[1] != 1:
            raise AssertionError(f"{x.shape[1]} steps are run")
        return forward(layer, x, *states)

    monkeypatch.setattr(nn.GRU, "forward", of_one_step)
    nodes = [
        node("Transpose", "x", "t", perm=[1, 0, 2]), node("GRU", "t w r", "all", hidden_size=5, linear_before_reset=1),
        node("Transpose", "all", "y", perm=[2, 0, 1, 3]),
    ]  # fmt: skip
    constants = {"w": weights(1, 15, 1), "r": weights(1, 15, 5)}
    model = read_model(Source("long.onnx", onnx_model(nodes, constants, (1 << 20, 1))))
    assert model.shape == (1 << 20, 1)


def with_external(location: str, folder: Path) -> Source:
    """A model whose first weights are in the file `location`."""
    model = parsed(small_cnn())
    tensor = model.graph.initializer[0]
    raw = numpy_helper.to_array(tensor).tobytes()
    tensor.ClearField("raw_data")
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("length", str(len(raw)))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    (folder / "weights.bin").write_bytes(raw)
    return Source("m.onnx", model.SerializeToString(), folder)


def test_external_data_stay_within_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(8 * 9 * 4))
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    assert read_model(with_external("weights.bin", folder)).module is not None
    for place in ("../secret.bin", str(tmp_path / "secret.bin"), "link.bin", "nothing.bin", "."):
        with pytest.raises(InvalidInput, match=r"a file in the folder of m\.onnx"):
            read_model(with_external(place, folder))
    uploaded = Source("m.onnx", with_external("weights.bin", folder).content)
    with pytest.raises(InvalidInput, match="no other files"):
        read_model(uploaded)


def rewritten(content: bytes, change: Callable[[dict[str, bytes]], None]) -> bytes:
    """A .pt2 file with changed entries."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    change(entries)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return out.getvalue()


def in_json(part: str, change: Callable[[Any], None]) -> Callable[[dict[str, bytes]], None]:
    def apply(entries: dict[str, bytes]) -> None:
        name = next(name for name in entries if name.endswith(part))
        data = json.loads(entries[name])
        change(data)
        entries[name] = json.dumps(data).encode()

    return apply


def pickled(data: Any) -> None:
    next(iter(data["config"].values()))["use_pickle"] = True


def far_strides(data: Any) -> None:
    meta = next(iter(data["config"].values()))["tensor_meta"]
    meta["strides"] = [{"as_int": 1 << 40}] * len(meta["strides"])


def negative_offset(data: Any) -> None:
    next(iter(data["config"].values()))["tensor_meta"]["storage_offset"] = {"as_int": -5}


def other_call(data: Any) -> None:
    data["graph_module"]["graph"]["nodes"][0]["target"] = "os.system"


def private_call(data: Any) -> None:
    data["graph_module"]["graph"]["nodes"][0]["target"] = "torch.ops.aten.__class__"


@pytest.mark.parametrize(
    ("part", "change", "kind"),
    [
        ("model_weights_config.json", pickled, Unsupported),
        ("model_weights_config.json", far_strides, InvalidInput),
        ("model_weights_config.json", negative_offset, InvalidInput),
        ("models/model.json", other_call, Unsupported),
        ("models/model.json", private_call, Unsupported),
    ],
)
def test_hostile_programs(part: str, change: Any, kind: type[SparsemodError]) -> None:
    error = refused("evil.pt2", rewritten(program(), in_json(part, change)))
    assert type(error) is kind and "evil.pt2" in str(error), error


def test_a_deep_or_huge_archive() -> None:
    def deep(entries: dict[str, bytes]) -> None:
        entries[next(n for n in entries if n.endswith("model.json"))] = b"[" * 200_000

    def bomb(entries: dict[str, bytes]) -> None:
        entries["m/data/bomb"] = bytes(300 << 20)

    for change in (deep, bomb):
        error = refused("deep.pt2", rewritten(program(), change))
        assert isinstance(error, InvalidInput) and "deep.pt2" in str(error)


def test_a_pickle_in_a_program_is_never_loaded(tmp_path: Path) -> None:
    mark = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> Any:
            return (mark.write_text, ("x",))

    import pickle

    def change(entries: dict[str, bytes]) -> None:
        entries["model/data/sample_inputs/model.pt"] = pickle.dumps(Evil())

    assert refused("evil.pt2", rewritten(program(), change)) is None
    assert not mark.exists()


def test_other_suffixes_and_large_files(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"a file that ends in \.onnx, \.pt2, \.tflite"):
        read_model(Source("model.pkl", b"x"))
    with pytest.raises(NotFound, match="model file"):
        Source.of(tmp_path / "nothing.onnx")
    large = tmp_path / "large.onnx"
    large.write_bytes(bytes(100))
    with pytest.raises(InvalidInput, match="at most 50 bytes"):
        Source.of(large, most=50)


def test_several_inputs_are_named() -> None:
    model = parsed(onnx_model([node("Add", "x z", "y")], {}, (1, 8, 8)))
    model.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", 1, 8, 8]))
    error = refused("two.onnx", model.SerializeToString())
    assert isinstance(error, Unsupported) and "2 inputs" in str(error) and "x, z" in str(error)
    assert isinstance(model, onnx.ModelProto)
