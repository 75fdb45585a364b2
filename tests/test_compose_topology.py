"""The topology of docker-compose.yml as plain processes: PostgreSQL, two servers, suggester, three workers; a server is killed."""

from functools import partial
from pathlib import Path

import pytest
from support_compose import GIVEN
from support_serve import answers
from support_specs import narrow, small
from support_topology import Topology, documented, until

from service.client.client import Client
from service.errors import LoginNeeded
from service.schemas.trials import AttemptState, ExperimentState
from sparsemod.records import TrialState

# Seconds. No result: only how long a machine may be busy with other things before the test gives up.
PATIENCE = 200
pytestmark = pytest.mark.timeout(900)

SPEC = small("composed", (6, 2, 2), network=narrow(16))
TRIALS = 10
PARTS = {
    "server-1": "server-1",
    "server-2": "server-2",
    "suggester": "",
    "worker-1": "server-1",
    "worker-2": "server-1",
    "worker-3": "server-2",
}
"""The processes, and which server is the worker's `server`."""


@pytest.mark.long
def test_the_composed_service_runs_an_experiment_to_its_end(tmp_path: Path) -> None:
    with Topology(tmp_path, GIVEN) as topology:
        try:
            run(topology)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{topology.logs()}") from error


def run(topology: Topology) -> None:
    topology.start_database()
    assert topology.health("database") == 0
    refused = topology.run("server")
    assert refused.returncode == 2 and "sparsemod token create" in refused.stderr, refused

    # The documentation's own commands.
    made = {
        words[2]: topology.run("server", *words)
        for words in documented("docker compose run --rm server ")
        if words[:2] == ["token", "create"]
    }
    assert set(made) == {"workers", "me"}
    assert not any(done.returncode for done in made.values()), made
    topology.variables["SPARSEMOD_WORKER_TOKEN"] = made["workers"].stdout.strip()
    token = made["me"].stdout.strip()

    for name, server in PARTS.items():
        topology.start(name, server or "server-1")
    with (
        Client(topology.url("server-1"), token=token) as first,
        Client(topology.url("server-2"), token=token) as second,
        Client(topology.url("server-2"), token="") as nobody,
    ):
        for client in (first, second):
            until(partial(answers, client), PATIENCE, f"an answer of {client.url}")
        with pytest.raises(LoginNeeded):
            nobody.experiments()
        until(lambda: len(first.workers()) == 3, PATIENCE, "three workers")
        identity = first.create_experiment(SPEC).id

        def finished() -> int:
            counts = second.experiment(identity).counts
            return sum(count for state, count in counts.items() if state.finished)

        until(lambda: finished() >= 2, PATIENCE, "the first trials")
        topology.kill("server-1")
        before = finished()
        assert topology.health("server-1") == 1 and topology.health("worker-1", "server-1") == 1
        assert topology.health("server-2") == 0 and topology.health("worker-3", "server-2") == 0
        until(lambda: finished() > before, PATIENCE, "a trial that server-2 alone handed out or took back")
        topology.start("server-1")  # restart: unless-stopped
        until(lambda: second.experiment(identity).state is not ExperimentState.RUNNING, PATIENCE, "the end")
        for name, server in PARTS.items():
            assert topology.health(name, server or "server-1") == 0, name

        experiment = first.experiment(identity)
        assert (experiment.state, experiment.reason) == (ExperimentState.DONE, "all rounds are complete")
        assert experiment.owner == "me"
        trials = [first.trial(identity, index) for index in range(TRIALS)]
        assert second.trials_page(identity).total == TRIALS
        for trial in trials:
            assert trial.state is TrialState.COMPLETED
            assert [a.state for a in trial.attempts].count(AttemptState.COMPLETED) == 1
        fronts = [client.pareto(identity) for client in (first, second)]
        assert fronts[0] == fronts[1] and fronts[0].points
        # Both servers have files that were uploaded to either of them.
        for trial in trials:
            for number, client in enumerate((first, second)):
                client.download(trial.artifacts[0].digest, topology.folder / f"artifact-{number}")
        # An export requested from one server is shown, and its files are downloaded, from the other.
        best = fronts[0].points[0].index
        first.export(identity, best, ["onnx"])
        assert [view.format for view in second.exports(identity)] == ["onnx"]
        until(lambda: exported(second, identity) not in ("queued", "running"), PATIENCE, "the export")
        assert exported(first, identity) == exported(second, identity) == "done"
        for artifact in second.exports(identity, best)[0].artifacts:
            second.download(artifact.digest, topology.folder / artifact.name)
    ended = topology.stop("worker-1", "worker-2", "worker-3", "suggester")
    assert ended == {"worker-1": 0, "worker-2": 0, "worker-3": 0, "suggester": 0}
    assert set(topology.stop("server-1", "server-2").values()) == {0}


def exported(client: Client, identity: int) -> str:
    (view,) = client.exports(identity)
    return view.state.value
