"""Shared parts of the commands: options, the server's address, choosing an experiment, formatting."""

import contextlib
import errno
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from service.client.client import Client

DEFAULT_SERVER = "http://127.0.0.1:8080"

ServerOption = Annotated[
    str, typer.Option("--server", envvar="SPARSEMOD_SERVER", help="Address of the server.", metavar="URL")
]
ExperimentArgument = Annotated[
    str,
    typer.Argument(
        help="Id or name of an experiment (`name:1` for an experiment with the name 1). Default: the newest one.",
        metavar="[EXPERIMENT]",
    ),
]
ImportOption = Annotated[
    list[str] | None,
    typer.Option(
        "--import",
        help="Module that registers your families or datasets; repeatable.",
        metavar="MODULE",
    ),
]

AT_END = contextlib.ExitStack()
"""Resources to close when the command ends."""

DeviceOption = Annotated[
    str | None,
    typer.Option(
        help="torch device for training: cpu, cuda, cuda:1. Default: `cuda_n` of a config.cfg where torch has that device, else cpu.",
    ),
]

IMPORTS_VARIABLE = "SPARSEMOD_IMPORTS"
"""Environment variable through which --import reaches child processes: module names, separated by commas."""

STATE_STYLES = {
    "running": "cyan",
    "done": "green",
    "completed": "green",
    "queued": "dim",
    "infeasible": "dim",
    "stopped": "yellow",
    "failed": "red",
}


def console(*, stderr: bool = False) -> "Console":
    """Return a console; its lines are 160 characters wide when the output is not a terminal."""
    from rich.console import Console

    wide = None if (sys.stderr if stderr else sys.stdout).isatty() else 160
    return Console(stderr=stderr, width=wide, highlight=False, soft_wrap=False)


def complain(text: str) -> None:
    """Print an error as one line on stderr."""
    from rich.text import Text

    line = Text("error ", style="bold red")
    line.append(text, style="not bold default")
    with contextlib.suppress(OSError):  # a full disk behind `2> FILE`: the exit code still reports the error
        console(stderr=True).print(line, soft_wrap=True)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 point`, `2 points`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def module_names(modules: Iterable[str] | None) -> tuple[str, ...]:
    """Return the user's modules: those of the environment, then those of --import."""
    from_environment = [name for name in os.environ.get(IMPORTS_VARIABLE, "").split(",") if name]
    return tuple(dict.fromkeys([*from_environment, *(modules or ())]))


def import_modules(modules: Iterable[str] | None) -> tuple[str, ...]:
    """Import the user's modules here and in every command that this one starts;
    return their names. Raises InvalidInput when an import fails."""
    import importlib

    from sparsemod.errors import InvalidInput, SparsemodError
    from sparsemod.registry import summarize_error

    names = module_names(modules)
    for name in names:
        try:
            importlib.import_module(name)
        except SparsemodError:
            raise
        except Exception as error:  # the module's own code
            absent = isinstance(error, ModuleNotFoundError) and error.name in (name, name.split(".")[0])
            why = f" from {os.getcwd()}" if absent else f"; it raised {summarize_error(error)}"
            raise InvalidInput("--import", name, f"a module that can be imported{why}") from error
    if names:
        os.environ[IMPORTS_VARIABLE] = ",".join(names)
    return names


def connect(url: str, timeout: float = 30.0, attempts: int | None = None) -> "Client":
    """Return a client of the server at `url`. It sends a request `attempts` times until the server counts as
    unavailable. Raises InvalidInput unless `url` is an HTTP address."""
    from service.client.client import ATTEMPTS, Client
    from sparsemod.errors import InvalidInput

    if not url.startswith(("http://", "https://")):
        raise InvalidInput("--server", url, f"an address such as {DEFAULT_SERVER}")
    quiet_retries()
    return AT_END.enter_context(Client(url, timeout, attempts=attempts or ATTEMPTS))


def quiet_retries() -> None:
    """Make the client's retries silent: the caller reports the final failure."""
    import stamina.instrumentation

    stamina.instrumentation.set_on_retry_hooks([])


def parse_parameters(pairs: Iterable[str]) -> dict[str, int | float | str | bool]:
    """Parse `name=value` pairs; values follow the rules of spec files. Raises InvalidInput."""
    from sparsemod.errors import InvalidInput
    from sparsemod.spec.files import scalar

    values: dict[str, int | float | str | bool] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not name or not equals:
            raise InvalidInput("parameter", pair, "NAME=VALUE, with a number, a word, true or false")
        values[name] = scalar(text, name)
    return values


def duration(seconds: float) -> str:
    """Return seconds in readable units."""
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 90:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def metric_text(name: str, value: float | None) -> str:
    """A metric's value with its unit."""
    from sparsemod.units import show_value

    return "-" if value is None else show_value(name, value)


def require_folder(path: Path, option: str) -> Path:
    """Return `path` after creating it if needed. Raises InvalidInput when it is not a writable folder."""
    from sparsemod.errors import InvalidInput

    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(option, str(path), f"a folder that can be written ({error.strerror})") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise InvalidInput(option, str(path), f"a folder that can be written ({os.strerror(errno.EACCES)})")
    return path
