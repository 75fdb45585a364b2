"""The fixtures of the store's tests: each database kind, the clock, a store on them. Loaded with `pytest_plugins`."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support_postgres import Postgres
from support_store import Clock

from service.store import Store


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    yield server
    server.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    url: str = request.getfixturevalue("postgres").database()
    return url


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(database: str, clock: Clock) -> Iterator[Store]:
    made = Store.open(database, clock=clock, lease_seconds=60.0)
    yield made
    made.close()
