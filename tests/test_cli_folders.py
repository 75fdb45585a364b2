"""Folders of local runs where other commands take an experiment: test, export, extend, run."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from support_emulator import needs_emulator

from service.cli import main
from sparsemod.errors import Conflict, InvalidInput, NotFound
from sparsemod.networks import FAMILIES
from sparsemod.pipeline.local_run import LocalFolder, LocalRun
from sparsemod.targets import DEVICES

NETWORK = """
from torch import nn
from sparsemod.networks.family import family
from sparsemod.space.parameters import Integer


@family("folder_test", space=[Integer("width", 4, 8)])
def build(parameters, data):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, parameters["width"]), nn.ReLU(), nn.Linear(parameters["width"], 10))
"""
SPEC = """
name: mine
dataset: {name: digits, limit: 300}
network: {family: "folder_networks:build"}
rounds: {r1: {trials: 2, epochs: 1}, r2: {trials: 0, epochs: 1}, r3: {trials: 0, epochs: 1}}
target: {device: board.yaml}
measure: {device: model}
"""
BOARD = {
    "name": "folder-board", "title": "A board", "core": "cortex-m4", "clock": 64_000_000, "flash": 262_144, "ram": 65_536,
    "cycles_per_instruction": 1.5, "source": "a test",
}  # fmt: skip


def cli(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    found = capsys.readouterr()
    assert end.value.code == code, found.out + found.err
    return found.out + found.err


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spec with a family and a device of the user's own, and the folder of its run."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "folder_networks.py").write_text(NETWORK)
    (folder / "spec.yaml").write_text(SPEC)
    (folder / "board.yaml").write_text(yaml.safe_dump(BOARD))
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(str(folder))
    patch.setenv("SPARSEMOD_SERVER", "http://127.0.0.1:9")  # no server listens there
    patch.setenv("SPARSEMOD_IMPORTS", "")
    for registry in (FAMILIES, DEVICES):  # keep them out of other tests
        registry.names()
        patch.setattr(registry, "_members", dict(registry._members))
    with pytest.raises(SystemExit) as end:
        main(["run", str(folder / "spec.yaml"), "--out", str(folder / "run")])
    assert end.value.code == 0
    yield folder
    patch.undo()


@pytest.fixture
def run(place: Path, tmp_path: Path) -> Path:
    """A copy of the run's folder that may be changed."""
    return Path(shutil.copytree(place / "run", tmp_path / "run"))


def test_a_trial_of_a_folder_is_tested(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = cli(capsys, "test", str(run), "1", "--seeds", "1", "--epochs", "2", "--json")
    document = json.loads(text[text.index("{") :])
    assert document["experiment"] == str(run) and document["trial"] == 1 and document["epochs"] == 2
    assert 0 < document["summary"]["mean"] < 1
    assert "trials 0 to 1" in cli(capsys, "test", str(run), "7", code=2)


def test_a_config_names_the_run_the_network_and_the_epochs(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.cfg"
    file.write_text(
        f"[DEFAULT]\ntrain = False\ndataset = digits\nnetwork = mlp\n[TEST]\nroot = {run.parent}\nname = run\narm = 1_0\nepochs = 1\nseeds = 1\n"
    )
    text = cli(capsys, "test", str(file), "--json")
    document = json.loads(text[text.index("{") :])
    assert (document["experiment"], document["trial"], document["epochs"]) == (str(run), 1, 1)
    assert len(document["seeds"]) == 1
    assert "test error of the integer network" in cli(capsys, "run", str(file)), "train = off"
    file.write_text(file.read_text() + "quant_scheme = none\n")
    assert "config.cfg:11: quant_scheme = 'none': as in the run" in cli(capsys, "test", str(file), code=2)
    file.write_text("dataset = digits\nnetwork = mlp\n")
    assert "a section [TEST]" in cli(capsys, "test", str(file), code=2)


def test_a_folder_is_exported(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    text = cli(
        capsys, "export", str(run), "0", "--to", "c", "--output", str(out), "--import", "folder_networks"
    )
    assert "c: equal in every byte" in text, text
    names = {path.name for path in (out / "trial-0").iterdir()}
    assert {"c", "card.html", "network.npz", "weights.safetensors", "trial.json"} <= names
    front = LocalFolder(run).front()
    cli(capsys, "export", str(run), "--output", str(tmp_path / "front"))
    assert {path.name for path in (tmp_path / "front").iterdir()} == {f"trial-{index}" for index in front}
    assert "only for an experiment on a server" in cli(
        capsys, "export", str(run), "--to", "c", "--remote", code=2
    )


@needs_emulator
def test_a_trial_of_a_folder_runs_on_a_board(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = cli(capsys, "board", str(run), "1", "--core", "rv32", "--timeout", "60", "--json")
    report = json.loads(text[text.index("{") :])
    assert report["equal"] and report["unit"] == "instructions" and report["core"] == "rv32imc"
    assert [layer["name"] for layer in report["layers"]] and report["time"] > 0
    cli(capsys, "export", str(run), "1", "--out", str(tmp_path / "files"))
    stored = tmp_path / "files" / "trial-1" / "network.npz"
    shown = cli(capsys, "board", str(stored), "--core", "rv32", "--timeout", "60")
    assert "every byte of" in shown and "instructions for one inference" in shown
    project = tmp_path / "project"
    assert "wrote network/ and CMakeLists.txt" in cli(
        capsys, "board", str(run), "1", "--project", str(project)
    )
    assert (project / "network" / "golden.c").is_file()
    none = cli(capsys, "board", str(run), "1", "--port", "/dev/ttyNONE", code=2)
    assert "--port = '/dev/ttyNONE': a serial port (No such file or directory)" in none
    assert "--load = 'make': given with --port and --project" in cli(
        capsys, "board", str(run), "1", "--load", "make", code=2
    )
    assert "TRIAL = 1: left out" in cli(capsys, "board", str(stored), "1", code=2)
    calibrate = cli(capsys, "calibrate-board", "--port", "/dev/ttyNONE", code=2)
    assert "--load = '': given with --project" in calibrate


def test_export_imports_modules(capsys: pytest.CaptureFixture[str], run: Path) -> None:
    assert "--import = 'no_such_module'" in cli(
        capsys, "export", str(run), "--import", "no_such_module", code=2
    )


def test_an_extended_folder_continues(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (run / "trials.jsonl").read_text()
    text = cli(capsys, "extend", str(run), "--more", "r1=1", "--budget", "flash <= 100 KB")
    assert f"has 3 trials in its rounds; `sparsemod run {run}` continues" in text
    text = cli(capsys, "run", str(run))
    assert "trial    2" in text and "trial    1" not in text
    after = (run / "trials.jsonl").read_text()
    assert after.startswith(before) and len(after.splitlines()) == 3
    assert LocalFolder(run).spec.budgets == {"flash": 102_400.0}
    assert "no value: the run in" in cli(capsys, "run", str(run), "--out", str(run.parent / "other"), code=2)


def test_another_spec_is_refused_with_the_way_on(
    place: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli(capsys, "extend", str(run), "--more", "r1=1")
    text = cli(capsys, "run", str(place / "spec.yaml"), "--out", str(run), code=2)
    assert f"`sparsemod extend {run}` adds trials" in text


def test_a_folder_cannot_be_extended_under_a_run(run: Path) -> None:
    local = LocalRun(LocalFolder(run).spec, run)
    with local._lock(), pytest.raises(Conflict, match="another run is at work"):
        LocalFolder(run).extend({"r1": 1})
    with pytest.raises(InvalidInput, match=r"rounds\.r4"):
        LocalFolder(run).extend({"r4": 1})
    assert LocalFolder(run).spec == local.spec


def test_folders_without_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(NotFound, match=r"no spec\.json"):
        LocalFolder(tmp_path)
    for command in (("export",), ("test",), ("extend", "--more", "r1=1"), ("compress",), ("prunability",)):
        trial = ["0"] if command[0] in ("test", "compress") else []
        for folder, problem in (
            (tmp_path, "this folder has no spec.json"),
            (tmp_path / "nowhere", "there is no such folder"),
        ):
            text = cli(capsys, *command, str(folder), *trial, code=2)
            assert f"the folder of a local run; {problem}" in text
    (tmp_path / "spec.json").write_text("{")
    with pytest.raises(InvalidInput, match=r"spec\.json: .*the spec of a run, as JSON"):
        LocalFolder(tmp_path)
