"""The client's methods for computed views and the catalogue: the dashboard's data, for programs."""

import time
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import httpx2
from pydantic import BaseModel, TypeAdapter

from service.schemas.dashboard import (
    Catalogue,
    Checked,
    FrontMemberView,
    Importance,
    RepetitionsView,
    StudyView,
    Timeline,
    TrialGraph,
)
from service.schemas.exports import PointDevices
from service.schemas.logins import Me
from service.schemas.trials import Page
from sparsemod.errors import ServerUnavailable
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.targets import DeviceFit

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")
_FITS = TypeAdapter(tuple[PointDevices, ...])
_TRIAL_FITS = TypeAdapter(tuple[DeviceFit, ...])

FIRST_PAUSE_SECONDS = 0.1
LOOK_SECONDS = 0.5
"""Longest pause in seconds between two requests for an answer that is being computed."""

COMPUTING = 202
"""Status of an answer that is not ready yet."""


class ViewCalls:
    """Methods for graphs, importance, timelines, devices and the catalogue; the client supplies the private ones."""

    def _ask(self, model: type[M], method: str, path: str, **options: Any) -> M:
        raise NotImplementedError

    def _list(
        self, adapter: "TypeAdapter[tuple[T, ...]]", path: str, method: str = "GET", **sent: Any
    ) -> list[T]:
        raise NotImplementedError

    def _send(self, method: str, path: str) -> httpx2.Response:
        raise NotImplementedError

    def _pages(self, model: type[Page[T]], path: str, filters: Mapping[str, Any]) -> Iterator[T]:
        raise NotImplementedError

    def _parse(self, model: type[M], response: httpx2.Response) -> M:
        raise NotImplementedError

    def repetitions(self, experiment: int) -> list[RepetitionsView]:
        """The candidates that were completed more than once: mean and spread of what they measured."""
        return list(self._pages(Page[RepetitionsView], f"/experiments/{experiment}/repetitions", {}))

    def study(self, experiment: int) -> StudyView:
        """Return the curves, the damage and the prunability of a study."""
        return self._ask(StudyView, "GET", f"/experiments/{experiment}/study")

    def membership(self, experiment: int) -> list[FrontMemberView]:
        """The candidates that may be on the front, with means over their trials and their probabilities."""
        return list(self._pages(Page[FrontMemberView], f"/experiments/{experiment}/membership", {}))

    def check(self, spec: ExperimentSpec | Mapping[str, Any] | str) -> Checked:
        """Check a spec, its plain data, or YAML text;
        return the spec with its defaults. Raises the errors of `create_experiment`."""
        return self._ask(Checked, "POST", "/experiments/check", **spec_body(spec))

    def graph(self, experiment: int, index: int, patience: float = 120.0) -> TrialGraph:
        """Return a trial's network as deployed, operator by operator.
        Raises ServerUnavailable when it takes more than `patience` seconds."""
        return self._computed(TrialGraph, f"/experiments/{experiment}/trials/{index}/graph", patience)

    def importance(self, experiment: int, patience: float = 120.0) -> Importance:
        """Return each parameter's importance for each metric.
        Raises ServerUnavailable when the first answer takes more than `patience` seconds."""
        return self._computed(Importance, f"/experiments/{experiment}/importance", patience)

    def timeline(self, experiment: int, since: float = 0.0) -> Timeline:
        """Return which worker ran which trial when, as columns;
        only attempts that ran after `since`, in seconds since 1970."""
        return self._ask(Timeline, "GET", f"/experiments/{experiment}/timeline", query={"since": since})

    def device_fits(self, experiment: int) -> list[PointDevices]:
        """Compare every point of the Pareto front with every device of the server."""
        return self._list(_FITS, f"/pareto/{experiment}/devices")

    def trial_device_fits(self, experiment: int, index: int) -> list[DeviceFit]:
        """Compare a trial with every device of the server, by its measurements or else its costs before
        training; empty without either."""
        return self._list(_TRIAL_FITS, f"/experiments/{experiment}/trials/{index}/devices")

    def catalogue(self) -> Catalogue:
        """Return the families, datasets, devices and metrics that a spec may name on this server."""
        return self._ask(Catalogue, "GET", "/catalogue")

    def me(self) -> Me:
        """Return whether the server is open, and the login of this client's token."""
        return self._ask(Me, "GET", "/me")

    def _computed(self, model: type[M], path: str, patience: float) -> M:
        # A poll and no retry: nothing has failed, so nothing is logged.
        limit, pause = time.monotonic() + patience, FIRST_PAUSE_SECONDS
        while (response := self._send("GET", path)).status_code == COMPUTING:
            if time.monotonic() + pause > limit:
                raise ServerUnavailable(f"{path} is still being computed after {patience:g} s")
            time.sleep(pause)
            pause = min(2 * pause, LOOK_SECONDS)
        return self._parse(model, response)


def spec_body(spec: ExperimentSpec | Mapping[str, Any] | str) -> dict[str, Any]:
    """Return a spec as a request body: arguments of `_send`."""
    if isinstance(spec, str):
        return {"content": spec.encode(), "headers": {"content-type": "application/yaml"}}
    return {"body": {"spec": spec.to_dict() if isinstance(spec, ExperimentSpec) else dict(spec)}}
