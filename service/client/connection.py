"""The HTTP client as a connection of `sparsemod.connect`: declared as an entry point in the group `sparsemod.clients`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from service.client.client import Client
from service.client.lookup import which
from sparsemod.objectives import Objectives
from sparsemod.records import Artifact
from sparsemod.report.result_source import ListedExperiment, StoredResults
from sparsemod.spec.experiment import ExperimentSpec


class HttpSource:
    """One experiment of a server, see `sparsemod.report.result_source.ResultSource`."""

    def __init__(self, client: Client, experiment: int) -> None:
        self._client, self.experiment = client, experiment

    @property
    def place(self) -> str:
        """Address of the server and number of the experiment."""
        return f"{self._client.url}/experiments/{self.experiment}"

    def read(self) -> StoredResults:
        """See ResultSource. Budgets, reference point and scales are those in force on the server, which may know a device that is unknown here."""
        view = self._client.experiment(self.experiment)
        objectives = Objectives(view.objectives, view.reference_point, view.budgets, view.scales)
        trials = sorted(self._client.trials(self.experiment), key=lambda trial: trial.index)
        return StoredResults(view.spec, objectives, tuple(trials))

    def copy(self, artifact: Artifact, path: Path) -> Path:
        """See ResultSource."""
        return self._client.download(artifact.digest, path)


class HttpConnection:
    """A server, see `sparsemod.report.result_source.Connection`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def url(self) -> str:
        """Its address."""
        return self._client.url

    def experiments(self) -> Sequence[ListedExperiment]:
        """See Connection."""
        return [
            ListedExperiment(
                e.id,
                e.name,
                e.state.value,
                {state.value: count for state, count in e.counts.items()},
                e.created_at,
            )
            for e in self._client.experiments()
        ]

    def open(self, experiment: int | str) -> HttpSource:
        """See Connection."""
        return HttpSource(self._client, which(self._client, str(experiment)).id)

    def submit(self, spec: ExperimentSpec | Mapping[str, Any]) -> HttpSource:
        """See Connection."""
        return HttpSource(self._client, self._client.create_experiment(spec).id)

    def close(self) -> None:
        """See Connection."""
        self._client.close()


def connect(url: str, token: str | None = None) -> HttpConnection:
    """The entry point of http and https."""
    return HttpConnection(Client(url, token=token))
