"""The server's queue, as a fleet needs it."""

from collections.abc import Collection
from typing import Protocol

from service.client.client import Client
from service.fleet.scaling import Demand
from service.schemas.trials import ExperimentState
from sparsemod.records import TrialState


class QueueReader(Protocol):
    """Returns the demand of a fleet with the workers `names`."""

    def __call__(self, names: Collection[str]) -> Demand: ...


def read_queue(client: Client, names: Collection[str]) -> Demand:
    """Ask the server for the queued trials and for the workers in `names` that hold trials.

    Experiments that are paused, or whose spec is no longer valid, hand out no trials and do not count. Raises the
    client's errors; Forbidden without the scope `read`.
    """
    running = client.experiments(ExperimentState.RUNNING.value)
    queued = sum(
        one.counts.get(TrialState.QUEUED, 0)
        for one in running
        if one.paused is None and one.spec_error is None
    )
    known = frozenset(names)
    return Demand(queued, frozenset(w.name for w in client.workers() if w.trials and w.name in known))
