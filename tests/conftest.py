"""Settings shared by all tests."""

import os

# Set these before torch and matplotlib are imported: two test processes share the cores, and no display
# exists.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# Times are no result here: a busy machine must fail no test.
settings.register_profile(
    "sparsemod", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("sparsemod")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="run all tests marked slow, as CI does, not a sample")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests marked `long`, and keep a sample of those marked `slow`.

    The sample holds about one in `every` of each function, and at least one.

    All run in CI, with --all, and when the arguments name a test (`::`). The sample depends on names only,
    so all processes of one run choose the same.
    """
    named = any("::" in argument for argument in config.args)
    if os.environ.get("CI", "").lower() in {"1", "true"} or config.getoption("--all") or named:
        return
    groups: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("slow") is not None:
            groups.setdefault(item.nodeid.partition("[")[0], []).append(item)
    left_out = {item for item in items if item.get_closest_marker("long") is not None}
    for group in groups.values():
        marker = group[0].get_closest_marker("slow")
        every = 8 if marker is None else marker.kwargs.get("every", 8)
        order = sorted(group, key=lambda item: zlib.crc32(item.nodeid.encode()))
        left_out.update(order[-(-len(group) // every) :])
    if left_out:
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=sorted(left_out, key=lambda item: item.nodeid))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """One browser for a module. Not for the session: while it runs, no other event loop can run in this thread."""
    from support_dashboard import browser

    with browser() as found:
        yield found


@pytest.fixture
def watched(chromium: Any, page_url: str) -> Iterator[Any]:
    """A `Watched` page of the dashboard at the module's `page_url`.

    Fails when the page logged an error or sent a request to another server.
    """
    from support_dashboard import Watched

    context = chromium.new_context(viewport={"width": 1300, "height": 900}, color_scheme="light")
    found = Watched(context, page_url)
    yield found
    context.close()
    assert found.complaints == []
    assert found.outside() == []


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Repeat what `dev.py test` found before the tests, just above the closing line, where one looks."""
    failed = os.environ.get("SPARSEMOD_FAILED_CHECKS", "")
    if failed:
        terminalreporter.section("checks that failed before the tests", red=True)
        terminalreporter.line(f"{failed}: their output stands at the top")
