"""A search in a child process, for experiments whose family or dataset is user code.

Screening builds networks, and user code may end its process, hang, or use all memory. In the suggester's
process that would end every search. In a child it costs one candidate: the process is replaced, and the
candidate counts as a network that cannot be built.
"""

import json
import mmap
import multiprocessing
import os
import pickle
import signal
import struct
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from service.processes.memory import half_of_memory, over_limit, resident_bytes
from service.processes.supervised import die_with_parent
from sparsemod.data.source import DATASETS
from sparsemod.errors import BuildError, SparsemodError
from sparsemod.networks.family import FAMILIES
from sparsemod.pipeline.environment import environment_failure
from sparsemod.records import Value
from sparsemod.sources.observation import Observation, Suggestion
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.spec.methods import PRUNING

if TYPE_CHECKING:
    from sparsemod.pipeline.proposals import Proposer

BUILD_SECONDS = 60.0
"""Time limit for building and screening one candidate."""

SILENT_SECONDS = 600.0
"""Time limit for one request to the search."""

MOST_BROKEN = 20
"""Number of candidates that may break the process. One more ends the experiment."""

_BOARD = 1 << 16
_HEAD = struct.Struct("<dI")

Answer = tuple[str | None, list[Suggestion]]
Costs = Callable[[Mapping[str, Value]], Mapping[str, float]]
Watch = Callable[[Costs], Costs]
Build = Callable[[ExperimentSpec, Watch], "Proposer"]
"""Builds the search for a spec. The search must compute costs through the wrapper."""


class SearchFailed(SparsemodError):
    """The user's code broke the search, and no single candidate is the cause."""


def runs_user_code(spec: ExperimentSpec) -> bool:
    """Return whether any plug-in of `spec` is defined outside this package.

    Checks the family, the dataset, the candidate source and the pruning method. Raises UnknownName.
    """
    family: Any = FAMILIES.get(spec.network.family, field="network.family")
    dataset: Any = DATASETS.get(spec.dataset.name, field="dataset.name")
    method = PRUNING.get(spec.pruning.method, field="pruning.method")
    kinds = (getattr(family, "origin", family), dataset, type(spec.source), method)
    modules = (kind.__module__ for kind in kinds)
    return not all(module.startswith("sparsemod.") for module in modules)


class _Board:
    """Shared memory with the child: the current candidate and its start time.

    Empty between two candidates.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _BOARD)

    def write(self, values: Mapping[str, Value] | None) -> None:
        data = b"" if values is None else json.dumps(dict(values)).encode()[: _BOARD - _HEAD.size]
        self._memory[_HEAD.size : _HEAD.size + len(data)] = data
        self._memory[: _HEAD.size] = _HEAD.pack(time.monotonic(), len(data))

    def read(self) -> tuple[float, dict[str, Value] | None]:
        since, length = _HEAD.unpack(self._memory[: _HEAD.size])
        if not length:
            return since, None
        try:
            return since, json.loads(self._memory[_HEAD.size : _HEAD.size + length])
        except ValueError:  # longer than the board
            return since, None


class SearchProcess:
    """The search for `spec`, built by `build` in a child.

    `ask` sends a request, `answer` polls for the result. `build_seconds` (per candidate) and `memory`
    (resident bytes) limit the child during a request.
    """

    def __init__(
        self,
        spec: ExperimentSpec,
        build: Build,
        *,
        build_seconds: float | None = None,
        memory: int | None = None,
    ) -> None:
        self.spec, self._build = spec, build
        self._build_seconds = build_seconds or BUILD_SECONDS
        self._memory = memory or spec.limits.memory or half_of_memory()
        self._broken: list[tuple[dict[str, Value], str]] = []
        self._question: tuple[Sequence[Observation], int] | None = None
        self._asked = 0.0
        self._child: Any = None
        self._pipe: Connection | None = None
        self._board = _Board()

    @property
    def busy(self) -> bool:
        """Return whether a request waits for its answer."""
        return self._question is not None

    def ask(self, observations: Sequence[Observation], count: int) -> None:
        """Request `count` suggestions, given `observations`."""
        self._question = (observations, count)
        self._send()

    def answer(self) -> Answer | None:
        """Return (reason to end or None, suggestions), or None while the child still works.

        Raises the search's own errors, and SearchFailed when the process broke too often or outside of a
        candidate.
        """
        if self._pipe is None or self._question is None:
            return None
        try:
            if self._pipe.poll():
                reply = pickle.loads(self._pipe.recv_bytes())
                self._question = None
                if isinstance(reply, SparsemodError):
                    raise reply
                if isinstance(reply, str):
                    raise SearchFailed(reply)
                answer: Answer = reply
                return answer
        except (EOFError, ConnectionResetError):
            self._child.join()
            self._replace(_ended(self._child.exitcode))
            return None
        since, values = self._board.read()
        now = time.monotonic()
        if values is not None and now - since > self._build_seconds:
            self._replace(f"took more than {self._build_seconds:g} s")
        elif now - self._asked > SILENT_SECONDS:
            self._replace(f"the search did not answer in {SILENT_SECONDS:g} s")
        elif (resident := resident_bytes(self._child.pid)) > self._memory:
            self._replace(over_limit(resident, self._memory))
        return None

    def close(self) -> None:
        """Kill the child."""
        if self._child is not None:
            self._child.kill()
            self._child.join()
            self._child.close()
        if self._pipe is not None:
            self._pipe.close()
        self._child = self._pipe = None

    def _replace(self, what: str) -> None:
        """Kill the child, mark its current candidate as broken, and repeat the request in a new child.

        Raises SearchFailed.
        """
        _, values = self._board.read()
        self.close()
        if values is None:
            self._question = None
            raise SearchFailed(f"code of family {self._names()} broke the search: {what}")
        self._broken.append((values, f"building the network ended its process: {what}"))
        if len(self._broken) > MOST_BROKEN:
            self._question = None
            raise SearchFailed(
                f"over {MOST_BROKEN} candidates of family {self._names()} ended the process that built them; the last one, {values}: {what}"
            )
        self._send()

    def _names(self) -> str:
        return f"{self.spec.network.family!r} or dataset {self.spec.dataset.name!r}"

    def _send(self) -> None:
        if self._child is None:
            # Fork, because this process has loaded torch and the user's modules. The child never uses the
            # inherited store.
            context = multiprocessing.get_context("fork")
            self._board.write(None)
            self._pipe, theirs = context.Pipe()
            self._child = context.Process(
                target=_serve,
                args=(theirs, self._board, self.spec, self._build, tuple(self._broken), os.getpid()),
                daemon=True,
            )
            with warnings.catch_warnings():
                # Newer Pythons warn about a fork with running threads. The only other thread renews leases,
                # and the child uses nothing that this thread may have locked.
                warnings.simplefilter("ignore", DeprecationWarning)
                self._child.start()
            theirs.close()
        self._asked = time.monotonic()
        if self._pipe is not None:
            self._pipe.send_bytes(pickle.dumps(self._question))


def _serve(
    pipe: Connection,
    board: _Board,
    spec: ExperimentSpec,
    build: Build,
    broken: Sequence[tuple[dict[str, Value], str]],
    parent: int,
) -> None:
    """Main loop of the child: answer requests until the parent kills it."""
    die_with_parent(parent)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    quiet = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # a family may print something for each of thousands of candidates
        os.dup2(quiet, stream)
    search: Proposer | None = None
    while True:
        observations, count = pickle.loads(pipe.recv_bytes())
        try:
            if search is None:
                search = build(spec, partial(_watched, board, dict(_keys(broken))))
            reason = search.done(observations)
            reply: Any = (reason, [] if reason is not None else search.next(observations, count))
        except SparsemodError as error:
            reply = error
        except Exception as error:  # noqa: BLE001
            # A user's `space` or `morphisms` may raise anything.
            place = traceback.extract_tb(error.__traceback__)[-1]
            reply = environment_failure(error) or (
                f"suggesting failed: {type(error).__name__}: {error} ({place.filename}:{place.lineno})"
            )
        board.write(None)
        pipe.send_bytes(_pickled(reply))


def _pickled(reply: Any) -> bytes:
    """Pickle a reply. An error that cannot be unpickled becomes a SearchFailed with its message."""
    data = pickle.dumps(reply)
    if isinstance(reply, SparsemodError):
        try:
            pickle.loads(data)
        except TypeError:  # its constructor needs more than the message
            return pickle.dumps(SearchFailed(str(reply)))
    return data


def _keys(broken: Sequence[tuple[dict[str, Value], str]]) -> Sequence[tuple[str, str]]:
    return [(json.dumps(values, sort_keys=True), message) for values, message in broken]


def _watched(board: _Board, broken: Mapping[str, str], costs: Costs) -> Costs:
    """Wrap `costs`: write the current candidate to the board, and reject candidates that broke a process
    before."""

    def screened(values: Mapping[str, Value]) -> Mapping[str, float]:
        message = broken.get(json.dumps(dict(values), sort_keys=True))
        if message is not None:
            raise BuildError(message)
        board.write(values)
        try:
            result = costs(values)
        except Exception:
            board.write(None)
            raise
        except BaseException as error:  # such as sys.exit() in a network
            board.write(None)
            raise BuildError(f"building the network raised {type(error).__name__}: {error}") from error
        board.write(None)
        return result

    return screened


def _ended(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exited with code {code}"
