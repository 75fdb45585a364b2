"""Settings shared by all tests."""

import os

# Before torch and matplotlib are imported anywhere: two test processes share the cores, and there is no screen.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
from hypothesis import HealthCheck, settings

# Times are no result here: a busy machine must fail no test.
settings.register_profile(
    "sparsemod", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("sparsemod")


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Repeat what `dev.py test` found before the tests, just above the closing line, where one looks."""
    failed = os.environ.get("SPARSEMOD_FAILED_CHECKS", "")
    if failed:
        terminalreporter.section("checks that failed before the tests", red=True)
        terminalreporter.line(f"{failed}: their output stands at the top")
