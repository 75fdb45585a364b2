"""What an operator does on the page: webhooks and their deliveries, quotas, trials and experiments that are kept."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from support_dashboard import Seeded, Watched, violations
from support_receiver import Receiver, receiving
from support_store import completed, fill, spec
from support_stream import served

from service.http.app import create_app
from service.schemas.webhooks import WebhookEvent
from service.settings import Settings
from service.store import Store
from service.store.quotas import QuotaLimits
from service.store.webhook_tables import webhooks

pytestmark = pytest.mark.long

EVIL = '<img src=x onerror="window.hacked=1">'
SHOTS = os.environ.get("SPARSEMOD_SHOTS", "")


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seeded]:
    """An experiment with a completed trial, and quotas of which one is used up."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("operator"), webhook_private_addresses=True)
    store = Store.open(settings.url)
    store.quotas = QuotaLimits(disk=50_000, experiments=1)
    made = store.create_experiment(spec(name="guarded")).id
    fill(store, made, 2)
    claim = store.claim("w")
    assert claim is not None
    store.finish(claim.attempt, claim.token, completed())
    with served(create_app(settings, store=store)) as url:
        yield Seeded(url, store)
    store.close()


@pytest.fixture
def page_url(seeded: Seeded) -> str:
    return seeded.url


def test_a_webhook_from_its_form_to_its_end(watched: Watched, seeded: Seeded, receiver: Receiver) -> None:
    page = watched.open("#/webhooks")
    page.get_by_role("heading", name="No webhooks yet").wait_for()
    boxes = page.locator("fieldset label").all_inner_texts()
    assert boxes == [event.value for event in WebhookEvent]
    page.get_by_label("Address").fill("ftp://receiver.example")
    page.get_by_role("button", name="Add webhook").click()
    page.locator("form [role=alert]").wait_for()
    assert "begins with https:// or http://" in page.locator("form [role=alert]").inner_text()
    page.get_by_label("Address").fill(f"{receiver.url}/{'long' * 40}")
    page.get_by_label("Experiment (a number").fill("1")
    page.get_by_label("front.changed").uncheck()
    page.get_by_role("button", name="Add webhook").click()
    page.get_by_role("heading", name="Secret of webhook").wait_for()
    (hook,) = seeded.store.webhooks()
    assert hook.experiment == 1 and len(hook.events) == len(WebhookEvent) - 1
    row = page.get_by_role("group", name="Table of webhooks").locator("tbody tr")
    row.get_by_text("active").wait_for()
    row.get_by_role("link", name="experiment 1").wait_for()

    page.get_by_role("button", name=f"Ping webhook {hook.id}").click()
    deliveries = page.get_by_role("group", name="Table of deliveries")
    deliveries.locator("tr:has-text('ping'):has-text('delivered'):has-text('204')").wait_for()

    with seeded.store.engine.begin() as connection:
        connection.execute(sa.update(webhooks).values(disabled=f"nobody answers {EVIL}"))
    row.get_by_text("nobody answers").wait_for()
    calm(page)
    row.get_by_role("button", name=f"Enable webhook {hook.id}").click()
    row.get_by_text("active").wait_for()
    assert seeded.store.webhook(hook.id).disabled is None

    row.get_by_role("button", name=f"Delete webhook {hook.id}").click()
    page.locator("dialog").get_by_role("button", name="Delete webhook").click()
    page.get_by_role("heading", name="No webhooks yet").wait_for()
    assert seeded.store.webhooks() == []


def test_quotas_beside_their_limits(watched: Watched) -> None:
    page = watched.open("#/quotas")
    table = page.get_by_role("group", name="Table of quotas")
    table.locator("tr:has-text('Experiments'):has-text('100 %') .bad").wait_for()
    rows = {row.split("\t")[0]: row.split("\t")[1:4] for row in table.locator("tbody tr").all_inner_texts()}
    assert rows["Disk"][:2] == ["0 B", "48.8 KB"] and rows["Disk"][2].startswith("0 %")
    assert rows["Uploads"] == ["0", "none", "–"]
    calm(page)


def test_trials_and_experiments_are_kept(watched: Watched, seeded: Seeded) -> None:
    page = watched.open("#/experiments/1/trials/0")
    page.get_by_role("button", name="Keep", exact=True).click()
    page.get_by_role("button", name="Release", exact=True).wait_for()
    assert seeded.store.trial(1, 0).kept and not seeded.store.trial(1, 1).kept
    page.locator(".view-head").get_by_text("kept", exact=True).wait_for()
    page.goto(f"{seeded.url}/#/experiments/1")
    table = page.get_by_role("group", name="Table of trials")
    table.locator("tr:has(a:text-is('0')):has-text('kept')").wait_for()
    assert table.locator("tr:has-text('kept')").count() == 1
    page.get_by_role("button", name="Keep guarded").click()
    page.get_by_role("button", name="Release guarded").wait_for()
    assert seeded.store.experiment(1).kept
    page.goto(f"{seeded.url}/#/experiments/1/trials/1")
    page.get_by_text("kept with its experiment").wait_for()
    page.goto(f"{seeded.url}/#/")
    page.get_by_role("button", name="Release guarded").click()
    page.get_by_role("button", name="Keep guarded").wait_for()
    assert not seeded.store.experiment(1).kept
    page.goto(f"{seeded.url}/#/experiments/1/trials/0")
    page.get_by_role("button", name="Release", exact=True).click()
    page.get_by_role("button", name="Keep", exact=True).wait_for()
    assert not seeded.store.trial(1, 0).kept


def calm(page: Any) -> None:
    """Nothing of axe's, no text that became markup, no page wider than the window."""
    for scheme, width in (("light", 1300), ("dark", 390)):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 844})
        assert violations(page) == []
        assert (
            page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
        )
        if SHOTS:
            page.screenshot(
                path=f"{SHOTS}/{page.url.rpartition('/')[2].partition('?')[0]}-{scheme}-{width}.png"
            )
    assert page.evaluate("window.hacked") is None and page.locator("main img").count() == 0
