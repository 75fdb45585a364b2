"""Shared by the tests of logins: an application with tokens of every kind, and requests that send them."""

from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from service.http.app import create_app
from service.schemas.logins import Scope
from service.settings import Settings
from service.store import Store


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


def open_app(folder: Path, **settings: Any) -> TestClient:
    """A server whose database is empty: no logins."""
    app = create_app(Settings(data_dir=folder, **settings))
    return TestClient(app, raise_server_exceptions=False)


def store_of(http: TestClient) -> Store:
    found: Store = http.app.state.store  # type: ignore[attr-defined]
    return found


def tokens(store: Store) -> dict[Scope, str]:
    """A token of each scope, each of another owner."""
    return {scope: store.create_token(f"{scope.value}er", [scope])[0] for scope in Scope}
