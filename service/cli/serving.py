"""`sparsemod serve`, `suggester`, `worker`, `demo`: the parts of the service, separately or together."""

import contextlib
import gc
import os
import re
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.common import (
    DEFAULT_SERVER,
    ImportOption,
    ServerOption,
    import_modules,
    require_folder,
)
from service.cli.health import health
from service.cli.logs import LogFormat, LogFormatOption, configure_logs

if TYPE_CHECKING:
    from service.settings import Settings
    from service.store import Store

DataOption = Annotated[
    Path,
    typer.Option("--data-dir", help="Folder of the database and the artifacts.", envvar="SPARSEMOD_DATA_DIR"),
]
DatabaseOption = Annotated[
    str,
    typer.Option(
        "--database",
        help="Database URL. Default: an SQLite file in the data folder.",
        envvar="SPARSEMOD_DATABASE_URL",
        metavar="URL",
    ),
]
DEFAULT_DATA = Path("sparsemod-data")


def default_workers() -> int:
    """Return the number of cores that this process may use, at most eight."""
    return min(8, len(os.sched_getaffinity(0)))


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0: a free one.", min=0, max=65535)] = 8080,
    data_dir: DataOption = DEFAULT_DATA,
    database: DatabaseOption = "",
    workers: Annotated[
        int | None, typer.Option(help="Local CPU workers. Default: one per core.", min=0)
    ] = None,
    only_server: Annotated[
        bool, typer.Option("--only-server", help="Start only the HTTP API, without suggester and workers.")
    ] = False,
    root_path: Annotated[
        str,
        typer.Option(
            help="Path prefix of a reverse proxy; the proxy removes it from requests.",
            metavar="/PATH",
            envvar="SPARSEMOD_ROOT_PATH",
        ),
    ] = "",
    imports: ImportOption = None,
    log_format: LogFormatOption = LogFormat.TEXT,
) -> None:
    """Run the server, with a suggester and local workers. Ctrl-C stops them in order."""
    import structlog

    from service import telemetry
    from service.cli.embedded import local_url, programs
    from service.processes.supervisor import require_free_port
    from service.settings import is_local
    from service.store import open_patiently, open_store
    from sparsemod.errors import InvalidInput, ServerUnavailable

    import_modules(imports)
    configure_logs(log_format)
    telemetry.require()
    log = structlog.get_logger("supervisor")
    if re.fullmatch(r"(/[A-Za-z0-9._~-]+)*", root_path) is None:
        raise InvalidInput("--root-path", root_path, "a path such as /sparsemod, without a trailing slash")
    config = settings(data_dir, database)
    port = require_free_port(host, port)
    require_folder(data_dir, "--data-dir")
    stop = StopRequest()
    store = open_patiently(config, lambda: stop.requested)
    if store is None:
        return
    if not is_local(host):
        config.check_host(host, store.closed())
    if only_server:
        _serve_here(host, port, config, store, root_path)
        return
    from service.processes.supervisor import Supervisor, wait_until_ready
    from service.schemas.logins import Scope

    url = local_url(host, port)
    count = default_workers() if workers is None else workers
    name = f"workers of {socket.gethostname()}:{port}"
    with contextlib.closing(store):
        # Create the token even when the server is open: logins may follow. It does not count as the first token.
        store.forget_internal(name)
        token, _ = store.create_token(name, [Scope.WORKER], internal=True)
    supervisor = Supervisor(programs(host, port, data_dir, database, count, token=token, root_path=root_path))
    supervisor.start()
    try:
        while not stop.requested:
            try:
                wait_until_ready(url, supervisor, 5.0)
                break
            except ServerUnavailable as error:
                log.warning("the server is not ready yet", reason=str(error))
        if stop.requested:
            return
        plural = "worker" if count == 1 else "workers"
        typer.echo(
            f"sparsemod serves {url} with {count} {plural}, data in {data_dir.resolve()}. Ctrl-C stops it.",
            err=True,
        )
        while not stop.requested:
            supervisor.tend()
            time.sleep(0.2)
    finally:
        supervisor.stop()
        try:
            with contextlib.closing(open_store(config)) as store:
                store.forget_internal(name)
        except ServerUnavailable as error:
            log.warning("the token of the local workers stays valid until it is revoked", reason=str(error))


def settings(data_dir: Path, database: str) -> "Settings":
    """Return the service's settings from the command line, or else the environment.
    Raises InvalidInput for an unwritable data folder."""
    from service.settings import Settings

    require_folder(data_dir, "--data-dir")

    arguments: dict[str, Any] = {"data_dir": data_dir, "database_url": database}
    return Settings(**arguments)


def _serve_here(host: str, port: int, config: "Settings", store: "Store", root_path: str) -> None:
    """Run the HTTP server in this process, with an open store."""
    import structlog
    import uvicorn
    from sqlalchemy import make_url

    from service import telemetry
    from service.cli.embedded import local_url
    from service.http.app import create_app
    from service.http.connections import MOST_CONNECTIONS, TimedProtocol
    from sparsemod.importing.places import offer

    offer(config.artifacts_dir)
    telemetry.start("server")
    application = create_app(config, store=store)
    log = structlog.get_logger("server")
    log.info(
        "listening",
        url=local_url(host, port),
        database=make_url(config.url).render_as_string(hide_password=True),
    )

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: Any) -> None:
            application.state.feed.end()  # the server waits for streams, which do not end by themselves
            super().handle_exit(sig, frame)

    uvicorn_config = uvicorn.Config(
        application, host=host, port=port, log_level="warning", access_log=False, timeout_graceful_shutdown=5,
        root_path=root_path, http=TimedProtocol, limit_concurrency=MOST_CONNECTIONS,
    )  # fmt: skip
    server = Server(uvicorn_config)

    def end(number: int, frame: Any) -> None:
        server.should_exit = True

    # uvicorn raises the received signal again after its shutdown, which would make an orderly end look like a kill.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    # What was imported stays: a collection of garbage that looked at it would hold up all requests.
    gc.collect()
    gc.freeze()
    with contextlib.closing(store):
        server.run()


class StopRequest:
    """Turns SIGTERM and SIGINT into a flag."""

    def __init__(self) -> None:
        self.requested = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: Any) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


def suggester(
    data_dir: DataOption = DEFAULT_DATA,
    database: DatabaseOption = "",
    name: Annotated[str, typer.Option(help="Holder of its leases. Default: host and process id.")] = "",
    ahead: Annotated[
        int, typer.Option(help="Trials to keep queued; 0: the number of the workers' slots.", min=0)
    ] = 0,
    imports: ImportOption = None,
    log_format: LogFormatOption = LogFormat.TEXT,
) -> None:
    """Keep trials queued for the workers. The suggester needs the database, but not the server."""
    import_modules(imports)
    configure_logs(log_format)
    from service import telemetry
    from service.suggester.suggester import run_suggester

    telemetry.start("suggester")
    run_suggester(settings(data_dir, database), holder=name, ahead=ahead)


def worker(
    server: ServerOption = DEFAULT_SERVER,
    gpu: Annotated[
        int | None, typer.Option("--gpu", help="Use this CUDA device.", metavar="N", min=0)
    ] = None,
    cpu: Annotated[bool, typer.Option("--cpu", help="Use the CPU (the default).")] = False,
    slots: Annotated[int, typer.Option(help="Number of trials at the same time.", min=1, max=256)] = 1,
    name: Annotated[str, typer.Option(help="Name in lists. Default: host and process id.")] = "",
    once: Annotated[bool, typer.Option("--once", help="End after one trial.")] = False,
    until_idle: Annotated[
        float | None,
        typer.Option(help="End after this time without work.", metavar="SECONDS", min=0),
    ] = None,
    drain: Annotated[
        float,
        typer.Option(
            help="How long trials may continue after SIGTERM before the worker returns them.",
            metavar="SECONDS",
            min=0,
        ),
    ] = 600.0,
    threads: Annotated[int, typer.Option(help="CPU threads of one trial.", min=1)] = 1,
    imports: ImportOption = None,
    log_format: LogFormatOption = LogFormat.TEXT,
) -> None:
    """Evaluate trials of a server. After SIGTERM or Ctrl-C, finish the current ones;
    after a second signal, return them."""
    from service import telemetry
    from service.worker.trial_process import PRELOADED
    from service.worker.worker import WorkerSettings, run_worker
    from sparsemod.errors import InvalidInput

    if gpu is not None and cpu:
        raise InvalidInput("--gpu", gpu, "not together with --cpu")
    if not server.startswith(("http://", "https://")):
        raise InvalidInput("--server", server, f"an address such as {DEFAULT_SERVER}")
    modules = import_modules(imports)
    configure_logs(log_format)
    telemetry.start("worker")
    settings = WorkerSettings(
        name=name,
        gpu=gpu,
        slots=slots,
        once=once,
        until_idle=until_idle,
        drain_seconds=drain,
        threads=threads,
        preload=(*PRELOADED, *modules),
    )
    run_worker(server, settings)


def demo(
    directory: Annotated[
        Path | None,
        typer.Option(
            "--dir",
            help="Folder of data and results. Default: sparsemod-demo, or sparsemod-demo-2, ... while another demo runs.",
        ),
    ] = None,
    port: Annotated[int, typer.Option(help="Port; 0: a free one.", min=0, max=65535)] = 0,
    workers: Annotated[
        int | None, typer.Option(help="Local CPU workers. Default: one per core.", min=1)
    ] = None,
    keep_serving: Annotated[
        bool | None,
        typer.Option("--serve/--no-serve", help="Keep serving afterwards. Default: only in a terminal."),
    ] = None,
    record: Annotated[
        Path | None, typer.Option(help="Also write the output as an SVG.", metavar="FILE.svg")
    ] = None,
) -> None:
    """Run a real search in a few minutes: digits, a small CNN space, a budget of flash and RAM, all three rounds."""
    from service.cli.demo import run_demo

    stay = sys.stdout.isatty() if keep_serving is None else keep_serving
    run_demo(directory, port, default_workers() if workers is None else workers, stay=stay, record=record)


COMMANDS = {"serve": serve, "suggester": suggester, "worker": worker, "health": health, "demo": demo}
