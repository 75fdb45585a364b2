"""YAML specs: scalars, includes, errors that name the line, the round trip through `dump`."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsemod.errors import InvalidSpec
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.spec.files import dump, load, loads, scalar
from sparsemod.spec.plain import MAX_BYTES

SMALL = "dataset: {name: digits}\nnetwork: {family: cnn}\n"


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_whole_spec(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "a.yaml",
        """
version: 2
name: a first one
dataset:
  name: digits
  splits: {validation: 0.2, seed: 3}
network:
  family: cnn
space:
  learning_rate: {low: 1e-4, high: 1e-2, log: true}
  pooling: [true, false]
  blocks: 2
rounds:
  r1: {trials: 4, epochs: 2}
objectives: [error, flash]
budgets: ["flash <= 64 KB", "ram <= 16 KB"]
training:
  learning_rate: 3e-3
""",
    )
    spec = load(path)
    assert spec.dataset.splits.validation == 0.2
    assert spec.space["learning_rate"].model_dump() == {
        "name": "learning_rate", "when": (), "type": "real", "low": 1e-4, "high": 1e-2, "log": True,
    }  # fmt: skip
    assert spec.source.rounds.r1.trials == 4
    assert spec.objectives == ("error", "flash")
    assert spec.budgets == {"flash": 65536.0, "ram": 16384.0}
    assert spec.training.learning_rate == 0.003


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3), ("1.5e3", 1500.0), ("010", 10), ("0x10", 16), ("-3", -3), ("+4", 4), (".5", 0.5),
        ("no", "no"), ("on", "on"), ("12:30", "12:30"), ("2020-01-01", "2020-01-01"), ("1_000", "1_000"),
        ("0b11", "0b11"), ("0o17", 15), ("=", "="), ("1_0.5", "1_0.5"), ("-.5e2", -50.0), ("08", 8),
        ("true", True), ("False", False), ("'true'", "true"), ("'1e-3'", "1e-3"),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    found = loads(f"{SMALL}space: {{x: {text}}}").space["x"]
    assert found.model_dump()["value"] == value
    assert type(found.model_dump()["value"]) is type(value)


VALUES = st.one_of(
    st.text(max_size=20), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans()
)


@given(st.dictionaries(st.text(min_size=1, max_size=10), VALUES, max_size=5))
def test_dump_is_read_back(options: dict[str, Any]) -> None:
    spec = ExperimentSpec.parse(
        {"dataset": {"name": "digits", "options": options}, "network": {"family": "cnn"}}
    )
    again = loads(dump(spec))
    assert again == spec
    assert [type(v) for v in again.dataset.options.values()] == [type(v) for v in options.values()]


@pytest.mark.parametrize(
    "text",
    [
        "yes",
        "1e-3",
        "010",
        "null",
        "~",
        "0o7",
        "1:30",
        "<<",
        "=",
        "é ☃",
        "a: b",
        "# a",
        " ",
        "1_000",
        "2020-01-01",
        "y",
    ],
)
def test_dump_quotes_text_that_looks_like_something_else(text: str) -> None:
    spec = ExperimentSpec.parse(
        {"dataset": {"name": "d", "options": {"x": text}}, "network": {"family": "cnn"}}
    )
    assert loads(dump(spec)).dataset.options["x"] == text


@pytest.mark.parametrize(
    ("text", "line", "field", "allowed"),
    [
        ("rounds:\n  r1:\n    trials: -1\n", 5, "source.rounds.r1.trials", "greater than or equal to 0"),
        ("training:\n  learning_rat: 1\n", 4, "training.learning_rat", "known here: augmentation"),
        ("objectives:\n  - error\n  - speed\n", 5, "objectives.1", "latency"),
        ("budgets:\n  - flash <= 64 parsecs\n", 4, "budgets.0", "kb"),
        ("quantization: {scheme: dynamite}\n", 3, "quantization.scheme", "none, static"),
        ("space:\n  a: {low: 5, high: 1}\n", 4, "space.a", "low <= high"),
        ("seed: 1\nseed: 2\n", 4, "seed", "line 3"),
        ("rounds: {r1: {trials: 1, trials: 2}}\n", 3, "rounds.r1.trials", "each key once"),
        ("1: 2\n", 3, "1", "a key must be text"),
        ("name: [\n", 4, "spec", "well-formed"),
        ("name: !!python/object/apply:os.getpid []\n", 3, "spec", "well-formed"),
        ("seed: &s 1\ntraining: {a: *t}\n", 4, "spec", "well-formed"),
        ("space:\n  1_0: 3\n  1_0: 4\n", 5, "space.1_0", "line 4"),
        ("space: {? [a] : 1}\n", 3, "space.a list or a mapping", "a key must be text"),
        ("include: other.yaml\n", 3, "include", "only possible in a file"),
    ],
)
def test_errors_name_line_key_value_and_what_is_allowed(
    text: str, line: int, field: str, allowed: str
) -> None:
    with pytest.raises(InvalidSpec) as caught:
        loads(SMALL + text, "it.yaml")
    assert caught.value.source == f"it.yaml:{line}"
    assert caught.value.field == field
    assert allowed in caught.value.allowed
    assert str(caught.value).startswith(f"it.yaml:{line}: {field} = ")


@pytest.mark.parametrize("text", ["", "# nothing\n", "- a\n", "just text\n", "a: 1\n---\nb: 2\n", "\x00"])
def test_text_that_is_not_a_mapping_is_rejected(text: str) -> None:
    with pytest.raises(InvalidSpec, match=r"it\.yaml"):
        loads(text, "it.yaml")


def test_a_missing_part_is_named() -> None:
    with pytest.raises(InvalidSpec, match=r"it\.yaml: network = None: is missing"):
        loads("dataset: {name: digits}", "it.yaml")


def test_aliases_cannot_blow_a_small_text_up() -> None:
    bomb = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
    for level in range(1, 12):
        bomb += f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n"
    with pytest.raises(InvalidSpec, match="aliases"):
        loads(bomb)
    with pytest.raises(InvalidSpec):
        loads("a: &a [*a]\n")
    with pytest.raises(InvalidSpec):
        loads("a: " + "[" * 5000 + "]" * 5000)


def test_aliases_and_merges_work() -> None:
    spec = loads(SMALL + "rounds:\n  r1: &r {trials: 7, epochs: 2}\n  r2: *r\n  r3: {<<: *r, epochs: 1}\n")
    assert (spec.source.rounds.r2.trials, spec.source.rounds.r3.trials, spec.source.rounds.r3.epochs) == (
        7,
        7,
        1,
    )


def test_includes_are_relative_and_laid_under(tmp_path: Path) -> None:
    write(
        tmp_path,
        "base/common.yaml",
        SMALL + "seed: 1\nspace: {a: {low: 1, high: 9}, b: [1, 2]}\nbudgets: [flash <= 9 KB]\n",
    )
    write(tmp_path, "base/short.yaml", "include: common.yaml\nrounds: {r1: {trials: 2, epochs: 1}}\n")
    write(tmp_path, "seed.yml", "seed: 5\n")
    path = write(
        tmp_path,
        "mine.yaml",
        "include: [base/short.yaml, seed.yml]\nspace: {a: {values: [3, 4]}}\nrounds: {r1: {epochs: 3}}\nbudgets: []\n",
    )
    spec = load(path)
    assert spec.seed == 5
    assert spec.space["a"].model_dump()["values"] == (3, 4)
    assert spec.space["b"].model_dump()["values"] == (1, 2)
    assert (spec.source.rounds.r1.trials, spec.source.rounds.r1.epochs) == (2, 3)
    assert spec.budgets == {}
    assert load(tmp_path / "base" / "short.yaml").budgets == {"flash": 9216.0}


def test_an_error_names_the_included_file(tmp_path: Path) -> None:
    write(tmp_path, "base.yaml", SMALL + "\nseed: -4\nspace:\n  a: {low: 3, high: 5}\n")
    path = write(tmp_path, "mine.yaml", "include: base.yaml\nname: x\n")
    with pytest.raises(InvalidSpec, match=r"base\.yaml:4: seed = -4"):
        load(path)
    path = write(tmp_path, "mine.yaml", "include: base.yaml\nseed: 1\nspace:\n  a: {low: 4, high: 2}\n")
    with pytest.raises(InvalidSpec, match=r"mine\.yaml:4: space\.a"):
        load(path)


def test_include_cycles_and_bad_includes(tmp_path: Path) -> None:
    first = write(tmp_path, "first.yaml", "include: second.yaml\n")
    write(tmp_path, "second.yaml", "include: first.yaml\n")
    with pytest.raises(InvalidSpec, match="include itself"):
        load(first)
    for text in (
        "include: absent.yaml\n",
        "include: 3\n",
        "include: []\n",
        "include: [1]\n",
        "include: /etc/passwd\n",
    ):
        with pytest.raises(InvalidSpec, match=r"a\.yaml:1: include = "):
            load(write(tmp_path, "a.yaml", text))


def test_the_same_file_may_be_included_twice(tmp_path: Path) -> None:
    write(tmp_path, "base.yaml", SMALL)
    write(tmp_path, "one.yaml", "include: base.yaml\nseed: 1\n")
    write(tmp_path, "two.yaml", "include: base.yaml\nname: two\n")
    spec = load(write(tmp_path, "mine.yaml", "include: [one.yaml, two.yaml]\n"))
    assert (spec.seed, spec.name) == (1, "two")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.yaml", tmp_path / "a.toml", tmp_path):
        with pytest.raises(InvalidSpec, match="file = "):
            load(path)
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"name: \xe9\n")
    with pytest.raises(InvalidSpec, match="UTF-8"):
        load(latin)
    with pytest.raises(InvalidSpec, match="at most"):
        load(write(tmp_path, "long.yaml", "#" * (MAX_BYTES + 1)))


def test_json_is_read_too(tmp_path: Path) -> None:
    path = write(
        tmp_path, "a.json", '{\n  "dataset": {"name": "digits"},\n  "network": {"family": "mlp"}\n}\n'
    )
    assert load(path).network.family == "mlp"


@pytest.mark.parametrize(
    ("text", "value"), [("1e-3", 1e-3), ("3", 3), ("true", True), ("no", "no"), ("conv", "conv")]
)
def test_scalar(text: str, value: Any) -> None:
    assert scalar(text) == value
    assert type(scalar(text)) is type(value)


@pytest.mark.parametrize("text", ["", "[1]", "{a: 1}", "a: 1", "null", "'", "a\nb: 1"])
def test_values_that_are_not_scalars(text: str) -> None:
    with pytest.raises(InvalidSpec):
        scalar(text)
