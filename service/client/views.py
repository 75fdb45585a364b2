"""The client's part about what the server computes and knows: what the dashboard shows, for programs."""

from collections.abc import Mapping
from typing import Any, TypeVar

import httpx2
import stamina
from pydantic import BaseModel, TypeAdapter

from service.schemas.dashboard import Catalogue, Checked, Importance, Timeline, TrialGraph
from service.schemas.exports import PointDevices
from service.schemas.logins import Me
from sparsemod.errors import ServerUnavailable
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.targets import DeviceFit

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")
_FITS = TypeAdapter(tuple[PointDevices, ...])
_TRIAL_FITS = TypeAdapter(tuple[DeviceFit, ...])

LOOK_SECONDS = 0.5
"""Longest pause between two questions for something that is being computed."""

COMPUTING = 202
"""Status of an answer that says: not yet."""


class ViewCalls:
    """Graphs, importance, timelines, devices and what a spec may name, for a client that sends."""

    def _ask(self, model: type[M], method: str, path: str, **options: Any) -> M:
        raise NotImplementedError

    def _list(
        self, adapter: "TypeAdapter[tuple[T, ...]]", path: str, method: str = "GET", **sent: Any
    ) -> list[T]:
        raise NotImplementedError

    def _send(self, method: str, path: str) -> httpx2.Response:
        raise NotImplementedError

    def _parse(self, model: type[M], response: httpx2.Response) -> M:
        raise NotImplementedError

    def check(self, spec: ExperimentSpec | Mapping[str, Any] | str) -> Checked:
        """Whether the server would take a spec, its plain data, or YAML text: the spec with its defaults. Raises what `create_experiment` does."""
        return self._ask(Checked, "POST", "/experiments/check", **spec_body(spec))

    def graph(self, experiment: int, index: int, patience: float = 120.0) -> TrialGraph:
        """A trial's network as deployed, operator by operator. Waits up to `patience` seconds while it is computed, then ServerUnavailable."""
        return self._computed(TrialGraph, f"/experiments/{experiment}/trials/{index}/graph", patience)

    def importance(self, experiment: int, patience: float = 120.0) -> Importance:
        """How much each parameter matters to each metric. Waits up to `patience` seconds for the first answer, then ServerUnavailable."""
        return self._computed(Importance, f"/experiments/{experiment}/importance", patience)

    def timeline(self, experiment: int, since: float = 0.0) -> Timeline:
        """Which worker had which trial when, as columns; only attempts that ran after `since`, seconds since 1970."""
        return self._ask(Timeline, "GET", f"/experiments/{experiment}/timeline", query={"since": since})

    def device_fits(self, experiment: int) -> list[PointDevices]:
        """Every point of the Pareto front beside every device of the server."""
        return self._list(_FITS, f"/pareto/{experiment}/devices")

    def trial_device_fits(self, experiment: int, index: int) -> list[DeviceFit]:
        """One trial beside every device of the server: as measured, else by its costs before training; empty where nothing is known."""
        return self._list(_TRIAL_FITS, f"/experiments/{experiment}/trials/{index}/devices")

    def catalogue(self) -> Catalogue:
        """Families, datasets, devices and metrics that a spec may name on this server."""
        return self._ask(Catalogue, "GET", "/catalogue")

    def me(self) -> Me:
        """Whether the server is open, and whose token this client shows."""
        return self._ask(Me, "GET", "/me")

    def _computed(self, model: type[M], path: str, patience: float) -> M:
        try:
            for attempt in stamina.retry_context(
                on=_NotYet,
                attempts=None,
                timeout=patience,
                wait_initial=0.1,
                wait_max=LOOK_SECONDS,
                wait_jitter=0.1,
            ):
                with attempt:
                    response = self._send("GET", path)
                    if response.status_code == COMPUTING:
                        raise _NotYet
        except _NotYet:
            raise ServerUnavailable(f"{path} is still being computed after {patience:g} s") from None
        return self._parse(model, response)


class _NotYet(Exception):
    """What was asked for is being computed."""


def spec_body(spec: ExperimentSpec | Mapping[str, Any] | str) -> dict[str, Any]:
    """A spec as the body of a request: what `_send` takes."""
    if isinstance(spec, str):
        return {"content": spec.encode(), "headers": {"content-type": "application/yaml"}}
    return {"body": {"spec": spec.to_dict() if isinstance(spec, ExperimentSpec) else dict(spec)}}
