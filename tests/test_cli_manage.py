"""Commands for a server beside running experiments: delete, drain, show details, list its names."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from safetensors.numpy import save
from support_cli import Service, cli, served
from support_store import completed, fault, point
from support_suggester import make_spec

from service.client.client import Client
from service.http.routes.importance import _view
from service.schemas.logins import Scope
from service.schemas.trials import LogLine
from service.store.tables import experiments
from service.suggester.suggester import Suggester
from sparsemod.errors import NotFound
from sparsemod.records import Artifact, Failure, FailureKind, TrialResult, TrialState
from sparsemod.spec.files import dump


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with served(tmp_path_factory.mktemp("server")) as found:
        yield found


@pytest.fixture(autouse=True)
def _address(running: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSEMOD_SERVER", running.url)
    monkeypatch.delenv("COLUMNS", raising=False)


def say(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """The user's input."""
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


def there(running: Service, identity: int) -> bool:
    try:
        running.store.experiment(identity)
    except NotFound:
        return False
    return True


def test_delete_asks_first(
    running: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    identity = running.store.create_experiment(make_spec(name="unwanted")).id
    for answer in ("n\n", "\n", ""):
        say(monkeypatch, answer)
        words = cli(capsys, "delete", str(identity), code=1)
        assert f"Delete experiment {identity} (unwanted), which is running, with its 0 trials" in words
        assert there(running, identity)
    say(monkeypatch, "y\n")
    assert f"experiment {identity} (unwanted) is deleted, with its 0 trials" in cli(
        capsys, "delete", "unwanted"
    )
    assert not there(running, identity)


def test_pauses_are_shown_and_failed_trials_are_retried(
    running: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make_spec(name="poor", limits={"attempts": 1})
    identity = running.store.create_experiment(made).id
    for width in ("8", "9"):
        cli(capsys, "attach", "poor", "layers=1", f"l1_width={width}", "dropout=0.1")
    missing = Failure(kind=FailureKind.ENVIRONMENT, message="no module named 'own'")
    with Client(running.url) as client:
        first = client.claim("bad-worker", started=True)
        assert first is not None
        client.finish(first.attempt, first.token, TrialResult(state=TrialState.FAILED, failure=missing))
        assert client.claim("bad-worker") is None
        assert "bad-worker is paused for experiment" in cli(capsys, "workers")
        assert "no module named 'own'" in cli(capsys, "workers")
        assert f"paused: worker bad-worker, experiment {identity}: no module named 'own'" in cli(
            capsys, "health"
        )
        second = client.claim("good-worker")
        assert second is not None and second.trial == first.trial
        client.finish(second.attempt, second.token, fault())
    assert "has failed by a fault" in cli(capsys, "retry", "1")
    assert f"1 trial of experiment {identity} (poor) queued again: 0" in cli(capsys, "retry", "poor")
    assert "trial 1 is queued: only a failed or a stopped trial" in cli(
        capsys, "retry", "poor", "-t", "1", code=2
    )
    running.store.pause("files", "no artifact", experiment=identity)
    assert f"experiment {identity} (poor) is paused: no artifact" in cli(capsys, "list")
    assert "paused: no artifact" in cli(capsys, "show", "poor")
    cli(capsys, "resume", "poor")
    assert "is paused" not in cli(capsys, "list")
    running.store.delete_experiment(identity)


def test_delete_takes_the_files_along(
    running: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    identity = running.store.create_experiment(make_spec(name="with files")).id
    cli(capsys, "attach", "with files", "layers=1", "l1_width=8", "dropout=0.1")
    content = save({"w": np.zeros(4, dtype=np.float32)})
    with Client(running.url) as client:
        claim = client.claim("w")
        assert claim is not None and claim.experiment == identity
        digest = client.upload(content)
        weights = Artifact(kind="weights", digest=digest, size=len(content), name="weights.safetensors")
        client.finish(claim.attempt, claim.token, completed(artifacts=(weights,)))
        assert client.download(digest, tmp_path / "before").read_bytes() == content
        assert "is deleted, with its 1 trial" in cli(capsys, "delete", str(identity), "--yes")
        assert not there(running, identity)
        with pytest.raises(NotFound):
            client.download(digest, tmp_path / "after")
        with pytest.raises(NotFound):
            client.delete(identity)


def test_delete_never_guesses(running: Service, capsys: pytest.CaptureFixture[str]) -> None:
    twins = [running.store.create_experiment(make_spec(name="twin")).id for _ in range(2)]
    words = cli(capsys, "delete", "twin", "--yes", code=2)
    assert f"error experiment = 'twin': an id: {twins[0]}, {twins[1]} have this name" in words
    assert "Missing argument" in cli(capsys, "delete", "--yes", code=2)
    assert all(there(running, twin) for twin in twins)
    for twin in twins:
        cli(capsys, "delete", str(twin), "-y")
    assert "error experiment = '9999': an id or a name of " in cli(capsys, "delete", "9999", "-y", code=2)


def test_workers_and_drain(running: Service, capsys: pytest.CaptureFixture[str]) -> None:
    identity = running.store.create_experiment(make_spec(name="drained")).id
    suggester = Suggester(running.store, ahead=2)
    suggester.step()
    suggester.close()
    name = "lab 1/gpu:0"
    claim = running.store.claim(name, "cuda:0")
    assert claim is not None
    assert f"experiment {identity} trial {claim.trial}" in cli(capsys, "workers")
    words = cli(capsys, "drain", name)
    assert f"{name} gets no more trials, it finishes experiment {identity} trial {claim.trial};" in words
    assert "draining" in cli(capsys, "workers")
    assert running.store.claim(name, "cuda:0", request="another") is None
    assert f"{name} gets trials again" in cli(capsys, "drain", name, "--undo")
    listed = {worker["name"]: worker for worker in json.loads(cli(capsys, "workers", "--json"))}
    assert (listed[name]["device"], listed[name]["draining"]) == ("cuda:0", False)
    words = cli(capsys, "drain", "nobody", code=2)
    assert "error worker = 'nobody': known: " in words and name in words
    cli(capsys, "delete", str(identity), "--yes")


def test_one_trial_can_be_stopped(running: Service, capsys: pytest.CaptureFixture[str]) -> None:
    identity = running.store.create_experiment(make_spec(name="one")).id
    cli(capsys, "attach", "one", "layers=1", "l1_width=8", "dropout=0.1")
    assert f"trial 0 of experiment {identity} is stopped" in cli(capsys, "stop", "one", "--trial", "0")
    assert running.store.experiment(identity).state == "running"
    assert "no trial 5" in cli(capsys, "stop", "one", "--trial", "5", code=2)
    cli(capsys, "delete", str(identity), "--yes")


def test_log_and_curve_of_a_trial_are_whole(running: Service, capsys: pytest.CaptureFixture[str]) -> None:
    identity = running.store.create_experiment(make_spec(name="logged")).id
    cli(capsys, "attach", "logged", "layers=1", "l1_width=8", "dropout=0.1")
    claim = running.store.claim("logger", request="logger")
    assert claim is not None and claim.experiment == identity
    lines = [LogLine(time=float(n), level="info", message=f"line {n}") for n in range(1005)]
    running.store.points(claim.attempt, claim.token, [point(1), point(2)], lines[:600])
    running.store.points(claim.attempt, claim.token, [], lines[600:])
    # more than one response of the server holds
    said = cli(capsys, "show", "logged", "--trial", "0", "--log").splitlines()
    assert said == [f"   info  line {n}" for n in range(1005)]
    curve = list(csv.DictReader(io.StringIO(cli(capsys, "show", "logged", "--trial", "0", "--curve"))))
    assert [row["epoch"] for row in curve] == ["1", "2"]
    data = json.loads(cli(capsys, "show", "logged", "--trial", "0", "--curve", "--json"))
    assert float(curve[1]["train_loss"]) == data[1]["train_loss"]
    cli(capsys, "delete", str(identity), "--yes")
    # A finished trial has no further lines to wait for.
    assert cli(capsys, "show", "finished", "--trial", "0", "--log", "--follow") == ""


@pytest.mark.long
def test_results_that_the_server_computes(
    running: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = cli(capsys, "show", "1", "--trial", "0", "--network")
    graph = json.loads(cli(capsys, "show", "1", "--trial", "0", "--network", "--json"))
    for layer in graph["layers"]:
        assert layer["name"] in table
    assert f"{graph['parameters']:,} parameters" in table
    found = json.loads(cli(capsys, "importance", "1", "--json"))
    table = cli(capsys, "importance", "1")
    if set(found["metrics"]) - set(found["unexplained"]):
        assert "R² of the model" in table and "l1_width" in table
    elif not found["metrics"]:
        assert table.strip() == found["reason"]
    cli(capsys, "ax", "1", "--out", str(tmp_path / "new" / "ax.json"))
    assert json.loads((tmp_path / "new" / "ax.json").read_text())["_type"] == "Client"


def test_names_that_the_server_has(
    running: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "mlp" in cli(capsys, "families", "--remote")
    assert "digits" in cli(capsys, "datasets", "--remote")
    spec = tmp_path / "spec.yaml"
    spec.write_text(dump(make_spec(name="asked about")))
    before = len(running.store.experiments(1000, 0)[0])
    text = cli(capsys, "submit", str(spec), "--dry-run")
    assert "the spec is valid at" in text and ": asked about, 7 trials" in text
    data = json.loads(cli(capsys, "submit", str(spec), "--dry-run", "--json"))
    assert data["spec"]["name"] == "asked about"
    assert len(running.store.experiments(1000, 0)[0]) == before
    with Client(running.url) as client:
        points = client.device_fits(1)
        assert [one.trial for one in points] == [one.index for one in client.pareto(1).points]
        assert len(client.timeline(1).attempt) == 7


def test_whoami_and_owners(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with served(tmp_path) as closed:
        monkeypatch.setenv("SPARSEMOD_SERVER", closed.url)
        assert "is open" in cli(capsys, "whoami")
        ada, token = closed.store.create_token("ada", [Scope.WRITE])
        assert "does not accept this token" in cli(capsys, "whoami")
        monkeypatch.setenv("SPARSEMOD_TOKEN", ada)
        assert f"ada, by token {token.token} with the scope write" in cli(capsys, "whoami")
        assert json.loads(cli(capsys, "whoami", "--json"))["login"]["owner"] == "ada"
        spec = tmp_path / "spec.yaml"
        spec.write_text(dump(make_spec(name="hers")))
        cli(capsys, "submit", str(spec))
        listed = cli(capsys, "list")
        assert "owner" in listed and "ada" in listed
        bob, _ = closed.store.create_token("bob", [Scope.WRITE])
        monkeypatch.setenv("SPARSEMOD_TOKEN", bob)
        assert "experiment 2 belongs to ada" in cli(capsys, "delete", "2", "--yes", code=2)
        assert "this needs admin" in cli(capsys, "drain", "w", code=2)


def test_mend_replaces_a_spec_that_is_not_valid_any_more(
    running: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = make_spec(name="mended")
    identity = running.store.create_experiment(good).id
    number = str(identity)
    with running.store.engine.begin() as connection:
        stored = {**good.to_dict(), "seed": "of the future"}
        connection.execute(sa.update(experiments).where(experiments.c.id == identity).values(spec=stored))
    assert "its spec is not valid" in cli(capsys, "list")
    words = " ".join(cli(capsys, "show", number).split())
    assert "seed = 'of the future'" in words and f"sparsemod mend {number} SPEC" in words
    assert "name: mended" in cli(capsys, "show", number, "--spec")
    assert "of the future" in json.loads(cli(capsys, "show", number, "--json"))["spec_error"]
    assert "is not valid" in cli(capsys, "extend", number, "--more", "r1=1", code=2)
    file = tmp_path / "mended.yaml"
    file.write_text(dump(good))
    assert "has a valid spec and is running" in cli(capsys, "mend", number, str(file))
    assert running.store.experiment(identity).spec_error is None
    file.write_text(dump(make_spec(name="mended", seed=7)))
    assert "`extend` changes it" in cli(capsys, "mend", "mended", str(file), code=2)


def test_an_experiment_whose_name_is_a_number(running: Service, capsys: pytest.CaptureFixture[str]) -> None:
    identity = running.store.create_experiment(make_spec(name="1")).id
    other = running.store.create_experiment(make_spec(name="Gr\u00f6\u00dfe \u0663")).id
    assert json.loads(cli(capsys, "show", "1", "--json"))["name"] == "finished"
    assert json.loads(cli(capsys, "show", "name:1", "--json"))["id"] == identity
    assert json.loads(cli(capsys, "show", "Gro\u0308\u00dfe \u0663", "--json"))["id"] == other
    assert json.loads(cli(capsys, "show", str(identity), "--json"))["name"] == "1"
    running.store.create_experiment(make_spec(name="1"))
    words = cli(capsys, "delete", "name:1", "--yes", code=2)
    assert f"error experiment = 'name:1': an id: {identity}, " in words
    far = running.store.create_experiment(make_spec(name="987654")).id
    assert json.loads(cli(capsys, "show", "987654", "--json"))["id"] == far
    assert "is deleted" in cli(capsys, "delete", "987654", "--yes")
    assert there(running, 1) and there(running, identity) and not there(running, far)


def test_attach_fills_in_parameters_with_one_value(
    running: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    space = {"layers": 1, "dropout": [0.1], "batch_size": 32, "l1_width": {"low": 4, "high": 64, "step": 4}}
    identity = running.store.create_experiment(make_spec(name="constants", space=space)).id
    cli(capsys, "attach", "constants", "l1_width=12")
    assert running.store.observations(identity)[0].candidate.parameters == {
        "layers": 1,
        "l1_width": 12,
        "dropout": 0.1,
        "batch_size": 32,
    }
    words = cli(capsys, "attach", "constants", "l1_width=13", code=2)
    assert "parameters.l1_width = 13: a whole number from 4 to 64 in steps of 4" in words
    assert "parameters.l1_width = None: is missing" in cli(capsys, "attach", "constants", "layers=1", code=2)
    cli(capsys, "stop", "constants")


def test_importance_reports_a_model_without_explanation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shares = {"l1_width": 0.9, "dropout": 0.2}
    accuracy = {"error": -0.12, "model_size": 0.98, "latency": 0.0}
    view = _view(1, 3, True, {"trials": 14, "metrics": dict.fromkeys(accuracy, shares), "accuracy": accuracy})
    assert view.unexplained == ("error", "latency")
    monkeypatch.setattr(Client, "importance", lambda client, experiment: view)
    words = cli(capsys, "importance", "1").splitlines()
    assert words[0].startswith(
        "error: the model of 14 trials explains nothing; it predicts unseen trials no better"
    )
    assert words[0].endswith("(R² -0.12)") and words[1].startswith("latency: the model of 14 trials")
    table = " ".join(words[2:])
    assert "model size" in table and "90 %" in table and "0.98" in table and "error" not in table
    view = _view(1, 3, True, {"trials": 14, "metrics": {"error": shares}, "accuracy": {"error": -0.12}})
    assert len(cli(capsys, "importance", "1").splitlines()) == 1
