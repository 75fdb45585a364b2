"""What the commands share: options, the server's address, which experiment is meant, and how things are shown."""

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
        help="Id or name of an experiment (`name:1` for one that is called 1); the newest one when left out.",
        metavar="[EXPERIMENT]",
    ),
]
ImportOption = Annotated[
    list[str] | None,
    typer.Option(
        "--import",
        help="Module that registers families or datasets of your own; may be given several times.",
        metavar="MODULE",
    ),
]

AT_END = contextlib.ExitStack()
"""What is closed when the command is over."""

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
    """A console that folds nothing when its output is read by a program."""
    from rich.console import Console

    wide = None if (sys.stderr if stderr else sys.stdout).isatty() else 160
    return Console(stderr=stderr, width=wide, highlight=False, soft_wrap=False)


def complain(text: str) -> None:
    """One line on stderr that says what is wrong."""
    from rich.text import Text

    line = Text("error ", style="bold red")
    line.append(text, style="not bold default")
    with contextlib.suppress(OSError):  # a full disk behind `2> FILE`: the exit code still says it
        console(stderr=True).print(line, soft_wrap=True)


def counted(number: int, noun: str) -> str:
    """`1 point`, `2 points`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def import_modules(modules: Iterable[str] | None) -> tuple[str, ...]:
    """Import the user's modules here, and in every command that this one starts; their names. Raises InvalidInput for one that is not there."""
    import importlib

    from sparsemod.errors import InvalidInput, SparsemodError
    from sparsemod.registry import summarize_error

    known = [name for name in os.environ.get(IMPORTS_VARIABLE, "").split(",") if name]
    names = list(dict.fromkeys([*known, *(modules or ())]))
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
    return tuple(names)


def connect(url: str, timeout: float = 30.0) -> "Client":
    """A client of the server at `url`. Raises InvalidInput for something that is no address."""
    from service.client.client import Client
    from sparsemod.errors import InvalidInput

    if not url.startswith(("http://", "https://")):
        raise InvalidInput("--server", url, f"an address such as {DEFAULT_SERVER}")
    quiet_retries()
    return AT_END.enter_context(Client(url, timeout))


def quiet_retries() -> None:
    """Have the client repeat requests without a line for each: what matters is said by whoever gives up."""
    import stamina.instrumentation

    stamina.instrumentation.set_on_retry_hooks([])


def parse_parameters(pairs: Iterable[str]) -> dict[str, int | float | str | bool]:
    """`name=value` pairs as a mapping; values are read as spec files read them. Raises InvalidInput."""
    from sparsemod.errors import InvalidInput
    from sparsemod.spec.files import scalar

    found: dict[str, int | float | str | bool] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not name or not equals:
            raise InvalidInput("parameter", pair, "NAME=VALUE, with a number, a word, true or false")
        found[name] = scalar(text, name)
    return found


def duration(seconds: float) -> str:
    """Seconds as people say them."""
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
    """`path`, made if need be. Raises InvalidInput when it cannot be a folder that we write to."""
    from sparsemod.errors import InvalidInput

    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(option, str(path), f"a folder that can be written ({error.strerror})") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise InvalidInput(option, str(path), f"a folder that can be written ({os.strerror(errno.EACCES)})")
    return path
