"""The command line starts fast and reports errors in one line."""

import subprocess
import sys
from pathlib import Path

import pytest

from service.cli import main, worker_main

COMMANDS = [
    "run",
    "check",
    "test",
    "serve",
    "suggester",
    "worker",
    "token",
    "demo",
    "submit",
    "watch",
    "list",
    "show",
    "stop",
    "resume",
    "extend",
    "attach",
    "delete",
    "workers",
    "drain",
    "whoami",
    "trials",
    "pareto",
    "importance",
    "ax",
    "export",
    "families",
    "datasets",
    "devices",
]


def test_help_loads_neither_torch_nor_ax() -> None:
    code = (
        "import sys\n"
        "from service.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'ax', 'botorch', 'sklearn', 'scipy', 'numpy', 'sqlalchemy', 'fastapi', 'matplotlib'} & set(sys.modules)\n"
        "print('HEAVY', sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "HEAVY []" in done.stdout
    for command in COMMANDS:
        assert f" {command} " in done.stdout, command


def test_the_worker_loads_no_torch() -> None:
    code = "import sys, service.worker.worker, service.client.client; print('torch' in sys.modules, 'ax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    assert f"sparsemod {command}" in capsys.readouterr().out


def test_worker_is_a_separate_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        worker_main(["--help"])
    assert end.value.code == 0
    assert "--gpu" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["check", "missing.yaml"], "error file = 'missing.yaml': an existing text file"),
        (
            ["list", "--server", "nonsense"],
            "error --server = 'nonsense': an address such as http://127.0.0.1:8080",
        ),
        (["list", "--server", "http://127.0.0.1:9"], "start a server with `sparsemod serve`"),
        (["worker", "--gpu", "0", "--cpu"], "error --gpu = 0: not together with --cpu"),
        (["extend", "1"], "error extend = 'nothing': at least one of --more"),
        (["extend", "1", "--budget", "speed <= 3"], "error --budget = 'speed'"),
        (["attach", "1", "filters"], "error parameter = 'filters': NAME=VALUE"),
        (["show", "1", "--log"], "error --log = 'no trial': only with --trial N"),
        (["show", "1", "--trial", "0", "--log", "--curve"], "not together with --log: one of --log, --curve"),
        (["show", "1", "--trial", "0", "--follow"], "error --follow = 'given': only with --trial N --log"),
        (["families", "--import", "no_such_module"], "error --import = 'no_such_module'"),
        (["devices", "--trial", "1"], "error --trial = 1: only with --fit EXPERIMENT"),
        (["demo", "--record", "demo.png"], "error --record = 'demo.png': a file NAME.svg in a folder"),
        (["serve", "--host", "0.0.0.0"], "error host = '0.0.0.0'"),
        (["run", "SPEC", "--device", "tpu"], "error --device = 'tpu': an available device: cpu"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = tmp_path / "spec.yaml"
    spec.write_text("dataset: {name: digits}\nnetwork: {family: mlp}\n")
    with pytest.raises(SystemExit) as end:
        main([str(spec) if argument == "SPEC" else argument for argument in arguments])
    captured = capsys.readouterr()
    assert end.value.code == 2
    assert words in captured.err
    assert "Traceback" not in captured.err
    assert len(captured.err.strip().splitlines()) == 1


def test_a_mistake_in_a_spec_names_file_and_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text("dataset: {name: digits}\nnetwork: {family: mlp}\nobjectives: [error, speed]\n")
    with pytest.raises(SystemExit) as end:
        main(["check", str(spec)])
    assert end.value.code == 2
    assert f"{spec}:3: objectives" in capsys.readouterr().err


def test_a_port_in_use_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    import socket

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        for command in (["serve", "--data-dir", str(tmp_path)], ["demo", "--dir", str(tmp_path)]):
            with pytest.raises(SystemExit) as end:
                main([*command, "--port", str(port)])
            assert end.value.code == 2
            assert f"error port = {port}: a free port on 127.0.0.1" in capsys.readouterr().err


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "service.cli", "check", str(tmp_path / "missing.yaml"), "--debug"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith("sparsemod ")


def test_a_database_that_does_not_answer_is_not_taken_for_a_server(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = "postgresql://127.0.0.1:9/none"
    with pytest.raises(SystemExit) as end:
        main(["token", "list", "--database", url, "--data-dir", str(tmp_path)])
    captured = capsys.readouterr()
    assert end.value.code == 2
    assert "the database does not answer" in captured.err
    assert "--server" not in captured.err
    assert "listening" not in captured.out + captured.err


def test_a_broken_user_module_is_reported_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "breaks_when_imported.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(SystemExit) as end:
        main(["families", "--import", "breaks_when_imported"])
    assert end.value.code == 2
    text = " ".join(capsys.readouterr().err.split())
    assert "--import = 'breaks_when_imported': a module that can be imported; it raised" in text
    assert "ModuleNotFoundError: No module named 'no_such_package' (breaks_when_imported.py, line 1)" in text
