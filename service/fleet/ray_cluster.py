"""Workers on a Ray cluster: connection, nodes, and one actor for each worker."""

import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.fleet.placement import Phase, Report
from service.fleet.ray_actor import WorkerActor
from service.fleet.resources import Free, Need, Node
from sparsemod.errors import InvalidInput, ServerUnavailable, ToolsMissing, UnknownName

LOOK_SECONDS = 1.0
"""Pause between two looks at a running worker, and at the cluster's nodes."""

ANSWER_SECONDS = 5.0
"""Seconds to wait for an answer of HOST:PORT."""

ADDRESSES = "auto, local, or HOST:PORT of a Ray cluster that this machine belongs to"

LEAST_OBJECT_STORE = 80 * 1024**2
"""Bytes of Ray's object store on a local cluster. Workers put nothing into it; Ray allows no less than 75 MB."""


def import_ray() -> Any:
    """Return the module `ray`. Raises ToolsMissing without the extra."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise ToolsMissing("a fleet needs the package ray: pip install 'sparsemod[ray]'") from None
    return ray


@dataclass(frozen=True)
class WorkerProgram:
    """What an actor starts: the options of `sparsemod worker`, and the token for the server."""

    options: tuple[str, ...]
    token: str = ""


class RayCluster:
    """A connection to Ray. Call `close` at the end; that ends a local cluster.

    `address`: "local" starts a cluster on this machine, "auto" and "HOST:PORT" use one that this machine belongs
    to. Raises InvalidInput for an address without a cluster or a runtime environment that Ray refuses,
    ToolsMissing without Ray.
    """

    def __init__(
        self, address: str, need: Need, program: WorkerProgram, runtime_env: Mapping[str, Any] | None = None
    ) -> None:
        self._ray = ray = import_ray()
        self._need, self._program = need, program
        self._looked = -LOOK_SECONDS
        self._nodes: list[Node] = []
        self._free = Free(0.0, 0.0)
        check_address(address)
        environment = checked_environment(runtime_env)
        local: dict[str, Any] = (
            {"include_dashboard": False, "object_store_memory": LEAST_OBJECT_STORE}
            if address == "local"
            else {}
        )
        try:
            ray.init(address=address, runtime_env=environment, logging_level="warning", **local)
        except (ConnectionError, TimeoutError, RuntimeError, ValueError, OSError) as error:
            allowed = (
                f"auto, local, or HOST:PORT of a Ray cluster that this machine belongs to ({_first(error)})"
            )
            raise InvalidInput("--address", address, allowed) from error
        self._actor = ray.remote(WorkerActor)

    def nodes(self) -> Sequence[Node]:
        """Return the nodes that are alive."""
        self._look()
        return self._nodes

    def free(self) -> Free:
        """Return what no actor or task of the cluster reserves."""
        self._look()
        return self._free

    def other_machines(self) -> list[str]:
        """Return the addresses of nodes that are not this machine."""
        here = self._ray.util.get_node_ip_address()
        return sorted({node.address for node in self.nodes()} - {here, "127.0.0.1"})

    def place(self, name: str) -> "RayWorker":
        """Request a place for a worker. Ray chooses the node, and starts the actor when there is room."""
        options = {
            "num_cpus": self._need.cpus,
            "num_gpus": self._need.gpus,
            "max_restarts": 0,
            "scheduling_strategy": "SPREAD",
        }
        actor = self._actor.options(**options).remote(
            name, self._program.options, self._program.token, self._need.gpus > 0
        )
        return RayWorker(self._ray, actor)

    def close(self) -> None:
        """Disconnect. A local cluster ends."""
        self._ray.shutdown()

    def _look(self) -> None:
        """Ask Ray for its nodes, at most once in LOOK_SECONDS. Raises ServerUnavailable."""
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        try:
            found, free = self._ray.nodes(), self._ray.available_resources()
        except (self._ray.exceptions.RayError, ConnectionError, RuntimeError) as error:
            raise ServerUnavailable(f"the Ray cluster does not answer: {_first(error)}") from error
        self._looked = now
        self._nodes = [
            Node(
                name=str(one["NodeID"])[:8],
                address=str(one["NodeManagerAddress"]),
                cpus=float(one["Resources"].get("CPU", 0)),
                gpus=float(one["Resources"].get("GPU", 0)),
            )
            for one in found
            if one["Alive"]
        ]
        self._free = Free(float(free.get("CPU", 0)), float(free.get("GPU", 0)))


class RayWorker:
    """One worker in an actor. Its child process starts only after Ray has placed the actor."""

    def __init__(self, ray: Any, actor: Any) -> None:
        self._ray, self._actor = ray, actor
        self._ready = actor.__ray_ready__.remote()
        self._spawned: Any = None
        self._answer: Any = None
        self._looked = 0.0
        self._report = Report(Phase.PENDING)

    def report(self) -> Report:
        """Return the state as last seen. An ended worker stays ended."""
        if self._report.phase is Phase.ENDED:
            return self._report
        try:
            self._follow()
        except self._ray.exceptions.RayError as error:
            self._report = Report(Phase.ENDED, _first(error))
        return self._report

    def drain(self) -> None:
        """Send SIGTERM to the worker. Without a place, cancel the request for one."""
        if self._spawned is None:
            self.kill()
        else:
            self._call(self._actor.end.remote)

    def release(self) -> None:
        """Send SIGTERM again."""
        self.drain()

    def kill(self) -> None:
        """End the actor; the worker ends with it."""
        self._call(lambda: self._ray.kill(self._actor, no_restart=True))
        if self._report.phase is not Phase.ENDED:
            self._report = Report(Phase.ENDED, "killed")

    def _call(self, function: Callable[[], object]) -> None:
        with contextlib.suppress(self._ray.exceptions.RayError):  # the actor is gone, as `report` will say
            function()

    def _follow(self) -> None:
        """Go on with the start of the worker, or ask whether it still runs. Raises RayError."""
        if self._spawned is None:
            if not self._done(self._ready):
                return
            self._ray.get(self._ready)
            self._spawned = self._actor.spawn.remote()
        if self._report.phase is Phase.PENDING:
            if not self._done(self._spawned):
                return
            self._report = Report(Phase.RUNNING, self._ray.get(self._spawned))
        if self._answer is None and time.monotonic() - self._looked >= LOOK_SECONDS:
            self._answer, self._looked = self._actor.look.remote(), time.monotonic()
        if self._answer is not None and self._done(self._answer):
            found, self._answer = self._ray.get(self._answer), None
            if found["code"] is not None:
                said = f": {found['line']}" if found["line"] else ""
                self._report = Report(Phase.ENDED, f"ended with status {found['code']}{said}")

    def _done(self, reference: Any) -> bool:
        ready, _ = self._ray.wait([reference], timeout=0)
        return bool(ready)


def check_address(address: str) -> None:
    """Raise InvalidInput for an address of a wrong form, or one that does not answer: Ray would wait for minutes."""
    if address in ("auto", "local"):
        return
    host, colon, port = address.rpartition(":")
    if not colon or not host or "/" in host or not port.isdecimal():
        raise InvalidInput("--address", address, ADDRESSES)
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_SECONDS):
            pass
    except (OSError, OverflowError) as error:
        raise InvalidInput("--address", address, f"{ADDRESSES}; nothing answers there ({error})") from error


def checked_environment(runtime_env: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return a runtime environment that Ray accepts. Raises InvalidInput, ToolsMissing."""
    import_ray()
    from ray.runtime_env import RuntimeEnv

    if runtime_env is None:
        return None
    known = set(RuntimeEnv.known_fields)
    for name in runtime_env:
        # Ray takes other keys for those of plug-ins, which such a variable names, and ignores what no plug-in reads.
        if name not in known and not os.environ.get("RAY_RUNTIME_ENV_PLUGINS"):
            raise UnknownName("--runtime-env", name, known)
    try:
        RuntimeEnv(**runtime_env)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise InvalidInput(
            "--runtime-env", dict(runtime_env), f"a runtime_env of Ray ({_first(error)})"
        ) from error
    return dict(runtime_env)


def _first(error: BaseException) -> str:
    """Return the telling line of one of Ray's errors: the last one of a traceback, else the first one."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return lines[-1] if "Traceback" in str(error) or lines[0].endswith("remote call:") else lines[0]
