"""`sparsemod fleet`: workers on a Ray cluster."""

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.common import DEFAULT_SERVER, ImportOption, ServerOption, module_names
from service.cli.logs import LogFormat, LogFormatOption, configure_logs

if TYPE_CHECKING:
    from service.fleet.placement import Cluster
    from service.fleet.resources import Need
    from service.fleet.scaling import Bounds


def fleet(
    address: Annotated[
        str,
        typer.Option(
            help="`auto`: the Ray cluster of this machine; `local`: start one on this machine; or HOST:PORT.",
            metavar="ADDRESS",
        ),
    ] = "auto",
    workers: Annotated[
        int | None, typer.Option(help="Number of workers; with --max, their number at the start.")
    ] = None,
    lowest: Annotated[
        int | None, typer.Option("--min", help="Least workers when the number follows the queue. Default: 0.")
    ] = None,
    highest: Annotated[int | None, typer.Option("--max", help="Most workers: follow the queue.")] = None,
    cpus: Annotated[float, typer.Option("--cpus-per-worker", help="CPUs of one worker.")] = 1.0,
    gpus: Annotated[
        float,
        typer.Option("--gpus-per-worker", help="GPU of one worker: 0, a part such as 0.5, or 1."),
    ] = 0.0,
    runtime_env: Annotated[
        str,
        typer.Option(
            help="Ray's runtime_env for your own modules and packages: a YAML or JSON file, or JSON text.",
            metavar="FILE|JSON",
        ),
    ] = "",
    autoscaler: Annotated[
        bool,
        typer.Option("--autoscaler", help="The cluster adds nodes: wait for resources that no node has yet."),
    ] = False,
    until_idle: Annotated[
        float | None,
        typer.Option(help="End after this time without queued and running trials.", metavar="SECONDS", min=0),
    ] = None,
    drain: Annotated[
        float,
        typer.Option(
            help="How long trials may continue after a stop before a worker returns them.",
            metavar="SECONDS",
            min=0,
        ),
    ] = 600.0,
    name: Annotated[
        str, typer.Option(help="Start of the workers' names. Default: host and process id.")
    ] = "",
    server: ServerOption = DEFAULT_SERVER,
    imports: ImportOption = None,
    log_format: LogFormatOption = LogFormat.TEXT,
) -> None:
    """Run workers on a Ray cluster, replace those that die, and follow the queue.
    After SIGTERM or Ctrl-C, they finish their trials; after a second signal, they return them."""
    import contextlib
    import socket
    from functools import partial

    from service.cli.common import connect
    from service.client.credentials import token_text
    from service.fleet.fleet import Fleet
    from service.fleet.queue_reader import read_queue
    from service.fleet.ray_cluster import RayCluster, WorkerProgram, import_ray
    from service.fleet.resources import Need
    from service.fleet.scaling import Bounds, Scaling

    bounds, need = Bounds.of(workers, lowest, highest), Need(cpus, gpus)
    environment = read_runtime_env(runtime_env) if runtime_env else None
    import_ray()
    configure_logs(log_format)
    # One attempt and a short wait: the fleet asks again, and looks after its workers meanwhile.
    client = connect(server, timeout=10.0, attempts=1)
    label = name or f"{socket.gethostname()}-{os.getpid()}"
    program = WorkerProgram(worker_options(server, need, drain, imports, log_format), token_text())
    cluster = RayCluster(address, need, program, environment)
    with contextlib.closing(cluster):
        stop = StopSignals()  # after Ray, which sets a handler of its own
        check_cluster(cluster, need, bounds, server, autoscaler)
        asks = not bounds.fixed or until_idle is not None
        queue = partial(read_queue, client) if asks else None
        Fleet(cluster, Scaling(bounds), need, label, queue, until_idle).run(stop.count)


def worker_options(
    server: str, need: "Need", drain: float, imports: list[str] | None, log_format: LogFormat
) -> tuple[str, ...]:
    """Return the options of each `sparsemod worker`, besides its name and its device."""
    threads = max(1, int(need.cpus))
    words = ["--server", server, "--drain", f"{drain:g}", "--threads", str(threads)]
    words += ["--log-format", log_format.value]
    # This process does not import the modules: the nodes may have them, and this machine need not.
    return (*words, *(word for module in module_names(imports) for word in ("--import", module)))


def check_cluster(cluster: "Cluster", need: "Need", bounds: "Bounds", server: str, autoscaler: bool) -> None:
    """Raise InvalidInput for what the cluster can never satisfy; log what it cannot satisfy now."""
    import structlog

    from service.fleet.resources import check_possible, places
    from service.settings import is_local
    from sparsemod.errors import InvalidInput

    others = cluster.other_machines()
    if others and is_local(host_of(server)):
        allowed = f"an address that the cluster's other machines can reach, such as {others[0]}"
        raise InvalidInput("--server", server, allowed)
    if autoscaler:
        return
    nodes = cluster.nodes()
    check_possible(need, nodes)
    room = places(need, nodes)
    if bounds.highest > room:
        structlog.get_logger("fleet").warning(
            "the cluster is too small for all workers", room=room, most=bounds.highest, each=str(need)
        )


def host_of(url: str) -> str:
    """Return the host of a URL."""
    from urllib.parse import urlsplit

    return urlsplit(url).hostname or ""


def read_runtime_env(given: str) -> dict[str, Any]:
    """Return the runtime environment that --runtime-env gives. Raises InvalidInput."""
    from sparsemod.errors import InvalidInput
    from sparsemod.yaml_text import parse_yaml

    if given.lstrip().startswith("{"):
        return parse_yaml(given, "--runtime-env")[0]
    try:
        text = Path(given).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput("--runtime-env", given, f"a file, or a JSON object ({error})") from error
    return parse_yaml(text, given)[0]


class StopSignals:
    """Counts SIGTERM and SIGINT."""

    def __init__(self) -> None:
        self._count = 0
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def count(self) -> int:
        """Return the number of signals so far."""
        return self._count

    def _on_signal(self, number: int, frame: Any) -> None:
        self._count += 1


COMMANDS = {"fleet": fleet}
