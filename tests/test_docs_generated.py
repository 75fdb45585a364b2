"""What the generated tables say is what specs, settings, config files and commands do: each row is tried."""

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support_docs import DOCS, built, generator, tables

from service.cli import (
    calibrate,
    catalogue,
    experiments,
    exporting,
    local,
    main,
    results,
    serving,
    workers,
)
from service.settings import Settings
from sparsemod.errors import InvalidInput, InvalidSpec
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.spec.files import read

SMALL: dict[str, Any] = {"dataset": {"name": "digits"}, "network": {"family": "cnn"}}
REQUIRED: dict[str, dict[str, Any]] = {
    "dataset": SMALL["dataset"],
    "network": SMALL["network"],
    "rounds.r1": {"trials": 3, "epochs": 2},
    "training.augmentation": {"name": "flip"},
}
"""The keys without a default, by part."""


def test_every_generated_part_stands_on_a_page() -> None:
    marks = [
        name
        for page in DOCS.glob("*.md")
        for name in re.findall(r"<!-- generated: (.*?) -->", page.read_text())
    ]
    assert sorted(marks) == sorted(generator().GENERATED)
    for page in DOCS.glob("*.md"):
        assert "<!-- generated:" not in built(page.name), page.name


# -- the spec


def spec_rows() -> Iterator[tuple[str, dict[str, str]]]:
    """The part of a spec, and a row of its table."""
    for heading, rows in tables(built("spec.md")):
        for row in rows:
            if list(row) == ["key", "values", "default", "meaning"]:
                yield heading if heading != "The top level" else "", row


ROWS = list(spec_rows())


def parsed(part: str, **keys: Any) -> ExperimentSpec:
    """A small spec with `keys` in `part`. Raises InvalidInput."""
    data = copy.deepcopy(SMALL)
    if part == "measure":  # latency by MACs needs a rate
        data["target"] = {"operations_per_second": 1e6}
    *path, last = part.split(".")
    inner = data
    for name in path:
        inner = inner.setdefault(name, {})
    value = {**REQUIRED.get(part, {}), **keys}
    if part:
        inner[last] = [value] if part == "training.augmentation" else value
    else:
        data |= value
    return ExperimentSpec.parse(data)


def test_every_key_of_a_spec_has_a_row() -> None:
    described = {f"{part}.{row['key'].strip('`')}".lstrip(".") for part, row in ROWS}

    def keys(value: Any, path: str = "") -> Iterator[str]:
        if isinstance(value, dict) and path not in (
            "dataset.options",
            "network.options",
            "space",
            "budgets",
            "reference_point",
        ):
            for name, inner in value.items():
                yield from keys(inner, f"{path}.{name}".lstrip("."))
                yield re.sub(r"\br[23]\.", "r1.", f"{path}.{name}".lstrip("."))  # the rounds are alike

    spec = ExperimentSpec.parse({**SMALL, "search": {"stop": {}}})
    written = set(keys(json.loads(json.dumps(spec.to_dict()))))
    assert written >= {"seed", "dataset.splits.test", "rounds.r1.epochs", "search.stop.trials"}
    assert described - written == {"training.augmentation.name", "training.augmentation.options"}
    assert written - described == set()


@pytest.mark.parametrize(("part", "row"), ROWS, ids=[f"{part}.{row['key']}" for part, row in ROWS])
def test_a_key_of_a_spec_is_as_its_row_says(part: str, row: dict[str, str]) -> None:
    key, default, values = row["key"].strip("`"), row["default"], row["values"]
    assert len(row["meaning"]) > 3
    if default == "required":
        assert key in (REQUIRED[part] if part else SMALL)
    elif default != "its defaults":
        assert parsed(part, **{key: json.loads(default.strip("`"))}) == parsed(part)
    for choice in re.findall(r"`([a-z0-9_-]+)`", values):
        parsed(part, **{key: json.loads(choice) if choice.isdecimal() else choice})
    bounds = re.findall(r"([≥>≤<]) ([\d.]+)", values) if "list" not in values else []
    outside = {"≥": -1, ">": 0, "≤": 1, "<": 0}
    for sign, bound in bounds:
        number = float(bound) if "." in bound else int(bound)
        if sign in "≥≤":
            parsed(part, **{key: number})
        with pytest.raises(InvalidInput, match=re.escape(key)):
            parsed(part, **{key: number + outside[sign]})
    with pytest.raises(InvalidInput):
        parsed(part, **{f"{key}_of_mine": 1})


# -- settings and config files


def test_every_variable_changes_its_own_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    (rows,) = (rows for _, rows in tables(built("service.md")) if rows and "variable" in rows[0])
    for row in rows:
        monkeypatch.delenv(row["variable"].strip("`"), raising=False)
    before = Settings().model_dump()
    found: list[str] = []
    for row in rows:
        variable, default = row["variable"].strip("`"), row["default"].strip("`")
        with monkeypatch.context() as patch:
            patch.setenv(variable, default)
            assert Settings().model_dump() == before, f"{variable}: its default is not {default!r}"
            number = re.fullmatch(r"[\d.]+", default)
            patch.setenv(
                variable, str(type(before_value(before, default))(float(default) + 1)) if number else "other"
            )
            after = Settings().model_dump()
        changed = [name for name in before if after[name] != before[name]]
        assert len(changed) == 1, f"{variable} changes {changed}"
        found += changed
    assert sorted(found) == sorted(before)


def before_value(settings: dict[str, Any], shown: str) -> int | float:
    """The number that `shown` is, of the type that the settings give it."""
    return next(v for v in settings.values() if isinstance(v, int | float) and str(v) == shown)


def test_the_keys_of_a_config_file_are_those_that_it_takes(tmp_path: Path) -> None:
    (rows,) = (
        rows for _, rows in tables(built("spec.md")) if rows and list(rows[0]) == ["key", "values", "meaning"]
    )
    path = tmp_path / "config.cfg"
    path.write_text("dataset = digits\nnetwork = cnn\nmine = 1\n")
    with pytest.raises(InvalidSpec, match=r"mine.*unknown key; known here: ") as refused:
        read(path)
    known = str(refused.value).partition("known here: ")[2].rstrip(")").split(", ")
    names = [row["key"].strip("`") for row in rows]
    assert sorted([*names, "include"]) == sorted(known)
    for row in rows:
        name, values = row["key"].strip("`"), row["values"]
        for value in (
            ("on", "off") if values.startswith("on or off") else ("3",) if "whole number" in values else ()
        ):
            path.write_text(f"dataset = digits\nnetwork = cnn\n{name} = {value}\n")
            read(path)


# -- commands


def test_every_command_is_on_the_page() -> None:
    page = built("cli.md")
    for group in (local, serving, workers, experiments, results, exporting, catalogue, calibrate):
        for name in group.COMMANDS:
            assert f"### `sparsemod {name}`" in page


OPTIONS = {
    heading.removeprefix("sparsemod "): {
        option for row in rows for option in re.findall(r"`(--[a-z0-9-]+)`", row["argument or option"])
    }
    for heading, rows in tables(built("cli.md"))
    if heading.startswith("sparsemod ")
}


@pytest.mark.parametrize("command", OPTIONS)
def test_the_options_of_a_command_are_those_of_its_help(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("TERMINAL_WIDTH", "300")
    with pytest.raises(SystemExit) as end:
        main([*command.split(), "--help"])
    assert end.value.code == 0
    # The panel of options: each line names one, with its opposite.
    # The panel of options: each line begins with an option; its other name or its opposite follows.
    pattern = r"^│ +(?:\* +)?(--[a-z0-9-]+)(?:(?:,| +(?=--no-))(--[a-z0-9-]+))?"
    helped = re.findall(pattern, capsys.readouterr().out, flags=re.MULTILINE)
    assert {option for names in helped for option in names if option} - {"--help"} == OPTIONS[command]
