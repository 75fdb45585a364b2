"""The five-minute tour is taken: its files written, its commands run in order, its Python executed, in an empty folder."""

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from support_docs import DOCS, Block, blocks

TOUR = DOCS / "tour.md"
BIN = Path(sys.executable).parent


def _in_order() -> list[Block]:
    found = [block for language in ("yaml", "console", "python") for block in blocks(language, (TOUR,))]
    return sorted(found, key=lambda block: block.line)


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("SPARSEMOD_SERVER", f"http://127.0.0.1:{port}")
    return f"http://127.0.0.1:{port}"


@pytest.fixture
def servers() -> Iterator[list[subprocess.Popen[bytes]]]:
    running: list[subprocess.Popen[bytes]] = []
    yield running
    for process in running:
        process.send_signal(signal.SIGINT)
    for process in running:
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def _serve(words: list[str], address: str, folder: Path) -> subprocess.Popen[bytes]:
    command = [str(BIN / words[0]), *words[1:], "--port", address.rpartition(":")[2]]
    with (folder / "serve.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    while True:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5):
                return process
        except OSError:
            assert process.poll() is None, (folder / "serve.log").read_text()
            time.sleep(0.1)


@pytest.mark.long
@pytest.mark.timeout(280)
def test_the_tour(tmp_path: Path, address: str, servers: list[subprocess.Popen[bytes]]) -> None:
    python = ""
    outputs: dict[str, str] = {}
    for block in _in_order():
        if block.language == "yaml":
            (tmp_path / "first.yaml").write_text(block.text)
        elif block.language == "python":
            python += block.text
            done = subprocess.run(
                [sys.executable, "-c", python], cwd=tmp_path, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        else:
            for line in block.text.splitlines():
                words = shlex.split(line.removeprefix("$ "))
                if words[:2] == ["sparsemod", "serve"]:
                    servers.append(_serve(words, address, tmp_path))
                    continue
                done = subprocess.run(
                    [BIN / words[0], *words[1:]], cwd=tmp_path, capture_output=True, text=True, check=False
                )
                log = tmp_path / "serve.log"
                server = log.read_text() if log.exists() else ""
                assert done.returncode == 0, f"{block}: {line}\n{done.stdout}\n{done.stderr}\n{server}"
                outputs[" ".join(words[:2])] = done.stdout
    assert (tmp_path / "runs" / "first" / "pareto.png").stat().st_size > 0
    assert "hypervolume" in outputs["sparsemod run"]
    assert "test error" in outputs["sparsemod test"]
    assert list((tmp_path / "best").glob("trial-*/network.npz"))
    assert os.listdir(tmp_path / "best")
