"""Errors of the command line: they name the option, show its value and say what is allowed."""

import contextlib
from collections.abc import Iterator
from typing import Any

import typer
from typer.core import TyperGroup


class Program(TyperGroup):
    """The group of all commands. It rewrites the messages that pydantic gives typer for a value of an option."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Parse the options of the program itself."""
        with _readable():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: Any) -> Any:
        """Parse the options of a command and run it."""
        with _readable():
            return super().invoke(ctx)


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except typer.BadParameter as error:
        # Not at the top: pydantic and the library are slow to load, and an option is rarely wrong.
        from pydantic import ValidationError

        from sparsemod.errors import plain_message, shorten

        if isinstance(error.__cause__, ValidationError):
            first = error.__cause__.errors()[0]
            shown, text = shorten(first["input"]), plain_message(first["msg"])
            between = " " if text.startswith("should") else ": "
            error.message = text if shown in text else f"{shown}{between}{text}"
        raise
