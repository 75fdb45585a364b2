"""The page when the server returns with an older copy of its database: it loads everything again, and no
change is lost."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support_dashboard import Watched
from support_kill import Processes, store_at
from support_store import completed, fill, point, spec

from service.schemas.trials import LogLine
from service.store import Store

VALUES = """() => Object.fromEntries([...document.querySelectorAll("#trials tbody tr")]
  .map((row) => [row.cells[0].innerText, row.cells[1].innerText + " " + row.cells[4].innerText]))"""


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    running = Processes(tmp_path)
    try:
        yield running
    finally:
        running.end()


@pytest.fixture
def page_url(processes: Processes) -> str:
    return processes.url


def evaluate(store: Store, error: float, lines: int = 1) -> None:
    """Finish the oldest queued trial, which reports a line for each epoch."""
    claim = store.claim("w", request=f"{error}")
    assert claim is not None
    for epoch in range(1, lines + 1):
        line = LogLine(time=float(epoch), level="info", message=f"line {epoch} of error {error}")
        store.points(claim.attempt, claim.token, [point(epoch)], [line])
    store.finish(claim.attempt, claim.token, completed(error))


def copy(source: Path, target: Path) -> None:
    """Replace a database that is not in use by a copy of the current one."""
    for name in (target.name, f"{target.name}-wal", f"{target.name}-shm"):
        target.with_name(name).unlink(missing_ok=True)
    with (
        contextlib.closing(sqlite3.connect(source)) as here,
        contextlib.closing(sqlite3.connect(target)) as there,
    ):
        here.backup(there)


class Restored:
    """A server whose database was copied after one trial; on command it goes back to that copy."""

    def __init__(self, processes: Processes) -> None:
        self.processes = processes
        self.database, self.backup = (processes.folder / name for name in ("sparsemod.db", "backup.db"))
        store = store_at(processes.folder)
        self.identity = store.create_experiment(spec(budgets={})).id
        fill(store, self.identity, 4)
        evaluate(store, 0.25)
        store.close()
        copy(self.database, self.backup)
        self.change(lambda store: [evaluate(store, error, lines=3) for error in (0.20, 0.15, 0.10)])
        processes.start_server()
        processes.answers()

    def change(self, work: Any) -> None:
        """Change the store in another thread."""
        store = store_at(self.processes.folder)
        try:
            work(store)
        finally:
            store.close()

    def go_back(self) -> None:
        """Stop the server, put the copy in place, start it again."""
        self.processes.kill("server")
        copy(self.backup, self.database)
        self.processes.start_server()
        self.processes.answers()


def shows(page: Any, wanted: dict[str, str]) -> None:
    """Wait until the table of trials shows these values."""
    page.wait_for_function(f"wanted => JSON.stringify(({VALUES})()) === JSON.stringify(wanted)", arg=wanted)


@pytest.mark.long
def test_the_experiment_is_loaded_anew(watched: Watched, processes: Processes) -> None:
    restored = Restored(processes)
    page = watched.open(f"#/experiments/{restored.identity}?y=model_size&sort=index&order=asc")
    done = ("25.00 %", "20.00 %", "15.00 %", "10.00 %")
    shows(page, {str(index): f"completed {error}" for index, error in enumerate(done)})
    page.evaluate("window.unreloaded = true")
    restored.go_back()
    queued = {str(index): "queued –" for index in (1, 2, 3)}
    shows(page, {"0": "completed 25.00 %", **queued})
    page.wait_for_selector(".head .figure:has-text('Front') >> text=1 point")
    # From now on events have counters that the page has seen before; it must treat them as new.
    restored.change(lambda store: [evaluate(store, error) for error in (0.30, 0.05)])
    shows(
        page,
        {"0": "completed 25.00 %", "1": "completed 30.00 %", "2": "completed 5.00 %", "3": "queued –"},
    )
    assert page.get_by_label("Up").input_value() == "model_size"
    assert page.evaluate("window.unreloaded")


@pytest.mark.long
def test_the_trial_is_loaded_anew(watched: Watched, processes: Processes) -> None:
    restored = Restored(processes)
    page = watched.open(f"#/experiments/{restored.identity}/trials/1")
    log = page.get_by_role("log")
    page.wait_for_selector("[data-epochs='3']")
    assert log.inner_text().count("of error 0.2") == 3
    restored.go_back()
    page.get_by_text("No log lines.").wait_for()
    page.locator(".view-head .state.queued").wait_for()
    restored.change(lambda store: evaluate(store, 0.30, lines=2))
    page.locator(".view-head .state.completed").wait_for()
    page.wait_for_selector("[data-epochs='2']")
    log.get_by_text("line 2 of error 0.3").wait_for()
    assert log.locator("div").count() == 2


@pytest.mark.long
def test_the_list_forgets_fronts(watched: Watched, processes: Processes) -> None:
    restored = Restored(processes)
    page = watched.open("#/")
    page.get_by_text("10.00 %").wait_for()
    restored.go_back()
    page.get_by_text("25.00 %").wait_for()
