"""`sparsemod measure` and `sparsemod compress MODEL`: models from files on this machine."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from support_cli import cli
from support_models import quantized_onnx, small_cnn
from torch import nn

from sparsemod.export.model_report import ModelReport


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images in two classes that a linear layer separates, as .npz."""
    tmp_path = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    y = np.arange(240) % 2
    x = rng.normal(size=(240, 8, 8)).astype(np.float32)
    x[:, :4] += np.where(y, 1.5, -1.5)[:, None, None]
    np.savez(tmp_path / "samples.npz", x=x, y=y)
    return tmp_path / "samples.npz"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network for these images, as .pt2."""
    tmp_path = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 2),
    ).eval()
    with torch.no_grad():
        network[5].weight.mul_(0.1)
    file = io.BytesIO()
    torch.export.save(torch.export.export(network, (torch.zeros(2, 1, 8, 8),)), file)
    (tmp_path / "small.pt2").write_bytes(file.getvalue())
    return tmp_path / "small.pt2"


def test_measure_a_float_model(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    printed = cli(capsys, "measure", str(model), "--data", str(data), "--out", str(out))
    report = ModelReport.model_validate_json((out / "report.json").read_text())
    assert report.error is not None and report.float_error is not None and report.trainable
    assert abs(report.error - report.float_error) < 0.1
    assert "activation ranges are from 240 samples of samples.npz" in printed
    assert "small: torch.export program, 1×8×8 in, 2 out" in printed
    assert all(layer.name in printed for layer in report.layers)
    assert "stm32f446" in printed and "rp2040" in printed and "equal in every byte" in printed
    assert (out / "c" / "small.c").is_file() and (out / "card.html").is_file()
    assert sum(layer.macs for layer in report.layers) == 64 * 9 * 8 + 128 * 2
    assert sum(layer.instructions for layer in report.layers) > 0


def test_measure_shows_energy_for_a_device_whose_power_is_known(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "board.yaml").write_text(
        "{name: board, title: B, core: cortex-m4, clock: 64000000, flash: 1048576, ram: 262144, cycles_per_instruction: 1.25,"
        " power: {run: {milliwatts: 31.5, source: measured}}, source: a test}"
    )
    monkeypatch.setenv("SPARSEMOD_DEVICES", str(tmp_path))
    printed = cli(capsys, "measure", str(model), "--device", "board", "--out", str(tmp_path / "out"))
    (line,) = (line for line in printed.splitlines() if line.startswith("energy"))
    assert "µJ" in line and "31.5 mW at 64 MHz in mode run as stated: measured" in line


def test_measure_without_data_says_that_the_accuracy_is_unknown(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("measure", str(model), "--json", "--device", "nrf52840", "--out", str(tmp_path / "out"))
    report = json.loads(cli(capsys, *words))
    assert report["error"] is None and any("accuracy is unknown" in note for note in report["notes"])
    assert report["device"] == "nrf52840" == report["fits"][0]["device"]


def test_measure_an_int8_model_compares_it_with_its_runtime(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = np.random.default_rng(0).normal(size=(8, 1, 8, 8)).astype(np.float32)
    content = quantized_onnx(small_cnn(), x, unsigned=True, per_channel=True, folder=tmp_path)
    (tmp_path / "net.onnx").write_bytes(content)
    printed = cli(capsys, "measure", str(tmp_path / "net.onnx"), "--out", str(tmp_path / "out"))
    assert "net: ONNX, int8" in printed and "compared with onnxruntime" in printed
    report = ModelReport.model_validate_json((tmp_path / "out" / "report.json").read_text())
    assert report.check is not None and report.check.largest_difference == 0 and not report.trainable


def test_compress_a_model(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    printed = cli(
        capsys, "compress", str(model), "--data", str(data), "--budget", "flash <= 3000 B", "--trials", "3",
        "--epochs", "1", "--methods", "filters,svd", "--out", str(out),
    )  # fmt: skip
    assert "small as it is: error" in printed
    trials = [json.loads(line) for line in (out / "trials.jsonl").read_text().splitlines()]
    done = [trial for trial in trials if trial["result"]["state"] == "completed"]
    assert len(done) == 3
    for trial in done:
        values = {m["metric"]: m["value"] for m in trial["result"]["measurements"]}
        assert values["flash"] <= 3000
    spec = json.loads((out / "spec.json").read_text())
    assert spec["network"] == {
        "family": "imported", "front_end": None, "options": {"file": str(model)}, "substitutes": [], "substitutes_skip": None
    }  # fmt: skip
    assert ModelReport.model_validate_json((out / "reference.json").read_text()).name == "small"


def test_compress_a_module_keeps_its_weights(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_small_net.py").write_text(
        "import torch\nfrom torch import nn\n\n\ndef net():\n    torch.manual_seed(3)\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.ReLU(), nn.Linear(4, 2))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    out = tmp_path / "run"
    cli(
        capsys, "compress", "own_small_net:net", "--data", str(data), "--trials", "2", "--epochs", "1",
        "--methods", "magnitude", "--out", str(out),
    )  # fmt: skip
    assert (out / "net.pt2").is_file()
    assert len((out / "trials.jsonl").read_text().splitlines()) >= 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("measure", "nothing.onnx"), "no model file 'nothing.onnx'"),
        (("measure", "MODEL", "--device", "toaster"), "toaster"),
        (("measure", "MODEL", "--shape", "a,b"), "--shape = 'a,b'"),
        (("compress", "MODEL"), "--data = None"),
        (("compress", "nothing"), "a trial is named as EXPERIMENT TRIAL"),
        (("compress", "MODEL", "--data", "DATA", "--sparsity", "0.5"), "--sparsity = '0.5': only for a trial"),
        (("compress", "RUN", "0", "--budget", "flash <= 1 KB"), "--budget = ['flash <= 1 KB']: only for a model"),
        (("compress", "MODEL", "--data", "DATA", "--budget", "speed <= 3"), "speed"),
        (("compress", "MODEL", "--data", "DATA", "--methods", "guess"), "guess"),
    ],
)  # fmt: skip
def test_mistakes(
    words: tuple[str, ...], message: str, model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = {"MODEL": str(model), "DATA": str(data), "RUN": str(model.parent)}
    printed = cli(capsys, *(named.get(word, word) for word in words), code=2)
    assert message in printed, printed


def test_an_int8_model_cannot_be_compressed(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = np.random.default_rng(0).normal(size=(8, 1, 8, 8)).astype(np.float32)
    content = quantized_onnx(small_cnn(), x, unsigned=False, per_channel=True, folder=tmp_path)
    (tmp_path / "net.onnx").write_bytes(content)
    printed = cli(capsys, "compress", str(tmp_path / "net.onnx"), "--data", str(data), code=2)
    assert "a float model" in printed
