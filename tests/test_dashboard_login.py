"""On a server with logins, the page requests a token and then holds a session."""

import re
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from support_dashboard import Watched, browser, violations
from support_kill import Processes, store_at, until
from support_store import spec
from support_stream import served

from service.client.client import Client
from service.http.app import create_app
from service.http.feed import Feed
from service.schemas.logins import Scope
from service.settings import Settings
from service.store import Store
from sparsemod.errors import SparsemodError


def test_sign_in_and_out(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    token, _ = store.create_token("ada", [Scope.WRITE])
    processes = Processes(tmp_path)
    processes.start_server()

    def ready() -> bool:
        try:
            with Client(processes.url) as client:
                return client.health().status == "ok"
        except SparsemodError:
            return False

    try:
        until(ready, 60, "the server")
        with browser() as chromium:
            watched = Watched(chromium.new_context(), processes.url)
            page = watched.open("#/")
            page.get_by_role("heading", name="Sign in", exact=True).wait_for()
            assert violations(page) == []
            page.get_by_label("Token").fill("two words")
            page.get_by_role("button", name="Sign in").click()
            page.get_by_text("This is not a token").wait_for()
            page.get_by_label("Token").fill("wrong")
            page.get_by_role("button", name="Sign in").click()
            page.get_by_role("alert").get_by_text("this token is unknown").wait_for()
            page.get_by_label("Token").fill(token)
            page.get_by_role("button", name="Sign in").click()
            page.get_by_role("heading", name="Nothing here yet", exact=True).wait_for()
            page.route("**/logout", lambda route: route.abort())
            page.get_by_role("button", name="Sign out").click()
            page.get_by_role("alert").get_by_text(
                "You are still signed in. The server does not answer."
            ).wait_for()
            page.unroute("**/logout")
            page.get_by_role("button", name="Sign out").click()
            page.get_by_role("heading", name="Sign in", exact=True).wait_for()
            assert watched.complaints == []
    finally:
        processes.end()
        store.close()


ELSEWHERE = """<form method=post action="{url}/experiments" enctype="text/plain"><input name='{{"spec":{{"a":"' value='"}}}}'></form>"""

ATTEMPTS = """async (url) => {
  const outcome = {};
  outcome.read = await fetch(`${url}/experiments`, {credentials: "include"}).then((answer) => answer.text(), () => "blocked");
  outcome.sent = await fetch(`${url}/experiments`, {method: "POST", mode: "no-cors", credentials: "include", body: "{}"}).then((answer) => answer.type);
  outcome.stream = await new Promise((done) => {
    const source = new EventSource(`${url}/stream`, {withCredentials: true});
    source.onopen = () => done("open");
    source.onerror = () => done("refused");
  });
  const frame = document.createElement("iframe");
  frame.src = url;
  document.body.append(frame);
  await new Promise((done) => (frame.onload = done));
  outcome.frame = frame.contentDocument === null ? "not ours" : "readable";
  return outcome;
}"""


@pytest.mark.long
def test_a_page_of_another_site_gets_nowhere(tmp_path: Path) -> None:
    """In a browser that is signed in, on the same machine: the cookie is for all of its ports."""
    store = Store.open(Settings(data_dir=tmp_path).url)
    token, made = store.create_token("ada", [Scope.WRITE])
    elsewhere = FastAPI()
    elsewhere.get("/", response_class=HTMLResponse)(lambda: ELSEWHERE.format(url=url))
    elsewhere.state.feed = Feed(store)
    with (
        served(create_app(Settings(data_dir=tmp_path), store=store)) as url,
        served(elsewhere) as other,
        browser() as chromium,
    ):
        context = chromium.new_context()
        watched = Watched(context, url)
        page = watched.open("#/")
        page.get_by_label("Token").fill(token)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("heading", name="Nothing here yet", exact=True).wait_for()
        foreign = context.new_page()
        for address in (other, other.replace("127.0.0.1", "localhost")):
            foreign.goto(address)
            outcome = foreign.evaluate(ATTEMPTS, url)
            assert outcome == {"read": "blocked", "sent": "opaque", "stream": "refused", "frame": "not ours"}
            assert not any(frame.url.startswith(url) for frame in foreign.frames)
            foreign.goto(address)
            with foreign.expect_navigation():
                foreign.evaluate("document.forms[0].submit()")
            assert "may not change anything here" in foreign.inner_text("body")
        assert store.experiments()[1] == 0
        # The session ends while the page is open: the page requests a token again and then shows the view
        # again.
        page.evaluate("location.hash = '#/workers'")
        page.get_by_role("heading", name="Workers", exact=True).wait_for()
        store.revoke_token(made.token)
        page.get_by_role("heading", name="Sign in", exact=True).wait_for()
        page.get_by_label("Token").fill(store.create_token("ada", [Scope.READ])[0])
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("heading", name="Workers", exact=True).wait_for()
        # A reader sees no action that the server would refuse.
        store.create_experiment(spec(), owner="ada")
        page.evaluate("location.hash = '#/'")
        page.get_by_role("link", name="store test").wait_for()
        page.get_by_title("Signed in as ada (read)").wait_for()
        assert page.get_by_role("button", name=re.compile("Stop|Extend|Delete")).count() == 0
        assert page.get_by_role("link", name="New experiment").count() == 0
        page.evaluate("location.hash = '#/new'")
        page.get_by_text("Your token may only read").wait_for()
        assert page.get_by_role("button", name="Start experiment").is_disabled()
        page.evaluate("location.hash = '#/'")
        # A writer may change only objects of the same owner.
        store.create_experiment(spec(), owner="grace")
        page.get_by_title("Signed in as").click()
        page.get_by_label("Token").fill(store.create_token("ada", [Scope.WRITE])[0])
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("link", name="New experiment").wait_for()
        page.get_by_role("button", name="Stop store test").wait_for()
        assert page.get_by_role("button", name="Stop store test").count() == 1
        assert watched.complaints == []
    store.close()
