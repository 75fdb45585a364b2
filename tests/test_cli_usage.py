"""A wrong value of an option: the error names the option, shows the value and says what is allowed."""

import pytest
from typer.testing import CliRunner

from service.cli import app


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            "webhook add http://x --event nothing",
            ["--event", "'nothing' is not one of", "trial.completed", "front.changed"],
        ),
        ("serve --log-format xml", ["--log-format", "'xml' is not one of 'text', 'json'"]),
        ("worker --slots 0", ["--slots", "'0' should be greater than or equal to 1"]),
        ("worker --slots many", ["--slots", "'many' should be a valid integer"]),
        ("webhook ping none", ["WEBHOOK", "'none' should be a valid integer"]),
    ],
)
def test_a_wrong_value_is_named_and_shown(arguments: str, expected: list[str]) -> None:
    result = CliRunner().invoke(app, arguments.split(), env={"COLUMNS": "400", "TERMINAL_WIDTH": "400"})
    assert result.exit_code == 2
    assert "Value error" not in result.output and "Input should" not in result.output
    words = " ".join(result.output.replace("│", " ").split())
    for part in expected:
        assert part in words
