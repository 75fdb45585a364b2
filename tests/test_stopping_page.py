"""A stopped trial on the page and in the commands: its reason, its grey curve, and the button that continues it."""

from collections.abc import Iterator

import pytest
from support_cli import cli
from support_dashboard import Seeded, Watched, violations
from support_stream import served
from test_stopping_store import experiment, hopeless, stop

from service.http.app import create_app
from service.settings import Settings
from service.store import Store

REASON = "after epoch 3 of 6, a probability of"


@pytest.fixture
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seeded]:
    """Experiment 1 with six completed trials and trial 6, which the rule has stopped."""
    folder = tmp_path_factory.mktemp("stopping")
    store = Store.open(Settings(data_dir=folder).url)
    stop(store, hopeless(store, experiment(store)))
    with served(create_app(Settings(data_dir=folder), store=store)) as url:
        yield Seeded(url, store)
    store.close()


@pytest.fixture
def page_url(seeded: Seeded) -> str:
    return seeded.url


def test_a_stopped_trial_is_shown_as_such_and_continued(watched: Watched, seeded: Seeded) -> None:
    page = watched.open("#/experiments/1/trials/6")
    note = page.locator("[data-stopping=curves]")
    note.wait_for()
    assert f"Stopped by the rule curves: {REASON}" in note.inner_text()
    assert "Expected error at the end:" in note.inner_text()
    page.locator("[data-epochs='3'][data-stopped=true]").wait_for()
    page.get_by_text("stopped after epoch 3 of 6").wait_for()
    assert violations(page) == []
    page.get_by_role("button", name="Continue trial").click()
    page.locator("[data-stopping]").wait_for(state="detached")
    assert seeded.store.trial(1, 6).state == "queued"
    watched.open("#/experiments/1/trials/0").locator("[data-epochs='6'][data-stopped=false]").wait_for()


def test_the_commands_say_why(seeded: Seeded, capsys: pytest.CaptureFixture[str]) -> None:
    place = ("--server", seeded.url)
    assert "stopped by the rule curves" in cli(capsys, "trials", "1", "--state", "stopped", *place)
    shown = " ".join(cli(capsys, "show", "1", "--trial", "6", *place).split())
    assert "stopped by the rule curves" in shown and "a probability of" in shown
    assert "1 stopped" in cli(capsys, "show", "1", *place) + cli(capsys, "list", *place)
    assert "queued again: 6" in cli(capsys, "retry", "1", "-t", "6", *place)
