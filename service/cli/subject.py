"""A network that a command gets: a trial of the service, a trial of a local run's folder, a network.npz, or a model file."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparsemod.quantization import IntegerNetwork

_NETWORK = "network.npz"


@dataclass(frozen=True)
class Subject:
    """An integer network, its title, and the device that it was made for ("" where unknown)."""

    network: "IntegerNetwork"
    title: str
    device: str = ""


def subject(
    source: str, trial: int | None, server: str, data: Path | None = None, shape: str = ""
) -> Subject:
    """Return the network that `source` names. `trial`: default the first point of the Pareto front. `data`, `shape`: see `measure`.

    Raises NotFound, InvalidInput, Conflict for a trial without a network, Unsupported for a scheme without integer networks.
    """
    from sparsemod.errors import InvalidInput

    path = Path(source)
    if path.is_dir() and (path / _NETWORK).is_file() and not (path / "spec.json").is_file():
        path = path / _NETWORK
    stored = path.is_file() and path.suffix == ".npz"
    if (stored or _is_model(source)) and trial is not None:
        raise InvalidInput("TRIAL", trial, f"left out: {source} is one network")
    if stored:
        return Subject(_checked(path.read_bytes()), path.parent.name if path.name == _NETWORK else path.stem)
    if _is_model(source):
        return _of_model(source, data, shape)
    for option, value in (("--data", data), ("--shape", shape)):
        if value:
            raise InvalidInput(option, str(value), "left out: only a model file needs it")
    return _of_trial(source, trial, server)


def _is_model(source: str) -> bool:
    from service.cli.measuring import is_attribute

    path = Path(source)
    experiment = source.startswith("name:")
    return (
        path.is_file()
        or path.suffix in (".onnx", ".tflite", ".pt2")
        or (not experiment and is_attribute(source))
    )


def _of_model(source: str, data: Path | None, shape: str) -> Subject:
    from service.cli.local import one_thread
    from service.cli.measuring import read

    one_thread()
    from sparsemod.pipeline.model_report import integer_network

    _, found, samples = read(source, shape, data)
    network, _ = integer_network(found, samples)
    return Subject(network, found.name)


def _of_trial(source: str, trial: int | None, server: str) -> Subject:
    from service.cli.common import connect
    from service.cli.folders import local_folder
    from service.client.lookup import which
    from sparsemod.errors import Conflict, NotFound, Unsupported
    from sparsemod.files import scratch

    local = local_folder(source)
    if local is not None:
        indices = local.front() if trial is None else [trial]
        if not indices:
            raise NotFound("Pareto point of the run in", source)
        record: Any = local.trial(indices[0])
        spec = local.spec
    else:
        client = connect(server)
        summary = which(client, source)
        indices = [point.index for point in client.pareto(summary.id).points] if trial is None else [trial]
        if not indices:
            raise NotFound("Pareto point of experiment", summary.id)
        record, spec = client.trial(summary.id, indices[0]), client.experiment(summary.id).spec
    if not spec.quantization.integer:
        scheme = spec.quantization.scheme
        raise Unsupported(
            f"quantization scheme {scheme}", "all", "the board", hint="scheme static makes integer networks"
        )
    artifact = record.artifact("network")
    if artifact is None:
        raise Conflict(f"trial {record.index} has no network: its state is {record.state}")
    if local is not None:
        content = local.artifact(artifact.digest).read_bytes()
    else:
        with scratch("sparsemod-network-") as folder:
            content = client.download(artifact.digest, folder / _NETWORK).read_bytes()
    return Subject(_checked(content), f"{spec.name}, trial {record.index}", spec.target.device)


def _checked(content: bytes) -> "IntegerNetwork":
    from sparsemod.quantization import IntegerNetwork

    return IntegerNetwork.from_bytes(content)
