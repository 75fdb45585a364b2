"""The command line: `sparsemod ...` and `worker ...`.

Every command imports what it needs when it runs, so that `sparsemod --help` loads neither torch nor Ax. An
error for the user is one line on stderr and exit code 2; `--debug` shows the traceback.
"""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from service.cli import (
    board,
    calibrate,
    catalogue,
    compress,
    counting,
    experiments,
    exporting,
    finalizing,
    fleet,
    local,
    lottery,
    maintenance,
    measuring,
    operating,
    results,
    retrying,
    serving,
    studying,
    summary,
    testing,
    token,
    tracing,
    webhook,
    workers,
)
from service.cli.common import AT_END, complain
from service.cli.output import degrade, describe, discard_output
from service.cli.usage import Program
from service.client.credentials import VARIABLE

NO_SERVER = "start a server with `sparsemod serve`, or name one with --server or SPARSEMOD_SERVER"

app = typer.Typer(
    name="sparsemod",
    cls=Program,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Search networks for a device's budget; get back a Pareto front of measured int8 networks.",
)

for group, title in (
    (local, "On this machine, without a server"),
    (testing, "On this machine, without a server"),
    (tracing, "On this machine, without a server"),
    (studying, "On this machine, without a server"),
    (compress, "On this machine, without a server"),
    (measuring, "On this machine, without a server"),
    (lottery, "On this machine, without a server"),
    (serving, "The service"),
    (workers, "The service"),
    (fleet, "The service"),
    (maintenance, "The service"),
    (operating, "The service"),
    (experiments, "Experiments"),
    (retrying, "Experiments"),
    (results, "Results"),
    (summary, "Results"),
    (exporting, "Results"),
    (finalizing, "Results"),
    (catalogue, "Catalogue"),
    (counting, "Catalogue"),
    (calibrate, "Devices"),
    (board, "Devices"),
):
    for name, function in group.COMMANDS.items():
        settings = {"allow_extra_args": False}
        app.command(name, rich_help_panel=title, context_settings=settings)(function)


app.add_typer(webhook.app, name="webhook", rich_help_panel="The service")
app.add_typer(token.app, name="token", rich_help_panel="The service")


@app.callback(invoke_without_command=True)
def options(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    token_text: Annotated[
        str, typer.Option("--token", help="Token for the server; SPARSEMOD_TOKEN is safer.")
    ] = "",
) -> None:
    """Search networks for a device's budget; get back a Pareto front of measured int8 networks."""
    if version:
        from sparsemod.version import __version__

        typer.echo(f"sparsemod {__version__}")
        raise typer.Exit


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `sparsemod`."""
    _guarded(app, "sparsemod", list(sys.argv[1:] if arguments is None else arguments))


def worker_main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `worker`, which equals `sparsemod worker`."""
    _guarded(app, "sparsemod", ["worker", *(sys.argv[1:] if arguments is None else arguments)])


def take_token(arguments: list[str]) -> list[str]:
    """Move `--token TEXT`, at any position, into the environment, for this process and its children.
    Raises InvalidInput."""
    from sparsemod.errors import InvalidInput

    rest: list[str] = []
    remaining = iter(arguments)
    for argument in remaining:
        name, equals, text = argument.partition("=")
        if name != "--token":
            rest.append(argument)
            continue
        secret = text if equals else next(remaining, "")
        if not secret:
            raise InvalidInput("--token", "", "followed by a token")
        os.environ[VARIABLE] = secret
    return rest


def _guarded(command: Callable[..., object], program: str, arguments: list[str]) -> None:
    """Run the command. Print one line for each of our errors and those of the operating system, with exit code 2."""
    from service.processes.supervised import become_supervised
    from sparsemod.errors import InvalidInput, NoAnswer, SparsemodError, shorten

    degrade()
    become_supervised()
    # A user's module, named in a spec or by --import, is usually beside the spec, in the current folder.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    debug = "--debug" in arguments or bool(os.environ.get("SPARSEMOD_DEBUG"))
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        arguments = take_token(arguments)
        _run(command, program, arguments)
    except SparsemodError as error:
        if debug:
            raise
        hint = f"; {NO_SERVER}" if isinstance(error, NoAnswer) else ""
        complain(f"{error}{hint}")
        for other in error.others if isinstance(error, InvalidInput) else ():
            complain(str(other))
        sys.exit(2)
    except KeyboardInterrupt:
        if debug:
            raise
        sys.exit(130)
    except BrokenPipeError:
        # `sparsemod trials | head`: the reader closed the pipe.
        discard_output()
        sys.exit(0)
    except OSError as error:
        if debug:
            raise
        discard_output()
        complain(describe(error))
        sys.exit(2)
    except UnicodeEncodeError as error:
        # A file name; on standard output, unencodable characters are replaced.
        if debug:
            raise
        text = shorten(error.object)
        complain(f"cannot write {text} in this locale's encoding, {error.encoding}; a UTF-8 locale can")
        sys.exit(2)
    finally:
        AT_END.close()


def _run(command: Callable[..., object], program: str, arguments: list[str]) -> None:
    try:
        command(args=arguments, prog_name=program)
    except SystemExit:
        # typer ends every command this way. Flush now: a full disk behind `> FILE` must fail here, not at exit.
        sys.stdout.flush()
        raise
