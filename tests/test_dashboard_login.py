"""Where the server has logins, the page asks for a token and then holds a session."""

from pathlib import Path

from support_dashboard import Watched, browser, violations
from support_kill import Processes, store_at, until

from service.client import Client
from service.schemas_logins import Scope
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
            page.get_by_role("heading", name="Sign in").wait_for()
            assert violations(page) == []
            page.get_by_label("Token").fill("wrong")
            page.get_by_role("button", name="Sign in").click()
            page.get_by_role("alert").wait_for()
            page.get_by_label("Token").fill(token)
            page.get_by_role("button", name="Sign in").click()
            page.get_by_role("heading", name="Nothing here yet").wait_for()
            page.get_by_role("button", name="Sign out").click()
            page.get_by_role("heading", name="Sign in").wait_for()
            assert watched.complaints == []
    finally:
        processes.end()
        store.close()
