"""Every exception that sparsemod raises on purpose.

    SparsemodError
     +-- InvalidInput            an input value is not acceptable; names field, value, what is allowed (also a ValueError)
     |    +-- InvalidSpec        in an experiment's spec
     |    +-- InvalidCandidate   in a candidate's parameters
     |    +-- UnknownName        the plug-in is not registered
     |    +-- DuplicateName      the plug-in's name is already registered
     +-- BuildError              the network cannot be built (recorded as failure "invalid", never retried)
     +-- Unsupported             a capture, a rule, a kernel or an exporter cannot express an operator
     +-- DataMissing             files of a dataset are missing
     +-- ToolsMissing            programs of the emulated device or of an exporter are not installed
     +-- EmulationError          the emulated device could not run a network
     |    +-- DoesNotFit         code or data exceed a memory region
     +-- BoardError              a board does not answer, or not as the wanted firmware does
     +-- DigestMismatch          a file's content does not match its digest
     +-- EnvironmentFailure      the machine lacks something for now: the candidate is not the cause
     +-- SpaceEmpty              no candidate of the space meets the budgets
     +-- NotFound                no such experiment, trial, attempt or artifact
     +-- Conflict                the request contradicts the stored state
     |    +-- StaleLease         another process holds the attempt's lease, or the attempt is over
     +-- ServerUnavailable       the server is unreachable or not ready
          +-- NoAnswer           the server's address does not answer

Exceptions of libraries (pydantic, SQLAlchemy, httpx2, torch.export) are translated at the call.
"""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

_SHOWN = 20  # limit of further operators in one message


class SparsemodError(Exception):
    """Base class of all errors; `str()` is one sentence for the user."""


class InvalidInput(SparsemodError, ValueError):
    """An input value is not acceptable.

    Attributes: `field` (dotted path, as in the file), `value` (as given), `allowed` (text), `source` (file
    and line, if any), `others` (further mistakes from the same check).
    """

    others: "tuple[InvalidInput, ...]" = ()

    def __init__(self, field: str, value: Any, allowed: str, source: str | None = None) -> None:
        self.field, self.value, self.allowed, self.source = field, value, allowed, source
        place = f"{source}: " if source else ""
        super().__init__(f"{place}{field} = {shorten(value)}: {allowed}")

    def at(self, prefix: str | None = None, source: str | None = None) -> "InvalidInput":
        """Return a copy with `prefix` before the field, and with `source` as its source when given."""
        field = f"{prefix}.{self.field}" if prefix else self.field
        return type(self)(field, self.value, self.allowed, source or self.source)


class InvalidSpec(InvalidInput):
    """A value in an experiment's spec is not acceptable."""


class InvalidCandidate(InvalidInput):
    """A value in a candidate's parameters is not acceptable."""


class UnknownName(InvalidInput):
    """A plug-in is not registered; `known` holds the registered names, or text about what is allowed."""

    def __init__(self, field: str, value: Any, known: Iterable[str] | str, source: str | None = None) -> None:
        allowed = known if isinstance(known, str) else _known(value, sorted(known))
        super().__init__(field, value, allowed, source)


def _known(value: Any, names: Sequence[str]) -> str:
    """Describe the known names, with suggestions close to `value`."""
    near = difflib.get_close_matches(str(value), names, 3)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return f"known: {', '.join(names) or 'none'}{hint}"


class DuplicateName(InvalidInput):
    """A name is already registered."""


class BuildError(SparsemodError):
    """The network cannot be built from its parameters; `layer` names the failing layer."""

    def __init__(self, message: str, layer: str | None = None) -> None:
        self.layer = layer
        super().__init__(f"{layer}: {message}" if layer else message)


class Unsupported(SparsemodError):
    """`by` (capture, a cost rule, an integer kernel, an exporter) cannot express an operator.

    `place` is the file and line of the call if a `forward` calls the operator directly, not through a layer.
    `others` are further unsupported operators of the same network.
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
        """Operator, layer, place and reason as one phrase."""
        place = f", {self.place}" if self.place else ""
        reason = f" ({self.hint})" if self.hint else ""
        return f"{self.operator!r} at layer {self.layer!r}{place}{reason}"

    def beside(self, others: "Sequence[Unsupported]") -> "Unsupported":
        """Return a copy that also names `others`."""
        return Unsupported(
            self.operator, self.layer, self.by, self.supported, self.hint, place=self.place, others=others
        )


class DataMissing(SparsemodError):
    """Files of a dataset are missing; the message names them, their folder and how to get them."""

    def __init__(self, dataset: str, files: Sequence[str], place: str, hint: str = "") -> None:
        self.dataset, self.files, self.place, self.hint = dataset, tuple(files), place, hint
        more = f"; {hint}" if hint else ""
        super().__init__(f"dataset {dataset!r}: missing {', '.join(files)} in {place}{more}")


class ToolsMissing(SparsemodError):
    """Programs are not installed; the message gives the command that installs them."""


class EmulationError(SparsemodError):
    """A network did not compile for the emulated device, or crashed on it."""


class DoesNotFit(EmulationError):
    """Code or data exceed the memory `region` by `over` bytes."""

    def __init__(self, region: str, over: int, where: str = "the emulated device") -> None:
        self.region, self.over, self.where = region, over, where
        super().__init__(f"does not fit {where}: {region} is exceeded by {over} bytes")


class BoardError(SparsemodError):
    """A board on a serial line does not answer, runs other firmware, or its answers are damaged; the message says what to do."""


class DigestMismatch(SparsemodError):
    """A file's content does not match its digest."""

    def __init__(self, what: str, expected: str, actual: str) -> None:
        self.what, self.expected, self.actual = what, expected, actual
        super().__init__(f"{what}: digest is {actual}, expected {expected}")


class EnvironmentFailure(SparsemodError):
    """This machine currently lacks something (disk space, data, a module, a GPU).

    `whole`: it can evaluate no experiment at all, not only the current one.
    """

    def __init__(self, message: str, whole: bool = False) -> None:
        self.whole = whole
        super().__init__(message)


class ProcessUnusable(EnvironmentFailure):
    """A library was loaded only in part, because the machine lacked something at that moment. Only a new process can go on."""

    def __init__(self, message: str, whole: bool = True) -> None:
        super().__init__(message, whole)


class SpaceEmpty(SparsemodError):
    """No candidate, or no new candidate, of the search space meets the budgets."""


class NotFound(SparsemodError):
    """The object does not exist.

    `kind` is experiment, trial, attempt, artifact, ...; `within` is the place of the search.
    """

    def __init__(self, kind: str, identity: Any, within: str = "") -> None:
        self.kind, self.identity = kind, identity
        super().__init__(f"no {kind} {identity!r}{f' in {within}' if within else ''}")


class Conflict(SparsemodError):
    """The request contradicts the stored state; nothing was changed."""


class StaleLease(Conflict):
    """The attempt is over, or another process holds its lease; nothing was changed."""


class ServerUnavailable(SparsemodError):
    """The server is unreachable or not ready."""


class NoAnswer(ServerUnavailable):
    """The server's address does not answer."""


def plain_message(message: str) -> str:
    """Return a message of pydantic without its own words for an input and for an error of a validator."""
    return message.removeprefix("Value error, ").replace("Input should", "should")


def shorten(value: Any, limit: int = 80) -> str:
    """Return `repr(value)`; if it exceeds `limit` characters, `...` replaces its middle."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit // 2]}...{text[-limit // 4 :]}"
