"""SpArSeMod's config.cfg: every key, its place in the spec, and errors."""

from pathlib import Path

import pytest

from sparsemod.errors import InvalidSpec
from sparsemod.spec.config_cfg import KEYS
from sparsemod.spec.files import dump, load, loads, read
from sparsemod.spec.plain import SpecFile

WHOLE = """\
[DEFAULT]
train = True
[experiment]
name = cifar
root = results/cifar   # where the files go
debug = on
dataset = cifar10
data_root: /data
network = cnn

[rounds]
r1 = 10
r2 = 20
r3 = 30
epochs1 = 5
epochs2 = 6
epochs3 = 7
batch_size = 3

[search]
objectives = 4
flops = 1e8
quant_scheme = post
morphisms = on
pruning = yes
; no sequences here
splitter = off
device = stm32f446
budgets = flash <= 64 KB, ram <= 32 KB
seed = 9
arc = False
cuda_n = 1
"""


def config(folder: Path, text: str) -> Path:
    path = folder / "config.cfg"
    path.write_text(text)
    return path


def small(folder: Path, text: str) -> SpecFile:
    return read(config(folder, f"dataset = digits\nnetwork = cnn\n{text}"))


def test_every_key(tmp_path: Path) -> None:
    found = read(config(tmp_path, WHOLE))
    spec = found.spec
    assert found.root == Path("results/cifar")
    assert found.debug and not found.tests and found.test is None
    assert found.device == "cuda:1"
    assert spec.name == "cifar"
    assert [
        (r.trials, r.epochs) for r in (spec.source.rounds.r1, spec.source.rounds.r2, spec.source.rounds.r3)
    ] == [
        (10, 5),
        (20, 6),
        (30, 7),
    ]
    assert spec.source.batch_size == 3
    assert spec.objectives == ("error", "model_size", "working_memory", "latency")
    assert spec.target.operations_per_second == 1e8
    assert (spec.measure.latency, spec.measure.model_size) == ("macs", "sparse")
    assert spec.quantization.scheme == "static"
    assert spec.pruning.method == "magnitude"
    assert spec.space["sparsity"].model_dump()["low"] == 0.05
    assert (spec.dataset.name, spec.dataset.root, spec.network.family) == ("cifar10", "/data", "cnn")
    assert spec.budgets == {"flash": 65536.0, "ram": 32768.0}
    assert (spec.target.device, spec.seed) == ("stm32f446", 9)
    assert loads(dump(spec)) == spec
    used = {
        line.replace(":", "=", 1).split("=")[0].strip()
        for line in WHOLE.splitlines()
        if not line.startswith(("[", ";"))
    }
    assert used - {""} == set(KEYS), "a key has no test here"


@pytest.mark.parametrize(("count", "names"), [(1, ("error",)), (2, ("error", "model_size"))])
def test_objectives_add_up(tmp_path: Path, count: int, names: tuple[str, ...]) -> None:
    assert small(tmp_path, f"objectives = {count}").spec.objectives == names


def test_without_keys_the_spec_has_its_defaults(tmp_path: Path) -> None:
    found = small(tmp_path, "")
    assert found.spec == loads("dataset: {name: digits}\nnetwork: {family: cnn}")
    assert (found.root, found.debug) == (None, False)


@pytest.mark.parametrize("text", ["morphisms = off\nr3 = 9", "r3 = 9\nmorphisms = no"])
def test_without_morphisms_there_is_no_third_round(tmp_path: Path, text: str) -> None:
    assert small(tmp_path, text).spec.source.rounds.r3.trials == 0


def test_no_quantization_and_no_pruning(tmp_path: Path) -> None:
    spec = small(tmp_path, "quant_scheme = none\npruning = off").spec
    assert (spec.quantization.scheme, spec.pruning.method, dict(spec.space)) == ("none", "none", {})


def test_keys_are_laid_over_an_included_spec(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(
        "dataset: {name: digits}\nnetwork: {family: mlp}\nseed: 4\nrounds: {r1: {trials: 3, epochs: 2}}\n"
    )
    spec = load(config(tmp_path, "[a]\ninclude = base.yaml\nr1 = 8\nnetwork = cnn\n"))
    assert (spec.source.rounds.r1.trials, spec.source.rounds.r1.epochs, spec.network.family, spec.seed) == (
        8,
        2,
        "cnn",
        4,
    )


@pytest.mark.parametrize(
    ("text", "line", "field", "allowed"),
    [
        ("quant_scheme = int4", 3, "quant_scheme", "post"),
        ("splitter = maybe", 3, "splitter", "on or off"),
        ("objectives = [0, 4]", 3, "objectives", "[0, 1, 2, 3]"),
        ("objectives = [1, 1]", 3, "objectives", "[0, 1, 2, 3]"),
        ("cuda_n = gpu", 3, "cuda_n", "CUDA"),
        ("arc = perhaps", 3, "arc", "on or off"),
        ("[TEST]\nr1 = 3", 4, "r1", "known here: arm, epochs"),
        ("[TEST]\narm = best", 4, "arm", "7_0"),
        ("[TEST]\nepochs = 0", 4, "epochs", "at least 1"),
        ("[TRAIN]\narm = 3", 4, "arm", "[TEST] only"),
        ("objectives = 5", 3, "objectives", "4 (+ latency)"),
        ("r1 = many", 3, "r1", "a whole number"),
        ("r1 = -1", 3, "r1 (source.rounds.r1.trials)", "greater than or equal to 0"),
        ("epochs2 = 0", 3, "epochs2 (source.rounds.r2.epochs)", "greater than or equal to 1"),
        ("flops = fast", 3, "flops", "per second"),
        ("flops = -1", 3, "flops (target.operations_per_second)", "greater than 0"),
        ("debug = perhaps", 3, "debug", "on or off"),
        ("pruning = 0.5", 3, "pruning", "on or off"),
        ("budgets = flash < 3", 3, "budgets.0", "METRIC <= VALUE"),
        ("\n[x]\nrounds = 3", 5, "rounds", "known here: arc, batch_size"),
        ("r1 = 1\n[two]\nR1 = 2", 5, "r1", "config.cfg:3"),
        ("r1 =", 3, "r1", "a value"),
        ("what is this", 3, "line", "key = value"),
        ("include = absent.yaml", 3, "include", "a YAML spec"),
    ],
)
def test_errors_name_line_key_value_and_what_is_allowed(
    tmp_path: Path, text: str, line: int, field: str, allowed: str
) -> None:
    with pytest.raises(InvalidSpec) as caught:
        small(tmp_path, text)
    assert caught.value.source == f"{tmp_path / 'config.cfg'}:{line}"
    assert caught.value.field == field
    assert allowed in caught.value.allowed
    assert not caught.value.others, [str(other) for other in caught.value.others]


@pytest.mark.parametrize(("text", "field"), [("network = cnn", "dataset"), ("dataset = digits", "network")])
def test_settings_that_sparsemod_took_from_code_are_required(tmp_path: Path, text: str, field: str) -> None:
    with pytest.raises(InvalidSpec, match=rf"config\.cfg: {field} = None: is missing.*include"):
        load(config(tmp_path, text))


@pytest.mark.parametrize(
    ("name", "scheme"), [("post", "static"), ("dynamic", "dynamic"), ("both", "both"), ("none", "none")]
)
def test_schemes_have_names_of_their_own(tmp_path: Path, name: str, scheme: str) -> None:
    assert small(tmp_path, f"quant_scheme = {name}").spec.quantization.scheme == scheme


AS_THERE = """\
[DEFAULT]
train = True
include = base.yaml

[TRAIN]
r1 = 2
r2 = 3
r3 = 4
epochs1 = 1
epochs2 = 2
epochs3 = 3
name = experiment_stages
root = ./results
objectives = [0,1,2,3]
batch_size = 2
debug = True
flops = 80000000
quant_scheme = post
morphisms = True
pruning = True
splitter = False
arc=False
cuda_n=0

[TEST]
pruning = True
splitter = False
quant_scheme = post
objectives = 4
name = experiment_stages
root = ./earlier/
epochs = 15
arm = 415
"""


def test_a_file_as_sparsemod_writes_it(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("dataset: {name: digits}\nnetwork: {family: cnn}\n")
    found = read(config(tmp_path, AS_THERE))
    assert found.root == Path("results")
    assert found.spec.objectives == ("error", "model_size", "working_memory", "latency")
    assert found.test is not None
    assert (found.test.arm, found.test.epochs, found.test.seeds) == (415, 15, None)
    assert found.test.folders == (Path("earlier/experiment_stages"), Path("earlier"))
    found.test.check(found.spec)
    assert read(config(tmp_path, AS_THERE.replace("train = True", "train = False"))).tests


def test_default_is_shared_and_sections_take_precedence(tmp_path: Path) -> None:
    text = "dataset = digits\nnetwork = cnn\n[DEFAULT]\nname = both\nroot = a\nr1 = 5\nepochs = 7\n[TRAIN]\nr1 = 6\n[TEST]\nroot = b\narm = 3_0\n"
    found = read(config(tmp_path, text))
    assert (found.spec.name, found.root, found.spec.source.rounds.r1.trials) == ("both", Path("a"), 6)
    assert found.test is not None
    assert (found.test.folders[0], found.test.arm, found.test.epochs) == (Path("b/both"), 3, 7)


def test_the_test_must_describe_the_run(tmp_path: Path) -> None:
    run = small(tmp_path, "quant_scheme = none\nobjectives = [0, 1]").spec
    other = small(tmp_path, "[TEST]\nquant_scheme = post\npruning = on\nobjectives = 2\narm = 1").test
    assert other is not None
    with pytest.raises(
        InvalidSpec, match=r"config\.cfg:4: quant_scheme = 'post': as in the run .* is none"
    ) as caught:
        other.check(run)
    assert [(one.field, one.source) for one in caught.value.others] == [
        ("pruning", f"{tmp_path / 'config.cfg'}:5")
    ]


def test_every_mistake_is_reported_with_its_line(tmp_path: Path) -> None:
    text = (
        "r1 = many\nepochs2 = 0\nwhat is this\nunknown = 3\n[TEST]\narm = best\nepochs = -1\nobjectives = 9"
    )
    with pytest.raises(InvalidSpec) as caught:
        small(tmp_path, text)
    found = [
        (one.field.split(" ")[0], (one.source or "").rpartition(":")[2])
        for one in (caught.value, *caught.value.others)
    ]
    assert found == [
        ("r1", "3"), ("epochs2", "4"), ("line", "5"), ("unknown", "6"), ("arm", "8"), ("epochs", "9"), ("objectives", "10"),
    ]  # fmt: skip
