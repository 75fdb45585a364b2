"""What docs/contributing.md's guide adds from outside the package, each through check, run, a service and its page: a pruning
method, a training rule, an operator, a one-dimensional family, a kind of experiment; a quantization scheme and small methods too.

One service and one browser serve all of them. The page creates the experiments; the local commands get the specs that it stored.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support_dashboard import Watched, browser, violations
from support_docs import DOCS, EXAMPLES, ROOT, tables
from support_serve import local_trials, serving, wait

from service.client.client import Client
from service.schemas.exports import ExportState
from service.schemas.trials import ExperimentView
from sparsemod.pipeline.journal import Finished
from sparsemod.records import TrialState

pytestmark = pytest.mark.timeout(1200)

PLUGINS = EXAMPLES / "plugins"
MODULES = ("random_pruning", "feedback_alignment", "ternary", "small_methods", "operator_network", "family_sequence",
           "own_source", "own_network")  # fmt: skip
IMPORTS = tuple(word for module in MODULES for word in ("--import", module))
PATHS = os.pathsep.join(
    [
        str(EXAMPLES),
        str(PLUGINS),
        str(EXAMPLES / "own_network"),
        *filter(None, [os.environ.get("PYTHONPATH")]),
    ]
)
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": PATHS}
PATIENCE = 500
"""Seconds until a test gives up. No result depends on it."""

DIGITS = """
dataset: {name: digits, limit: 400}
network: {family: mlp, options: {max_layers: 1, max_width: 16}}
source: {name: grid, values: {l1_width: [6, 12]}, epochs: 2}
objectives: [error, model_size]
measure: {device: model}
"""
SEARCHED = """
name: own family
dataset: {name: stripes, options: {samples: 300}}
network: {family: strided}
rounds:
  r1: {trials: 3, epochs: 1}
  r2: {trials: 1, epochs: 1}
  r3: {trials: 1, epochs: 1}
objectives: [error, model_size]
measure: {device: model}
"""
# Experiments that start as YAML in the page's form.
YAML = {
    "pruning method": f"name: pruning method\n{DIGITS}\npruning: {{method: random, draw: 1, sparsity: 0.5}}\n",
    "training rule": f"name: training rule\n{DIGITS}\ntraining: {{rule: {{name: feedback_alignment, scale: 0.5}}}}\n",
    "quantization scheme": f"name: quantization scheme\n{DIGITS}\nquantization: {{scheme: ternary, threshold: 0.5}}\n",
    "operator absolute": (EXAMPLES / "operator_absolute.yaml").read_text(),
    "methods": (PLUGINS / "methods.yaml").read_text(),
    "own family": SEARCHED,
}
# Experiments that start from the form's fields.
FORM: dict[str, Callable[[Any], None]] = {}
EXACT = (
    "pruning method",
    "training rule",
    "quantization scheme",
    "operator absolute",
    "sequences",
    "two waves",
)
"""The experiments whose candidates do not depend on the order in which trials end."""


def form(name: str) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    def add(fill: Callable[[Any], None]) -> Callable[[Any], None]:
        FORM[name] = fill
        return fill

    return add


@form("sequences")
def fill_in_sequences(page: Any) -> None:
    """A data set of sequences: the form says so, and offers only families that read it."""
    page.get_by_label("Dataset").select_option("waves")
    assert (
        "Samples 2 × 48, channels-length; 3 classes."
        in page.locator("[id='f-dataset.name-hint']").inner_text()
    )
    family = page.get_by_label("Network family")
    assert family.locator("option:disabled").all_inner_texts() == [
        "autoencoder: not for classification",
        "cnn: not for waves",
        "fcn: not for classification",
        "folded: not for waves",
        "strided: not for waves",
        "zoo: not for waves",
    ]
    assert family.input_value() == "cnn1d"  # the first that reads sequences, in the place of cnn
    family.select_option("temporal")
    page.get_by_label("Samples").fill("240")
    page.get_by_label("Source").select_option("grid")
    page.get_by_label("Values").fill("filters: 2, 4\ndepth: 1\nkernel: 3")
    page.get_by_label("Epochs").fill("1")


@form("two waves")
def fill_in_an_own_source(page: Any) -> None:
    page.get_by_label("Network family").select_option("mlp")
    page.get_by_label("Max layers").fill("1")
    page.get_by_label("Max width").fill("16")
    page.get_by_label("Source").select_option("random")
    page.get_by_label("Trials").fill("2")
    page.get_by_label("Epochs").fill("1")


@dataclass
class Guide:
    """The service on which every experiment is over, its page, and the folders of the local runs, by name."""

    client: Client
    watched: Watched
    views: dict[str, ExperimentView]
    checks: dict[str, str]
    folder: Path

    def local(self, name: str) -> list[Finished]:
        return local_trials(self.folder / name)

    def page(self, name: str, place: str = "") -> Any:
        return self.watched.open(f"#/experiments/{self.views[name].id}{place}")


@pytest.fixture(scope="module")
def guide(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guide]:
    folder = tmp_path_factory.mktemp("guide")
    with (
        serving(folder, *IMPORTS, cwd=folder, environment=ENVIRONMENT) as url,
        Client(url) as client,
        browser() as chromium,
    ):
        watched = Watched(chromium.new_context(viewport={"width": 1300, "height": 900}), url)
        made = {name: created(watched, name) for name in (*YAML, *FORM)}
        views = {name: client.experiment(identity) for name, identity in made.items()}
        checks = run_locally(views, folder)
        wait(
            lambda: all(client.experiment(one).state != "running" for one in made.values()), folder, PATIENCE
        )
        yield Guide(client, watched, {n: client.experiment(i) for n, i in made.items()}, checks, folder)
        assert watched.complaints == [] and watched.outside() == []


def created(watched: Watched, name: str) -> int:
    """Create an experiment on the page; its number."""
    if name in YAML:
        page = watched.open("#/new?from=yaml")
        page.locator("textarea").fill(YAML[name])
    else:
        page = watched.open("#/new")
        page.locator("[id='f-source.name'] option:text-is('random')").wait_for(state="attached")
        page.get_by_label("Name", exact=True).fill(name)
        FORM[name](page)
        assert violations(page) == []
    with page.expect_response(lambda answer: answer.request.method == "POST") as answer:
        page.get_by_role("button", name="Start experiment").click()
    assert answer.value.status == 201, answer.value.text()
    page.wait_for_url(re.compile(r"#/experiments/\d+$"))
    return int(page.url.rpartition("/")[2])


SCRIPT = """
import contextlib, io, json, sys
from service.cli import main

folder, names, exact, imports = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3]), sys.argv[4:]
checks = {}
for name in names:
    commands = [["check", f"{name}.json", "--candidates", "1"], ["run", f"{name}.json", "--out", f"{folder}/{name}"]]
    for words in commands[: 2 if name in exact else 1]:
        said = io.StringIO()
        try:
            with contextlib.redirect_stdout(said):
                main([*words, *imports])
        except SystemExit as end:
            assert end.code == 0, (words, said.getvalue())
        checks.setdefault(name, said.getvalue())
print(json.dumps(checks))
"""


def run_locally(views: dict[str, ExperimentView], folder: Path) -> dict[str, str]:
    """Check the stored specs by the command, and run those of EXACT, in one process; what `check` printed."""
    for name, view in views.items():
        (folder / f"{name}.json").write_text(view.spec.model_dump_json())
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), json.dumps(list(views)), json.dumps(EXACT), *IMPORTS],
        cwd=folder, env={**ENVIRONMENT, "COLUMNS": "200"}, capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


def checked(guide: Guide, name: str) -> None:
    """What every kind has in common: the check, the run and the service agree, and the page shows the trials."""
    assert "1 of 1 candidates went through the whole pipeline" in " ".join(guide.checks[name].split())
    view = guide.views[name]
    there = sorted(guide.client.trials(view.id), key=lambda trial: trial.index)
    assert view.state == "done", view.reason
    assert len(there) >= 2
    assert [(t.state, t.failure) for t in there] == [(TrialState.COMPLETED, None)] * len(there)
    if name in EXACT:
        for own, trial in zip(guide.local(name), there, strict=True):
            assert (trial.candidate, trial.seed) == (own.candidate, own.seed)
            assert trial.measurements == own.result.measurements
    page = guide.page(name)
    page.locator("#trials tbody tr").nth(len(there) - 1).wait_for()
    assert page.locator("#trials tbody tr .state.completed").count() == len(there)
    page = guide.page(name, "/trials/0")
    page.locator("table.layers tbody tr").first.wait_for()
    assert violations(page) == []


# What a registry calls the members of an example.
MEMBERS = {
    "random_pruning": "random", "feedback_alignment": "feedback_alignment", "ternary": "ternary", "own_source": "random",
    "family_sequence": "temporal", "own_network": "strided", "operator_absolute": "absolute", "operator_network": "folded",
    "own_stage": "clip",
}  # fmt: skip


@pytest.mark.long
def test_the_costs_of_the_guide_are_true() -> None:
    """Each addition is one short file, and no file of the packages names its member or its module."""
    table = next(
        rows for _, rows in tables((DOCS / "contributing.md").read_text()) if "files to write" in rows[0]
    )
    package = [path for folder in ("sparsemod", "service") for path in (ROOT / folder).rglob("*.py")]
    code = "\n".join(path.read_text() for path in package)
    listed = set()
    for row in table:
        files = re.findall(r"`([a-z_/]+)\.py`", row["example in `examples/`"])
        assert files and (row["files to write"], row["files to edit"]) == ("1", "0")
        for name in files:
            assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) < 60, name
            listed.add(Path(name).name)
    assert listed == set(MEMBERS) and listed <= {*MODULES, "operator_absolute", "own_stage"}
    for module, member in MEMBERS.items():
        assert module not in code, module
        assert not re.search(
            rf'(register|add|family|dataset)\("{member}"|(method|name|kind|scheme|rule|family) == "{member}"',
            code,
        ), member


@pytest.mark.long
def test_a_pruning_method(guide: Guide) -> None:
    checked(guide, "pruning method")
    trial = guide.client.trial(guide.views["pruning method"].id, 0)
    assert trial.values()["nonzeros"] == pytest.approx(trial.values()["parameters"] / 2, abs=2)
    assert guide.views["pruning method"].spec.pruning.draw == 1  # type: ignore[attr-defined]


@pytest.mark.long
def test_a_training_rule(guide: Guide) -> None:
    checked(guide, "training rule")
    rule = guide.views["training rule"].spec.training.rule
    assert (rule.name, rule.scale) == ("feedback_alignment", 0.5)  # type: ignore[attr-defined]


@pytest.mark.long
def test_a_quantization_scheme(guide: Guide) -> None:
    checked(guide, "quantization scheme")
    assert guide.views["quantization scheme"].spec.quantization.threshold == 0.5  # type: ignore[attr-defined]


@pytest.mark.long
def test_small_methods_together(guide: Guide) -> None:
    checked(guide, "methods")
    trial = guide.client.trial(guide.views["methods"].id, 0)
    (error,) = [m for m in trial.measurements if m.metric == "error"]
    assert error.method.startswith("top_error of the integer network")
    assert all(point.sparsity > 0 for point in guide.client.curve(trial.experiment, trial.index)[1:])


@pytest.mark.long
def test_a_family_of_images(guide: Guide) -> None:
    checked(guide, "own family")
    trials = sorted(guide.client.trials(guide.views["own family"].id), key=lambda trial: trial.index)
    assert [trial.candidate.round for trial in trials] == ["r1"] * 3 + ["r2", "r3"]


def exported(guide: Guide, name: str) -> None:
    """The page exports C, and the result of its check says that it equals the integer network."""
    page = guide.watched.page
    page.get_by_role("button", name="Export C", exact=True).click()
    page.locator("[aria-label=Exports] tr:has-text('equal to the integer network')").wait_for()
    (made,) = guide.client.exports(guide.views[name].id, 0)
    assert (made.format, made.state) == ("c", ExportState.DONE)


@pytest.mark.long
def test_an_operator(guide: Guide) -> None:
    checked(guide, "operator absolute")
    graph = guide.client.graph(guide.views["operator absolute"].id, 0)
    assert [layer.kind for layer in graph.layers] == ["conv", "absolute", "flatten", "linear"]
    shown = guide.watched.page.locator("table.layers tbody tr td:nth-child(2)").all_inner_texts()
    assert shown == [layer.kind for layer in graph.layers]
    exported(guide, "operator absolute")


@pytest.mark.long
def test_a_one_dimensional_family(guide: Guide) -> None:
    checked(guide, "sequences")
    (waves,) = [one for one in guide.client.catalogue().datasets if one.name == "waves"]
    assert (waves.shape, waves.layout, waves.classes) == ((2, 48), "channels-length", 3)
    graph = guide.client.graph(guide.views["sequences"].id, 0)
    assert graph.input_shape == (2, 48) and [layer.shape for layer in graph.layers[:2]] == [(2, 48), (2, 24)]
    assert "input\n2 × 48" in guide.watched.page.locator(".flow").inner_text()
    exported(guide, "sequences")


@pytest.mark.long
def test_a_kind_of_experiment(guide: Guide) -> None:
    checked(guide, "two waves")
    page = guide.watched.open("#/")
    for label in (r"short\s*first wave\s*2 / 2", r"long\s*second wave\s*2 / 2"):
        page.locator(".progress-label").filter(has_text=re.compile(label)).wait_for()
