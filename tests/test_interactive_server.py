"""`sm.connect`: the same results from a server as from the folder of the run, over the HTTP client."""

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path

import pandas as pd
import pytest
from starlette.testclient import TestClient
from support_interactive import clients, search
from support_store import Suggestion, fill
from test_service_client import Bridge

import sparsemod as sm
from service.client.client import Client
from service.http.app import create_app
from service.settings import Settings
from sparsemod.errors import InvalidInput, NotFound, UnknownName
from sparsemod.pipeline.local_run import LocalFolder
from sparsemod.records import TrialState
from sparsemod.report.result_source import CLIENTS
from sparsemod.spec.experiment import ExperimentSpec

__all__ = ["clients"]

URL = "http://localhost"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("interactive") / "run"
    sm.run(search(), place, progress=False)
    return place


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[Bridge]:
    """A server with the trials of the local run, and a younger experiment without a trial."""
    with TestClient(create_app(Settings(data_dir=tmp_path_factory.mktemp("server")))) as app:
        store, held = app.app.state.store, LocalFolder(folder)  # type: ignore[attr-defined]
        identity = store.create_experiment(ExperimentSpec.parse(held.spec.to_dict())).id
        with Client(URL, transport=Bridge(app)) as client:
            for trial in held.trials:
                result = trial.result
                if result.state is TrialState.INFEASIBLE:
                    costs = result.values()
                    over = {"flash": costs["flash"] - 2500}
                    fill(
                        store,
                        identity,
                        [
                            replace(
                                Suggestion(trial.candidate, 1, costs, False, over),
                                measurements=result.measurements,
                            )
                        ],
                    )
                    continue
                fill(store, identity, [Suggestion(trial.candidate, trial.planned_epochs)])
                claim = client.claim("w")
                assert claim is not None and claim.trial == trial.index
                for artifact in result.artifacts:
                    client.upload(held.artifact(artifact.digest))
                client.finish(claim.attempt, claim.token, result)
            client.create_experiment(search().to_dict() | {"name": "younger"})
        yield Bridge(app)


@pytest.fixture
def server(clients: None, bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> Iterator[sm.Server]:
    monkeypatch.setattr("service.client.connection.Client", partial(Client, transport=bridge))
    with sm.connect(URL) as made:
        yield made


@pytest.mark.long
def test_results_of_a_server_are_those_of_the_folder(server: sm.Server, folder: Path, tmp_path: Path) -> None:
    there, here = server.load("a short search"), sm.load(folder)
    assert type(there) is type(here) is sm.Results and there.place == f"{URL}/experiments/1"
    pd.testing.assert_frame_equal(there.trials, here.trials)
    pd.testing.assert_frame_equal(there.front, here.front)
    assert there.trials.attrs == here.trials.attrs and there.hypervolume == here.hypervolume
    assert there._repr_html_() == here._repr_html_().replace(here.place, there.place)
    assert there.best(error="<= 100 %").index == here.best(error="<= 100 %").index
    for name, results in (("there", there), ("here", here)):
        results.front[0].export(tmp_path / name, ["c", "onnx"])
    files = sorted(p.relative_to(tmp_path / "there") for p in (tmp_path / "there").rglob("*") if p.is_file())
    assert files == sorted(
        p.relative_to(tmp_path / "here") for p in (tmp_path / "here").rglob("*") if p.is_file()
    )
    assert all(
        (tmp_path / "there" / path).read_bytes() == (tmp_path / "here" / path).read_bytes()
        for path in files
        if path.suffix in (".c", ".onnx", ".html")
    )


def test_csv_of_the_server_is_the_frame(server: sm.Server, bridge: Bridge, folder: Path) -> None:
    with Client(URL, transport=bridge) as client:
        assert client.trials_csv(1) == (folder / "trials.csv").read_text()
        assert client.pareto_csv(1) == (folder / "pareto.csv").read_text()


def test_a_server_lists_and_opens_its_experiments(server: sm.Server) -> None:
    listed = server.experiments
    assert listed.index.tolist() == [2, 1] and listed.index.name == "id"
    assert (
        listed.loc[2, "name"] == "younger"
        and listed.loc[1, "completed"] == 5
        and listed.loc[2, "trials"] == 0
    )
    assert server.load().name == "younger" and server.load(1).name == server.load("a short search").name
    with pytest.raises(UnknownName, match="experiment = 'older'"):
        server.load("older")
    assert repr(server) == f"Server('{URL}')"


def test_results_of_a_running_experiment_are_read_again(server: sm.Server, bridge: Bridge) -> None:
    results = server.submit(search().to_dict() | {"name": "submitted"})
    assert len(results.trials) == 0 and len(results.front) == 0 and "no trial yet" in repr(results)
    store = bridge.app.app.state.store  # type: ignore[attr-defined]
    fill(store, int(results.place.rpartition("/")[2]), 2)
    assert len(results.trials) == 0
    assert results.refresh() is results and results.trials["state"].tolist() == ["queued"] * 2
    with pytest.raises(NotFound, match="no completed trial with 'error' in "):
        results.best()


def test_the_client_is_found_by_the_scheme_of_the_address(clients: None) -> None:
    assert CLIENTS.names() == ("http", "https")
    for url in ("localhost:8080", "ftp://server", ""):
        with pytest.raises(
            InvalidInput, match=re.escape(f"url = '{url}': an address that begins with http:// or https://")
        ):
            sm.connect(url)


def test_a_missing_client_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "sparsemod.interactive.server.CLIENTS", type(CLIENTS)("URL scheme", "sparsemod.no-clients")
    )
    assert not entry_points(group="sparsemod.no-clients")
    with pytest.raises(InvalidInput, match="no installed package has a client"):
        sm.connect(URL)
