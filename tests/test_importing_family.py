"""The family `imported`: candidates that start from the weights of a file, found by its path or its digest."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from support_export import Every, quantized
from torch import nn

from service.http.spec_checks import check_places
from sparsemod.errors import BuildError, EnvironmentFailure, InvalidInput, InvalidSpec
from sparsemod.export.onnx.exporter import to_onnx
from sparsemod.files import digest_of
from sparsemod.importing.places import FOLDERS_VARIABLE, named_file, offer
from sparsemod.networks import create_family
from sparsemod.pipeline.model_search import search_spec
from sparsemod.pruning.shrinking import shrink
from sparsemod.records import DataInfo
from sparsemod.spec.model_files import model_files

DIGITS = DataInfo(name="digits", shape=(1, 8, 8), classes=10, layout="channels-height-width")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    content = io.BytesIO()
    torch.export.save(torch.export.export(Every().eval(), (torch.zeros(2, 1, 8, 8),)), content)
    path = tmp_path_factory.mktemp("file") / "every.pt2"
    path.write_bytes(content.getvalue())
    return path


def test_candidates_start_from_the_weights_of_the_file(file: Path) -> None:
    family = create_family("imported", {"file": str(file)})
    torch.manual_seed(0)
    original = Every().state_dict()
    values = family.space(DIGITS).complete({})
    for seed in (1, 2):
        torch.manual_seed(seed)
        state = family.build(values, DIGITS).state_dict()
        assert set(state) == set(original)
        assert all(torch.equal(state[key], original[key]) for key in original)
    first, second = family.build(values, DIGITS), family.build(values, DIGITS)
    with torch.no_grad():
        next(first.parameters()).zero_()
    assert next(second.parameters()).abs().sum() > 0


def test_filters_of_an_imported_network_can_be_removed(file: Path) -> None:
    module = create_family("imported", {"file": str(file)}).build({}, DIGITS)
    with torch.no_grad():
        hidden = module.get_submodule("hidden")
        hidden.weight[4:] = 0  # type: ignore[index, operator]
        hidden.bias[4:] = 0  # type: ignore[index, operator]
    small = shrink(module.eval(), (1, 8, 8))
    assert small.get_submodule("hidden").weight.shape[0] == 4  # type: ignore[union-attr]


def test_a_model_of_another_shape_number_of_outputs_or_type(file: Path, tmp_path: Path) -> None:
    family = create_family("imported", {"file": str(file)})
    with pytest.raises(BuildError, match=r"reads samples of shape \(1, 8, 8\), not \(3, 8, 8\)"):
        family.build({}, DIGITS.model_copy(update={"shape": (3, 8, 8)}))
    with pytest.raises(BuildError, match=r"outputs of shape \(10,\), the data need \(7,\)"):
        family.build({}, DataInfo(name="digits", shape=(1, 8, 8), classes=7))
    (tmp_path / "int8.onnx").write_bytes(to_onnx(quantized(Every)))
    with pytest.raises(BuildError, match=r"int8\.onnx is an int8 model"):
        create_family("imported", {"file": str(tmp_path / "int8.onnx")}).build({}, DIGITS)
    with pytest.raises(InvalidInput, match=r"network\.options\.file = None"):
        create_family("imported", {})


@pytest.mark.parametrize("layout", ["flat", "store"])
def test_an_uploaded_model_is_found_by_its_digest(
    layout: str, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(FOLDERS_VARIABLE, raising=False)
    digest = digest_of(file)
    name = digest.removeprefix("sha256:")
    with pytest.raises(EnvironmentFailure, match="the uploaded file is not on this machine"):
        named_file(digest, "network.options.file")
    place = tmp_path / (name if layout == "flat" else f"{name[:2]}/{name[2:]}")
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(file.read_bytes())
    monkeypatch.setenv(FOLDERS_VARIABLE, "")
    offer(tmp_path)
    family = create_family("imported", {"file": digest, "name": "every.pt2"})
    assert isinstance(family.build({}, DIGITS), nn.Module)
    with pytest.raises(EnvironmentFailure, match="no such file here"):
        named_file(str(tmp_path / "other.onnx"), "network.options.file")


def test_a_spec_names_the_digests_that_a_worker_fetches(tmp_path: Path) -> None:
    digest = "sha256:" + "a" * 64
    spec = search_spec(digest, {"name": "digits"}, ["filters"], [], file_name="m.onnx", name="m")
    assert model_files(spec) == (digest,)
    assert model_files(search_spec("/m.onnx", {"name": "digits"}, ["filters"], [], name="m")) == ()


def test_a_spec_over_http_names_no_model_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSEMOD_DATA", str(tmp_path))
    for place in ("/etc/passwd", "../m.onnx", "~/m.onnx"):
        spec = search_spec(place, {"name": "digits"}, ["filters"], [], name="m")
        with pytest.raises(InvalidSpec, match=r"network\.options\.file"):
            check_places(spec, [])
    check_places(search_spec(str(tmp_path / "m.onnx"), {"name": "digits"}, ["filters"], [], name="m"), [])


def test_data_without_normalization_stay_as_they_are() -> None:
    from sparsemod.data.normalization import fit

    x = np.random.default_rng(0).normal(3, 2, (20, 2, 4, 4)).astype(np.float32)
    assert np.array_equal(fit("none", x).apply(x), x)
    vectors = np.zeros((5, 3), np.float32) + 7  # constant features too
    assert np.array_equal(fit("none", vectors).apply(vectors), vectors)
