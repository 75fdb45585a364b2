"""Every exception that sparsemod raises on purpose.

    SparsemodError
     +-- InvalidInput            a value that somebody gave us: names field, value, what is allowed (also a ValueError)
     |    +-- InvalidSpec        in an experiment's spec
     |    +-- InvalidCandidate   in a candidate's parameters
     |    +-- UnknownName        a plug-in that no registry holds
     |    +-- DuplicateName      a plug-in registered twice
     +-- BuildError              the network cannot be built (recorded as failure "invalid", never tried again)
     +-- Unsupported             an operator that a capture, a rule, a kernel or an exporter cannot express
     +-- DataMissing             files of a dataset are not there
     +-- ToolsMissing            programs of the emulated device or of an exporter are not installed
     +-- EmulationError          the emulated device could not run a network
     |    +-- DoesNotFit         code or data exceed a memory region
     +-- DigestMismatch          a file is not the file that was asked for
     +-- EnvironmentFailure      the place lacks something: no candidate is to blame, and it may be there again later
     +-- SpaceEmpty              no candidate of the space meets the budgets
     +-- NotFound                no such experiment, trial, attempt or artifact
     +-- Conflict                the request contradicts what is stored
     |    +-- StaleLease         the attempt's lease was lost to somebody else
     +-- ServerUnavailable       the server cannot be reached or is not ready
          +-- NoAnswer           nobody answers at its address

Foreign exceptions (pydantic, SQLAlchemy, httpx2, torch.export) are translated where they enter.
"""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

_SHOWN = 20  # further operators that one message names


class SparsemodError(Exception):
    """Base of all; `str()` is one sentence meant for the user."""


class InvalidInput(SparsemodError, ValueError):
    """A value that is not acceptable.

    Attributes: `field` (dotted path, as in the file that was read), `value` (as given), `allowed` (text), `source` (file and line, if any),
    `others` (further mistakes that were found in the same go).
    """

    others: "tuple[InvalidInput, ...]" = ()

    def __init__(self, field: str, value: Any, allowed: str, source: str | None = None) -> None:
        self.field, self.value, self.allowed, self.source = field, value, allowed, source
        place = f"{source}: " if source else ""
        super().__init__(f"{place}{field} = {shorten(value)}: {allowed}")

    def at(self, prefix: str | None = None, source: str | None = None) -> "InvalidInput":
        """The same error seen from further out: `prefix` goes before the field, `source` is the file."""
        field = f"{prefix}.{self.field}" if prefix else self.field
        return type(self)(field, self.value, self.allowed, source or self.source)


class InvalidSpec(InvalidInput):
    """In an experiment's spec."""


class InvalidCandidate(InvalidInput):
    """In a candidate's parameters."""


class UnknownName(InvalidInput):
    """A plug-in that is not registered; `known` holds the names that are."""

    def __init__(self, field: str, value: Any, known: Iterable[str] | str, source: str | None = None) -> None:
        allowed = known if isinstance(known, str) else _known(value, sorted(known))
        super().__init__(field, value, allowed, source)


def _known(value: Any, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(str(value), names, 3)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return f"known: {', '.join(names) or 'none'}{hint}"


class DuplicateName(InvalidInput):
    """A name that is already registered."""


class BuildError(SparsemodError):
    """The network cannot be built from these parameters; `layer` names the place where it broke."""

    def __init__(self, message: str, layer: str | None = None) -> None:
        self.layer = layer
        super().__init__(f"{layer}: {message}" if layer else message)


class Unsupported(SparsemodError):
    """An operator that `by` (capture, a cost rule, an integer kernel, an exporter) cannot express.

    `place` is the file and line that calls it, where it is called in a `forward` and not by a layer of its own; `others` are further such
    operators of the same network.
    """

    def __init__(
        self,
        operator: str,
        layer: str,
        by: str,
        supported: Sequence[str] = (),
        hint: str = "",
        *,
        place: str = "",
        others: "Sequence[Unsupported]" = (),
    ) -> None:
        self.operator, self.layer, self.by, self.supported = operator, layer, by, tuple(supported)
        self.hint, self.place, self.others = hint, place, tuple(others)
        known = f"; supported: {', '.join(supported)}" if supported else ""
        more = f"; nor {'; nor '.join(other.where for other in self.others[:_SHOWN])}" if others else ""
        rest = len(self.others) - _SHOWN
        more += f"; and {rest} more" if rest > 0 else ""
        super().__init__(f"{by} does not support operator {self.where}{more}{known}")

    @property
    def where(self) -> str:
        """Operator, layer, place and reason in a phrase."""
        place = f", {self.place}" if self.place else ""
        reason = f" ({self.hint})" if self.hint else ""
        return f"{self.operator!r} at layer {self.layer!r}{place}{reason}"

    def beside(self, others: "Sequence[Unsupported]") -> "Unsupported":
        """The same error with `others` named too."""
        return Unsupported(
            self.operator, self.layer, self.by, self.supported, self.hint, place=self.place, others=others
        )


class DataMissing(SparsemodError):
    """Files of a dataset are absent: names them, the place where they belong and how to get them."""

    def __init__(self, dataset: str, files: Sequence[str], place: str, hint: str = "") -> None:
        self.dataset, self.files, self.place, self.hint = dataset, tuple(files), place, hint
        more = f"; {hint}" if hint else ""
        super().__init__(f"dataset {dataset!r}: missing {', '.join(files)} in {place}{more}")


class ToolsMissing(SparsemodError):
    """Programs that are not installed; the sentence holds the command that installs them."""


class EmulationError(SparsemodError):
    """A network could not be compiled for the emulated device, or crashed on it."""


class DoesNotFit(EmulationError):
    """Code or data exceed the memory `region` by `over` bytes."""

    def __init__(self, region: str, over: int, where: str = "the emulated device") -> None:
        self.region, self.over, self.where = region, over, where
        super().__init__(f"does not fit {where}: {region} is exceeded by {over} bytes")


class DigestMismatch(SparsemodError):
    """A file whose content is not what its digest says."""

    def __init__(self, what: str, expected: str, found: str) -> None:
        self.what, self.expected, self.found = what, expected, found
        super().__init__(f"{what}: digest is {found}, expected {expected}")


class EnvironmentFailure(SparsemodError):
    """This machine lacks something (space, data, a module, a GPU) now. `whole`: it can evaluate nothing at all, not just this experiment."""

    def __init__(self, message: str, whole: bool = False) -> None:
        self.whole = whole
        super().__init__(message)


class SpaceEmpty(SparsemodError):
    """No candidate (or none that is new) of the search space meets the budgets."""


class NotFound(SparsemodError):
    """No such thing; `kind` is experiment, trial, attempt, artifact, ...; `within` says where it was looked for."""

    def __init__(self, kind: str, identity: Any, within: str = "") -> None:
        self.kind, self.identity = kind, identity
        super().__init__(f"no {kind} {identity!r}{f' in {within}' if within else ''}")


class Conflict(SparsemodError):
    """The request contradicts what is stored; nothing was changed."""


class StaleLease(Conflict):
    """The attempt belongs to somebody else by now, or is over; nothing was changed."""


class ServerUnavailable(SparsemodError):
    """The server cannot be reached, or not yet."""


class NoAnswer(ServerUnavailable):
    """Nobody answers at the server's address."""


def shorten(value: Any, limit: int = 80) -> str:
    """`repr(value)`, cut in the middle beyond `limit` characters."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit // 2]}...{text[-limit // 4 :]}"
