"""`sparsemod run`, `check`, `families` and the rest that needs no server, and the demo with a tiny experiment."""

import errno
import html
import re
import subprocess
import sys
from pathlib import Path

import pytest

from service.cli import main
from service.cli.demo import own_folder
from service.cli.testing import summarize
from service.store import Store
from sparsemod.errors import InvalidInput
from sparsemod.spec.files import load

SPEC = """
name: tiny
dataset: {name: digits}
network: {family: mlp, options: {max_width: 32}}
rounds: {r1: {trials: 3, epochs: 2}, r2: {trials: 0, epochs: 1}, r3: {trials: 2, epochs: 1}}
objectives: [error, model_size]
"""


def cli(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    captured = capsys.readouterr()
    assert end.value.code == code, captured.err
    return captured.out


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "spec.yaml"
    path.write_text(SPEC)
    return path


def test_run_writes_results_and_continues(
    spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "results"
    text = cli(capsys, "run", str(spec), "--out", str(folder))
    assert [f"trial {n:>4}" in text for n in range(5)] == [True] * 5
    assert "all rounds are complete" in text
    assert {"trials.csv", "pareto.csv", "pareto.json", "pareto.png", "pareto.svg"} <= {
        p.name for p in folder.iterdir()
    }
    again = cli(capsys, "run", str(spec), "--out", str(folder))
    assert "trial    0" not in again, "what is finished is not run again"


def test_constraints_that_nothing_meets_are_an_error(
    spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec.write_text(SPEC + "constraints:\n- coefficients: {l1_width: 1}\n  bound: 1\n")
    with pytest.raises(SystemExit) as end:
        main(["run", str(spec), "--out", str(tmp_path / "results")])
    assert end.value.code == 1
    words = capsys.readouterr().err
    assert "constraints = ['l1_width <= 1']: met by none of" in words
    assert "Traceback" not in words


def test_an_unknown_name_in_a_constraint_is_reported_with_its_line(
    spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec.write_text(SPEC + "constraints:\n- coefficients: {l9_width: 1}\n  bound: 1\n")
    for command in (["check", str(spec)], ["run", str(spec), "--out", str(tmp_path / "results")]):
        with pytest.raises(SystemExit) as end:
            main(command)
        assert end.value.code == 2
        captured = capsys.readouterr()
        assert (
            "spec.yaml:8: constraints.0 = 'l9_width': a parameter of the space" in captured.out + captured.err
        )


def test_a_full_disk_is_one_line(
    spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("sparsemod.files.os.fsync", full)
    with pytest.raises(SystemExit) as end:
        main(["run", str(spec), "--out", str(tmp_path / "results")])
    assert end.value.code == 1
    words = capsys.readouterr().err
    assert "error No space left on device; 0 finished trials are kept in" in words
    assert "Traceback" not in words
    monkeypatch.undo()
    assert "all rounds are complete" in cli(capsys, "run", str(spec), "--out", str(tmp_path / "results"))


BROKEN = """
from torch import nn
from sparsemod.space.parameters import Integer
from sparsemod.space.space import Space

class Network(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))

    def forward(self, x):
        if self.training and len(x) > 1:
            raise RuntimeError("no such tensor\\nin this network")
        return self.layers(x)

class Broken:
    def space(self, data):
        return Space([Integer("width", 4, 8)])

    def build(self, parameters, data):
        return Network(parameters["width"])
"""


def test_a_network_that_never_trains_is_reported_at_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_network.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "spec.yaml"
    path.write_text(SPEC.replace("mlp, options: {max_width: 32}", '"broken_network:Broken"'))
    with pytest.raises(SystemExit) as end:
        main(["run", str(path), "--out", str(tmp_path / "out")])
    captured = capsys.readouterr()
    assert end.value.code == 1
    assert "RuntimeError: no such tensor in this network" in captured.out
    assert "no trial completed; the last failure: train: RuntimeError: no such tensor" in captured.err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("network: {family: mpl}", "network.family = 'mpl': known: "),
        ("space: {l1_with: 8}", "space.l1_with = 'l1_with': a parameter of family mlp"),
        ("dataset: {name: digit}", "dataset.name = 'digit': known: "),
        ("target: {device: z80}", "target.device = 'z80': known: "),
        ("training: {augmentation: [{name: mirror}]}", "training.augmentation.0.name = 'mirror': known: "),
    ],
)
def test_mistakes_that_show_late_name_their_line_too(
    spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, message: str
) -> None:
    kept = [text for text in SPEC.splitlines() if text.split(":")[0] != line.split(":")[0]]
    spec.write_text("\n".join([*kept, line]))
    place = f"{spec}:{len(kept) + 1}: "
    with pytest.raises(SystemExit) as end:
        main(["run", str(spec), "--out", str(tmp_path / "out")])
    assert end.value.code == 2
    assert f"{place}{message}" in capsys.readouterr().err
    with pytest.raises(SystemExit) as end:
        main(["check", str(spec)])
    assert end.value.code == 2
    shown = capsys.readouterr()
    assert f"{place}{message}" in shown.out + shown.err


def test_every_mistake_of_a_file_is_a_line(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec.write_text(
        "dataset: {name: digits}\nnetwork: {family: mlp}\nobjectives: [error, speed]\nbudgets: [ram < 3 KB]\n"
    )
    with pytest.raises(SystemExit) as end:
        main(["check", str(spec)])
    assert end.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    places = sorted(line.removeprefix(f"error {spec}:").partition(" = ")[0] for line in lines)
    assert places == ["3: objectives.1", "4: budgets.0"]


def test_a_late_mistake_in_a_config_names_its_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.cfg"
    path.write_text("dataset = digits\nnetwork = mlp\ndevice = z80\n")
    with pytest.raises(SystemExit):
        main(["run", str(path), "--out", str(tmp_path / "out")])
    assert f"{path}:3: device (target.device) = 'z80': known: " in capsys.readouterr().err


def test_check_reports_each_step(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = cli(capsys, "check", str(spec), "--candidates", "1")
    for words in ("✓ data", "✓ space", "✓ budgets", "✓ trial", "✓ time"):
        assert words in text


def test_check_finds_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(SPEC + "budgets: ['flash <= 8 B']\n")
    assert "✗ budgets" in cli(capsys, "check", str(path), "--candidates", "1", code=2)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("families", ("cnn", "mlp", "max_width")),
        ("datasets", ("digits", "mnist")),
        ("devices", ("stm32f446", "cortex-m4")),
    ],
)
def test_catalogues(command: str, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    text = cli(capsys, command)
    for word in words:
        assert word in text


def test_a_family_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my_cli_family.py").write_text(
        "from sparsemod.networks import family\n\n\n@family('my-cli-family')\nclass Mine:\n    '''My own.'''\n\n"
        "    def __init__(self, *, width=3):\n        pass\n\n"
        "    def space(self, data):\n        raise NotImplementedError\n\n"
        "    def build(self, parameters, data):\n        raise NotImplementedError\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("SPARSEMOD_IMPORTS", "")
    text = cli(capsys, "families", "--import", "my_cli_family")
    assert "my-cli-family" in text
    assert "width=3" in text


def test_the_summary_over_seeds() -> None:
    assert summarize([{"test": 0.1}]) == {"mean": 0.1, "standard_error": None}
    found = summarize([{"test": 0.1}, {"test": 0.3}])
    assert found["mean"] == pytest.approx(0.2)
    assert found["standard_error"] == pytest.approx(0.1)


def test_parallel_demos_have_separate_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with own_folder(None) as first, own_folder(None) as second, own_folder(Path("mine")) as named:
        assert [path.name for path in (first, second, named)] == [
            "sparsemod-demo",
            "sparsemod-demo-2",
            "mine",
        ]
        with pytest.raises(InvalidInput, match="no running demo uses"), own_folder(Path("mine")):
            pass
    with own_folder(None) as again, own_folder(Path("mine")):
        assert again.name == "sparsemod-demo"


@pytest.mark.long
def test_the_demo_after_an_interrupted_one(spec: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from service.cli.demo import run_demo\n"
        "run_demo(Path(sys.argv[1]), 0, 1, stay=False, spec_file=Path(sys.argv[2]), record=Path(sys.argv[3]))"
    )
    folder = tmp_path / "demo"
    store = Store.open(f"sqlite:///{folder / 'sparsemod.db'}")
    interrupted = store.create_experiment(load(spec)).id
    picture = tmp_path / "demo.svg"
    command = [sys.executable, "-c", code, str(folder), str(spec), str(picture)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    logs = "".join(path.read_text() for path in folder.glob("logs/*.log"))
    assert done.returncode == 0, done.stderr + logs
    assert "experiment 2: 5 trials on 1 worker" in done.stdout
    assert "int8 networks on the front" in done.stdout
    # The picture shows the output and loads no other file.
    drawn = html.unescape("".join(re.findall(r"<text[^>]*>(.*?)</text>", picture.read_text())))
    for text in re.findall(r"^experiment 2: .*? trials|^.* int8 networks.*$", done.stdout, re.MULTILINE):
        assert text in drawn.replace("\xa0", " ")
    assert drawn.count("pareto.") == 4 and "@font-face" not in picture.read_text()
    names = {path.name for path in (folder / "results" / "experiment-2").iterdir()}
    assert {"trials.csv", "pareto.csv", "pareto.json", "pareto.png", "pareto.svg"} <= names
    assert store.experiment(interrupted).state == "stopped"
    assert store.experiment(2).state == "done"
    store.close()
