"""The generated tables match the behaviour of specs, settings, config files and commands: each row is tried."""

import copy
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support_docs import DOCS, built, captioned_tables, generator, tables

from service.cli import (
    board,
    calibrate,
    catalogue,
    counting,
    experiments,
    exporting,
    local,
    main,
    results,
    serving,
    testing,
    tracing,
    workers,
)
from service.settings import Settings
from sparsemod.errors import InvalidInput, InvalidSpec
from sparsemod.sources.base import SOURCES
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.spec.files import read
from sparsemod.spec.methods import FAMILIES, LOSSES, METRICS, TASKS
from sparsemod.stages.base import STAGES

SMALL: dict[str, Any] = {"dataset": {"name": "digits"}, "network": {"family": "cnn"}}
REQUIRED: dict[str, dict[str, Any]] = {
    "dataset": SMALL["dataset"],
    "network": SMALL["network"],
    "source.rounds.r1": {"trials": 3, "epochs": 2},
    "training.teacher": {"network": "resnet-8"},
    "scales": {"kind": "log"},
    "source.earlier": {"parameters": {}, "epochs": 2, "value": 0.1},
}
"""The keys without a default, by part."""
BESIDE: dict[str, dict[str, Any]] = {"dataset.splitter": {"space": {"max_len": [4, 8]}}}
"""Other parts that a part with its defaults needs."""
UNIONS: dict[str, Any] = {"source": SOURCES, "pipeline": STAGES, **FAMILIES}
"""The parts of a spec that are one of several members, with the registry of the members."""
CHOICE = r"`([a-z0-9_-]+)`"


def test_every_generated_part_is_on_a_page() -> None:
    marks = [
        name
        for page in DOCS.glob("*.md")
        for name in re.findall(r"<!-- generated: (.*?) -->", page.read_text())
    ]
    assert sorted(marks) == sorted(generator().GENERATED)
    for page in DOCS.glob("*.md"):
        assert "<!-- generated:" not in built(page.name), page.name
        assert "<!-- example:" not in built(page.name), page.name


# -- the spec


@dataclass(frozen=True)
class Row:
    """A row of a part's table; `member` is the member that the table describes, None when all members of the
    part have the key."""

    part: str
    member: str | None
    cells: dict[str, str]

    @property
    def key(self) -> str:
        return self.cells["key"].strip("`")

    def __str__(self) -> str:
        return ".".join(filter(None, (self.part, self.member, self.key)))


def spec_rows() -> Iterator[Row]:
    for heading, caption, rows in captioned_tables(built("spec.md")):
        part, _, member = heading.partition("`: `")
        of = re.fullmatch(r"Keys of `(.+)`:", caption)
        for cells in rows:
            if list(cells) == ["key", "values", "default", "meaning"]:
                yield Row(part if part != "The top level" else "", of[1] if of else member or None, cells)


def members() -> dict[str, list[str]]:
    """The members that the page lists, by the part of a spec that is one of them."""
    found: dict[str, list[str]] = {}
    heading = ""
    for line in built("spec.md").splitlines():
        if line.startswith("#"):
            heading, _, member = line.strip("#` ").partition("`: `")
            if member:
                found.setdefault(heading, []).append(member)
        elif heading in FAMILIES and (item := re.match(r"- `(.+?)`: .", line)):
            found.setdefault(heading, []).append(item[1])
    return found


ROWS = list(spec_rows())
MEMBERS = members()
TRIED = [
    (row, member)
    for row in ROWS
    for member in ([row.member] if row.member or row.part not in MEMBERS else MEMBERS[row.part])
]
"""Each row with each member that has it, None for the parts of a spec that are always alike."""


def name_key(part: str) -> str:
    """The key that holds a member's name."""
    return FAMILIES[part].key if part in FAMILIES else "name"


def keys_of(part: str, member: str) -> set[str]:
    """The keys of a member that have a row."""
    return {row.key for row in ROWS if row.part == part and row.member in (None, member)}


def parsed(part: str, member: str | None = None, **keys: Any) -> ExperimentSpec:
    """A small spec with `keys` in `part`, of its member `member`. Raises InvalidInput."""
    data = copy.deepcopy({**SMALL, **BESIDE.get(part, {})})
    if part == "measure":  # latency by MACs needs a rate
        data["target"] = {"operations_per_second": 1e6}
    *path, last = part.split(".")
    inner = data
    for depth, name in enumerate(path):
        inner = inner.setdefault(name, {})
        above = ".".join(path[: depth + 1])
        if above in MEMBERS:  # a part of a member: of the first that has the key
            key = [*path, last][depth + 1]
            inner[name_key(above)] = next(one for one in MEMBERS[above] if key in keys_of(above, one))
    value = {**REQUIRED.get(part, {}), **({name_key(part): member} if member else {}), **keys}
    if keys.get("mode") == "cascade-rewind":  # needs methods that keep the layers
        value["methods"] = ["magnitude"]
    if part:
        usual = at(ExperimentSpec.parse(SMALL).to_dict(), part)
        if isinstance(usual, list):  # in the place of the same member, or alone
            inner[last] = [value if one["name"] == member else one for one in usual] or [value]
            if part == "pipeline" and value not in inner[last]:
                inner[last].insert(place_of(str(member), usual), value)
        else:
            inner[last] = {"error": value} if part == "scales" else value
    else:
        data |= value
    return ExperimentSpec.parse({**task_of(data), **data})


def task_of(data: dict[str, Any]) -> dict[str, Any]:
    """Return the key `task` for a spec with a loss or a metric of another task than classification."""
    for family, key in ((LOSSES, "loss"), (METRICS, "metric")):
        chosen = data.get("training", {}).get(key, {})
        name = chosen if isinstance(chosen, str) else chosen.get("name")
        targets = family.config_of(name).targets if name in family.names() else "classes"
        if targets != "classes":
            return {"task": next(task for task in TASKS.names() if TASKS.config_of(task).targets == targets)}
    return {}


def place_of(stage: str, usual: list[dict[str, Any]]) -> int:
    """The first place in the usual pipeline where a further stage has what it needs."""
    holds: frozenset[str] = frozenset()
    for place, one in enumerate(usual):
        if STAGES.get(stage).needs <= holds:
            return place
        earlier = STAGES.get(one["name"])
        holds = (holds - earlier.ends) | earlier.gives
    return len(usual)


def at(written: Any, path: str) -> Any:
    """Return the value at a dotted path of a spec, or None."""
    for name in path.split("."):
        written = written.get(name) if isinstance(written, dict) else None
    return written


def test_every_key_of_a_spec_has_a_row() -> None:
    described = {str(row) for row in ROWS if row.part not in MEMBERS}
    named = (
        "dataset.options",
        "network.options",
        "space",
        "budgets",
        "reference_point",
        "source.earlier.parameters",
    )

    def keys(value: Any, path: str = "") -> Iterator[str]:
        if path == "source.earlier":
            value = value[0]
        if isinstance(value, dict) and path not in named:
            for name, inner in value.items():
                yield from keys(inner, f"{path}.{name}".lstrip("."))
                if path not in MEMBERS:  # test_every_key_of_a_member_has_a_row
                    yield re.sub(r"\br[23]\.", "r1.", f"{path}.{name}".lstrip("."))  # the rounds are equal

    optional = {
        "source": {"name": "search", "stop": {}, "earlier": [REQUIRED["source.earlier"]]},
        "training": {"teacher": {"network": "resnet-8"}},
        "scales": {"error": "log"},
        "dataset": {**SMALL["dataset"], "splitter": {"max_len": 8}},
    }
    spec = ExperimentSpec.parse({**SMALL, **optional})
    # Every metric of `scales` has the same keys.
    written = {key.replace("scales.error.", "scales.") for key in keys(spec.to_dict())} - {"scales.error"}
    assert written >= {"seed", "dataset.splits.test", "source.rounds.r1.epochs", "source.stop.trials"}
    assert described == written


def test_every_union_has_a_part() -> None:
    """With each member of the package; other tests may register their own."""
    assert sorted(MEMBERS) == sorted(UNIONS)
    for path, registry in UNIONS.items():
        own = {name for name in registry.names() if registry.get(name).__module__.startswith("sparsemod.")}
        assert own <= set(MEMBERS[path]) <= set(registry.names()), path
    for row in ROWS:
        place = f"{row.part}.{row.key}".lstrip(".")
        if place in FAMILIES:
            assert re.findall(CHOICE, row.cells["values"]) == MEMBERS[place], place


@pytest.mark.parametrize(
    ("part", "member"), [(part, member) for part, found in MEMBERS.items() for member in found]
)
def test_every_key_of_a_member_has_a_row(part: str, member: str) -> None:
    written = at(parsed(part, member).to_dict(), part)
    own = {"version", name_key(part)}
    config = next(
        one for one in (written if isinstance(written, list) else [written]) if one[name_key(part)] == member
    )
    assert set(config) - own == keys_of(part, member) - own
    rows = [row for row in ROWS if row.part == part and row.member == member]
    assert len({row.key for row in rows}) == len(rows)


@pytest.mark.parametrize(
    ("row", "member"), TRIED, ids=[f"{row}-{member}" if member else str(row) for row, member in TRIED]
)
def test_a_key_of_a_spec_matches_its_row(row: Row, member: str | None) -> None:
    key, default, values = row.key, row.cells["default"], row.cells["values"]
    several = values.startswith("list of")

    def try_value(value: Any) -> ExperimentSpec:
        return parsed(row.part, member, **{key: [value] if several else value})

    assert len(row.cells["meaning"]) > 3
    if default == "required":
        assert key in (REQUIRED[row.part] if row.part else SMALL)
    elif default != "its defaults":
        given = parsed(row.part, member, **{key: json.loads(default.strip("`"))})
        assert given == parsed(row.part, member)
    for choice in re.findall(CHOICE, values):
        try_value(json.loads(choice) if choice.isdecimal() else choice)
    outside = {"≥": -1, ">": 0, "≤": 1, "<": 0}
    for sign, bound in re.findall(r"([≥>≤<]) ([\d.]+)", values):
        number = float(bound) if "." in bound else int(bound)
        if sign in "≥≤":
            try_value(number)
        with pytest.raises(InvalidInput, match=re.escape(key)):
            try_value(number + outside[sign])
    # The name of a source or a stage that is not registered here is kept, because a server may have it.
    if re.findall(CHOICE, values) and not (member and key == name_key(row.part)):
        with pytest.raises(InvalidInput, match=re.escape(key)):
            try_value("of-mine")
    with pytest.raises(InvalidInput, match=f"{key}_of_mine"):
        parsed(row.part, member, **{f"{key}_of_mine": 1})


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
            other = str(type(before_value(before, default))(float(default) + 1)) if number else "other"
            patch.setenv(variable, {"false": "true", "true": "false"}.get(default.lower(), other))
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
            path.write_text(f"dataset = digits\nnetwork = mine:Net\n{name} = {value}\n")
            read(path)


# -- commands


def test_every_command_is_on_the_page() -> None:
    page = built("cli.md")
    for group in (
        local,
        serving,
        testing,
        workers,
        experiments,
        results,
        exporting,
        catalogue,
        counting,
        board,
        calibrate,
        tracing,
    ):
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
    # The panel of options: each line begins with an option; its other name or its opposite follows.
    pattern = r"^│ +(?:\* +)?(--[a-z0-9-]+)(?:(?:,| +(?=--no-))(--[a-z0-9-]+))?"
    helped = re.findall(pattern, capsys.readouterr().out, flags=re.MULTILINE)
    assert {option for names in helped for option in names if option} - {"--help"} == OPTIONS[command]
