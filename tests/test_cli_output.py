"""Errors of the operating system and of the terminal end in one sentence, never in a traceback."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.cli import _guarded, main
from service.cli.output import degrade

SPEC = "dataset: {name: digits, limit: 200}\nnetwork: {family: mlp}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["serve", "--only-server", "--port", "0", "--data-dir"],
        ["serve", "--port", "0", "--data-dir"],
        ["suggester", "--data-dir"],
        ["token", "list", "--data-dir"],
        ["token", "create", "ada", "--data-dir"],
        ["token", "revoke", "1", "--data-dir"],
    ],
)
def test_a_data_folder_that_cannot_be_written_is_one_line(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)  # a message shortens long paths
    Path("file").write_text("")
    folder = Path("file/data")
    with pytest.raises(SystemExit) as end:
        main([*arguments, str(folder)])
    words = capsys.readouterr().err
    assert end.value.code == 2
    assert words.splitlines() == [
        f"error --data-dir = '{folder}': a folder that can be written (Not a directory)"
    ]


def test_a_read_only_folder_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)  # root may write everywhere
    with pytest.raises(SystemExit) as end:
        main(["token", "list", "--data-dir", str(tmp_path)])
    assert end.value.code == 2
    assert "a folder that can be written (Permission denied)" in capsys.readouterr().err


def test_any_other_error_of_the_operating_system_names_file_and_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)  # a message shortens long paths
    Path("file").write_text("")
    spec = Path("spec.yaml")
    spec.write_text(SPEC)
    with pytest.raises(SystemExit) as end:
        main(["run", str(spec), "--out", "file/run"])
    words = capsys.readouterr().err
    assert end.value.code == 2
    assert "Not a directory" in words
    assert "file/run" in words
    assert "Traceback" not in words


def _run(*arguments: str, shell: str = "", **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = f'exec "$0" -m service.cli "$@" {shell}'
    return subprocess.run(
        ["/bin/sh", "-c", command, sys.executable, *arguments],
        capture_output=True,
        env={**os.environ, **environment},
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "unbuffered"), [(["--version"], "1"), (["--help"], ""), (["devices"], "")]
)
def test_a_full_disk_behind_the_output_is_one_line(arguments: list[str], unbuffered: str) -> None:
    done = _run(*arguments, shell="> /dev/full", PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 2
    assert done.stderr.decode().splitlines() == ["error cannot write: No space left on device"]


def test_a_full_disk_behind_the_errors_leaves_the_exit_code() -> None:
    done = _run("check", "missing.yaml", shell="2> /dev/full")
    assert (done.returncode, done.stdout) == (2, b"")


def test_a_terminal_without_unicode_gets_other_characters(tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(SPEC)
    done = _run("check", str(spec), "--candidates", "1", PYTHONIOENCODING="latin-1")
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    assert done.stdout.startswith(b"ok data     digits")


def test_json_stays_json_in_every_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    target = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(target, encoding="latin-1"))
    degrade()
    text = "café λ 😀 ≤ █ \udcff"
    print(json.dumps(text, ensure_ascii=False), flush=True)
    assert json.loads(target.getvalue().decode("latin-1")) == "café λ 😀 <= # \udcff"


def test_a_file_name_that_the_locale_lacks_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def command(**_: object) -> None:
        "поиск".encode("latin-1")

    with pytest.raises(SystemExit) as end:
        _guarded(command, "sparsemod", [])
    assert end.value.code == 2
    words = "error cannot write 'поиск' in this locale's encoding, latin-1; a UTF-8 locale can"
    assert capsys.readouterr().err.splitlines() == [words]
