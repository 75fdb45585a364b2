"""Access to a server's experiments.

A package provides the client by the entry point group `sparsemod.clients`.
"""

from collections.abc import Mapping
from typing import Any, Self

import pandas as pd

from sparsemod.errors import InvalidInput
from sparsemod.interactive.results import Results
from sparsemod.report.result_source import CLIENTS, Connection
from sparsemod.spec.experiment import ExperimentSpec


class Server:
    """A server: `experiments` lists its experiments, `load` returns results, `submit` starts an experiment.

    Close it, or use it in a `with` statement. The methods raise ServerUnavailable when it does not answer,
    LoginNeeded or Forbidden for a missing or insufficient token.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def url(self) -> str:
        """The server's address."""
        return self._connection.url

    @property
    def experiments(self) -> pd.DataFrame:
        """Return all experiments, newest first; the index is the experiment's id.

        The columns are name, state, trials, completed trials and time of creation.
        """
        entries = self._connection.experiments()
        lines = [
            (e.name, e.state, sum(e.trials.values()), e.trials.get("completed", 0), e.created)
            for e in entries
        ]
        index = pd.Index([e.id for e in entries], dtype="int64", name="id")
        return pd.DataFrame(lines, columns=["name", "state", "trials", "completed", "created"], index=index)

    def load(self, experiment: int | str = "") -> Results:
        """Return the results of an experiment, by id or name; by default the newest one.

        Of several experiments with the name, the newest is chosen. Raises UnknownName.
        """
        return Results(self._connection.open(experiment))

    def submit(self, spec: ExperimentSpec | Mapping[str, Any]) -> Results:
        """Start an experiment and return its results; `refresh` reads newly finished trials. Raises InvalidSpec."""
        return Results(self._connection.submit(spec))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Server({self.url!r})"


def connect(url: str, token: str | None = None) -> Server:
    """Return the server at `url`, such as http://127.0.0.1:8080.

    `token`: default the environment variable `SPARSEMOD_TOKEN`. The first request is sent by the first
    method call. Raises InvalidInput for an address that no installed client supports.
    """
    scheme, separator, _ = url.partition("://")
    supported = CLIENTS.names()
    if not separator or scheme not in supported:
        schemes = " or ".join(f"{name}://" for name in supported)
        allowed = (
            f"an address that begins with {schemes}"
            if supported
            else f"nothing: no installed package has a client ({CLIENTS.group})"
        )
        raise InvalidInput("url", url, allowed)
    return Server(CLIENTS.get(scheme, field="url")(url, token))
