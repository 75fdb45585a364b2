"""The commands that talk to a server: a real server in a thread, with a suggester and a worker of the tests' own."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn
from support_suggester import make_spec, open_store, quick_search, work

import service.suggester.suggester
from service.cli import main
from service.http.app import create_app
from service.processes.supervisor import free_port
from service.settings import Settings
from service.store import Store
from service.suggester.suggester import Suggester


@dataclass
class Service:
    """A running server and its store."""

    url: str
    store: Store

    def finish(self, identity: int) -> None:
        """Run the experiment to its end."""
        suggester = Suggester(self.store, ahead=3)
        while self.store.experiment(identity).state == "running":
            suggester.step()
            work(self.store)
        suggester.close()


@contextmanager
def served(folder: Path) -> Iterator[Service]:
    """A server on a store in `folder` that holds experiment 1, "finished"."""
    store = open_store(folder)
    settings = Settings(data_dir=folder, database_url=f"sqlite:///{folder / 'test.db'}")
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(create_app(settings, store=store), port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    limit = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < limit
        time.sleep(0.02)
    original = service.suggester.suggester.build_search
    service.suggester.suggester.build_search = quick_search
    found = Service(f"http://127.0.0.1:{port}", store)
    identity = store.create_experiment(make_spec(name="finished")).id
    assert identity == 1
    found.finish(identity)
    try:
        yield found
    finally:
        service.suggester.suggester.build_search = original
        server.should_exit = True
        thread.join()
        store.close()


def cli(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    """Run a command and return its output."""
    with pytest.raises(SystemExit) as end:
        main(arguments)
    captured = capsys.readouterr()
    assert end.value.code == code, captured.err
    return captured.out if code == 0 else captured.err
