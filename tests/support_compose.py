"""Reads docker-compose.yml like Docker Compose, and docker/Dockerfile, as far as these two files need."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
import yaml

ROOT = Path(__file__).resolve().parent.parent
COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILE = ROOT / "docker" / "Dockerfile"
SCHEMA = ROOT / "tests" / "vendored" / "compose-spec.json"

GIVEN = {"SPARSEMOD_DATABASE_PASSWORD": "p@ss:w/o%rd#1"}
"""The variables that must be given; everything else has a default."""

_VARIABLE = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)(?:(:?[-?])([^}]*))?\})")


# typer carries a click of its own, whose UsageError it does not export.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]


class Missing(Exception):
    """Error for a required variable that is not set."""


def interpolate(value: Any, variables: Mapping[str, str]) -> Any:
    """`value` with the variables in all its texts replaced."""
    if isinstance(value, dict):
        return {key: interpolate(item, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [interpolate(item, variables) for item in value]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        dollar, plain, name, operator, word = match.groups()
        if dollar:
            return "$"
        found = variables.get(plain or name)
        absent = not found if operator and operator.startswith(":") else found is None
        if not absent:
            return str(found)
        if operator is None or operator.endswith("?"):
            raise Missing(f"{plain or name}: {word or 'no default'}")
        return str(word)

    return _VARIABLE.sub(replace, value)


def raw() -> dict[str, Any]:
    """The file, its anchors resolved and its variables not."""
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return found


def load(variables: Mapping[str, str] = GIVEN) -> dict[str, Any]:
    """The file with these variables. Raises Missing."""
    found: dict[str, Any] = interpolate(raw(), variables)
    return found


def variables() -> dict[str, str | None]:
    """Return the variables that the file reads, with their defaults; None for required ones."""
    found: dict[str, str | None] = {}
    for match in _VARIABLE.finditer(yaml.safe_dump(raw(), width=1000)):
        _, plain, name, operator, word = match.groups()
        if plain or name:
            found[plain or name] = word if operator and operator.endswith("-") else None
    return found


def seconds(text: str) -> float:
    """A duration such as 1m30s."""
    units = {"h": 3600, "m": 60, "s": 1}
    return float(sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)([hms])", text)))


def health_command(service: Mapping[str, Any]) -> list[str]:
    """The health check of a service as the words that Docker runs."""
    kind, *words = service["healthcheck"]["test"]
    if kind == "CMD":
        return words
    if kind != "CMD-SHELL" or len(words) != 1:
        raise ValueError(f"health check {kind}: CMD or CMD-SHELL with one text")
    return ["/bin/sh", "-c", words[0]]


def own_commands(service: Mapping[str, Any]) -> list[list[str]]:
    """Return the arguments that a service passes to `sparsemod`, in its command and its health check."""
    checked = health_command(service)
    text = checked[2] if checked[0] == "/bin/sh" else shlex.join(checked)
    first = re.split(r"\|\||&&|;", text)[0]
    program, *words = shlex.split(first)
    return [list(service["command"]), *([words] if program == "sparsemod" else [])]


def parse_command(words: list[str]) -> dict[str, Any]:
    """Have the command line parse `sparsemod WORDS` without running it; its values. Raises UsageError."""
    from service.cli import app

    group: Any = typer.main.get_command(app)
    context = group.make_context("sparsemod", list(words), resilient_parsing=True)
    rest = list(words)
    while True:
        name, command, rest = group.resolve_command(context, rest)
        if command is None:
            raise UsageError(f"no such command: {shlex.join(words)}")
        if not hasattr(command, "resolve_command"):
            break
        group, context = command, command.make_context(name, rest, parent=context, resilient_parsing=True)
    values: dict[str, Any] = command.make_context(name, rest, parent=context).params
    return values


def known_variables() -> set[str]:
    """Every environment variable that our own programs read."""
    from service.cli import app
    from service.cli.logs import VARIABLE as LOG_FORMAT
    from service.client.credentials import VARIABLE as TOKEN
    from service.settings import Settings
    from sparsemod.data.places import ROOT_VARIABLE

    found = {f"SPARSEMOD_{name.upper()}" for name in Settings.model_fields} | {
        ROOT_VARIABLE,
        TOKEN,
        f"{TOKEN}_FILE",
        LOG_FORMAT,
    }
    groups: list[Any] = [typer.main.get_command(app)]
    while groups:
        command = groups.pop()
        groups.extend(getattr(command, "commands", {}).values())
        for parameter in command.params:
            named = getattr(parameter, "envvar", None) or ()
            found.update([named] if isinstance(named, str) else named)
    return found


# -- the Dockerfile ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Instruction:
    """One instruction, its continued lines joined; `stage` counts the FROM lines before it."""

    name: str
    text: str
    stage: int

    @property
    def words(self) -> list[str]:
        """Its words without flags."""
        return [word for word in shlex.split(self.text) if not word.startswith("--")]


def instructions(path: Path = DOCKERFILE) -> list[Instruction]:
    """A Dockerfile."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    found: list[Instruction] = []
    stage = 0
    for line in filter(None, map(str.strip, joined.splitlines())):
        name, _, text = line.partition(" ")
        stage += name == "FROM"
        found.append(Instruction(name, text.strip(), stage))
    return found


def copied() -> list[str]:
    """The files and folders that the Dockerfile takes from the checkout."""
    return [
        source
        for step in instructions()
        if step.name == "COPY" and "--from" not in step.text
        for source in step.words[:-1]
    ]


SERVICES_USER: str = raw()["x-part"]["user"]
