"""Find an experiment of a server: by id, by name, or the newest."""

import contextlib
import unicodedata
from typing import TYPE_CHECKING

from sparsemod.errors import NotFound, UnknownName

if TYPE_CHECKING:
    from service.client.client import Client
    from service.schemas.trials import ExperimentSummary

SHOWN = 8
"""So many experiments an error names."""


def which(client: "Client", text: str) -> "ExperimentSummary":
    """The experiment that the user means: by id, by name (the newest of that name), or the newest. `name:TEXT` is always a name, for names
    that are numbers. Raises UnknownName, which names some that are there."""
    identity = as_id(text)
    if identity is not None:
        with contextlib.suppress(NotFound):
            return client.experiment(identity)
    newest = sorted(client.experiments(), key=lambda experiment: experiment.id, reverse=True)
    name = as_name(text)
    for experiment in newest:
        if not text or experiment.name == name:
            return experiment
    raise UnknownName("experiment", text or "the newest", _named(newest))


NAME_PREFIX = "name:"
"""No name of an experiment holds a colon."""


def as_id(text: str) -> int | None:
    """The id that the text is, None for a name."""
    return int(text) if text.isascii() and text.isdecimal() else None


def as_name(text: str) -> str:
    """The name that the text is, in the spelling of stored names."""
    return unicodedata.normalize("NFC", text.removeprefix(NAME_PREFIX))


def _named(experiments: "list[ExperimentSummary]") -> str:
    if not experiments:
        return "no experiment exists yet; `sparsemod submit SPEC` starts one"
    listed = ", ".join(f"{one.id} ({one.name})" for one in experiments[:SHOWN])
    more = len(experiments) - SHOWN
    return f"an id or a name of {listed}" + (f" and {more} more, see `sparsemod list`" if more > 0 else "")
