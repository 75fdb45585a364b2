"""`sparsemod export`: a folder for each trial, with formats and report card."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from support_export import Every, Wide, finished, quantized

from service.cli import main
from service.cli.exporting import parse_formats
from service.http.app import create_app
from service.processes.supervisor import free_port
from service.settings import Settings
from sparsemod.errors import UnknownName


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with an experiment of two trials: one that runs everywhere, a larger one that the first dominates not."""
    app = create_app(Settings(data_dir=tmp_path_factory.mktemp("server")))
    experiment, _ = finished(app.state.store, app.state.files, quantized(Every))
    finished(app.state.store, app.state.files, quantized(lambda: Wide(64)), experiment)
    port = free_port()
    running = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
    thread = threading.Thread(target=running.run)
    thread.start()
    limit = time.monotonic() + 20
    while not running.started:
        assert time.monotonic() < limit
        time.sleep(0.02)
    yield f"http://127.0.0.1:{port}"
    running.should_exit = True
    thread.join()


@pytest.fixture(autouse=True)
def _address(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSEMOD_SERVER", server)


def cli(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    found = capsys.readouterr()
    assert ended.value.code in ((0, None) if code == 0 else (code,)), found.out + found.err
    return found.out + found.err


def test_one_trial_in_every_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = cli(capsys, "export", "1", "0", "--to", "c,onnx,tflite", "--output", str(tmp_path))
    folder = tmp_path / "trial-0"
    assert [path.name for path in tmp_path.iterdir()] == ["trial-0"]
    for name in (
        "c/store_test_0.c",
        "c/Makefile",
        "onnx/store_test_0.onnx",
        "tflite/store_test_0.tflite",
        "network.npz",
        "trial.json",
    ):
        assert (folder / name).is_file(), name
    for name in ("c", "onnx", "tflite"):
        assert (folder / name / "verification.json").is_file()
        assert f"{name}: " in text
    assert "c: equal in every byte, same class for 100.00 %" in text and "validation" not in text
    done = json.loads((folder / "export.json").read_text())
    assert [report["format"] for report in done["reports"]] == ["c", "onnx", "tflite"]
    card = (folder / "card.md").read_text()
    assert all(
        words in card for words in ("STM32F446RE", "validation samples of digits", "memory.png", "| equal |")
    )


@pytest.mark.long
def test_the_server_makes_them_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = cli(capsys, "export", "1", "0", "--to", "c,onnx", "--remote", "--output", str(tmp_path))
    assert "c: equal in every byte, same class for 100.00 %" in text and "onnx: " in text
    names = {path.name for path in (tmp_path / "trial-0").iterdir()}
    assert {"store_test_0-c.zip", "c-verification.json", "card.md", "network.npz"} < names
    assert "error --remote = 'given': only with --to" in cli(capsys, "export", "1", "--remote", code=2)


def test_without_a_trial_all_points_of_the_front(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = cli(capsys, "export", "1", "--to", "onnx", "--output", str(tmp_path))
    folders = sorted(path.name for path in tmp_path.iterdir())
    for name in folders:
        number = name.removeprefix("trial-")
        assert (tmp_path / name / "onnx" / f"store_test_{number}.onnx").is_file()
    assert folders
    assert text.count("same class") == 2 * len(folders)


@pytest.mark.long
def test_a_chosen_model_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli(
        capsys,
        "export",
        "store test",
        "0",
        "--to",
        "c",
        "--name",
        "gestures",
        "--output",
        str(tmp_path / "one"),
    )
    header = (tmp_path / "one" / "trial-0" / "c" / "gestures.h").read_text()
    assert (
        "void gestures_run(" in header
        and '#include "gestures.h"' in (tmp_path / "one/trial-0/card.md").read_text()
    )
    cli(
        capsys,
        "export",
        "1",
        "0",
        "1",
        "--to",
        "onnx",
        "--name",
        "gestures",
        "--output",
        str(tmp_path / "two"),
    )
    assert all((tmp_path / f"two/trial-{i}/onnx/gestures_{i}.onnx").is_file() for i in (0, 1))
    cli(capsys, "export", "1", "0", "--to", "c", "--name", "mine", "--remote", "-o", str(tmp_path / "three"))
    assert (tmp_path / "three" / "trial-0" / "mine-c.zip").is_file()
    text = cli(
        capsys, "export", "1", "0", "--to", "c", "--name", "string", "-o", str(tmp_path / "four"), code=2
    )
    assert "--name = 'string'" in text and not (tmp_path / "four").exists()


def test_a_device_that_is_too_small(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny.yaml").write_text(
        "name: tiny\ntitle: A tiny chip\ncore: cortex-m4\nclock: 1000000\nflash: 4096\nram: 4096\ncycles_per_instruction: 1.0\nsource: none\n"
    )
    monkeypatch.setenv("SPARSEMOD_DEVICES", str(tmp_path))
    text = cli(
        capsys, "export", "1", "1", "--to", "c,onnx", "--device", "tiny", "-o", str(tmp_path / "out"), code=2
    )
    assert "c: failed: does not fit A tiny chip (tiny): flash is exceeded by" in text
    assert "onnx: " in text and "1 of 2 exports failed" in text
    assert "no: exceeds flash by" in (tmp_path / "out" / "trial-1" / "card.md").read_text()


def test_formats_are_checked_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert parse_formats(" ONNX, c,c ") == ("onnx", "c") and parse_formats("") == ()
    with pytest.raises(UnknownName, match="--to"):
        parse_formats("hex")
    text = cli(capsys, "export", "1", "--to", "hex", "--output", str(tmp_path / "out"), code=2)
    assert "c, onnx, tflite" in text and not (tmp_path / "out").exists()
