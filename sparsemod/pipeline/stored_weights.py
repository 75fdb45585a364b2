"""Weights that a spec names: those of a file, or of a trial in the folder of a local run."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from sparsemod.errors import EnvironmentFailure, InvalidInput
from sparsemod.records import Value
from sparsemod.spec.experiment import ExperimentSpec


@dataclass(frozen=True)
class StoredTrial:
    """A trained network: the spec of its run, its candidate's parameters, and its weights by name."""

    spec: ExperimentSpec
    parameters: Mapping[str, Value]
    weights: dict[str, Tensor]


def stored_weights(reference: str, field: str) -> dict[str, Tensor]:
    """Return the weights in `reference`, a .safetensors file or FOLDER#TRIAL. Raises the errors of the two functions below."""
    return (
        stored_trial(reference, field).weights if "#" in reference else file_weights(Path(reference), field)
    )


def stored_trial(reference: str, field: str) -> StoredTrial:
    """Return the trial FOLDER#TRIAL of a local run.

    Raises EnvironmentFailure for a folder without a run, InvalidInput for a trial that does not exist or has no weights.
    """
    place, _, number = reference.rpartition("#")
    if not (place and number.isdecimal()):
        raise InvalidInput(field, reference, "FOLDER#TRIAL with the number of a trial")
    folder, index = Path(place), int(number)
    try:
        spec = ExperimentSpec.stored(json.loads((folder / "spec.json").read_text(encoding="utf-8")))
        lines = (folder / "trials.jsonl").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise EnvironmentFailure(
            f"{field} = {reference!r}: {folder} is no folder of a local run, it has no {Path(error.filename).name}; FOLDER#TRIAL"
        ) from None
    if index >= len(lines):
        raise InvalidInput(field, reference, f"one of the {len(lines)} trials in {folder}")
    found = json.loads(lines[index])
    kept = [one["digest"] for one in found["result"]["artifacts"] if one["kind"] == "weights"]
    if not kept:
        raise InvalidInput(field, reference, f"a trial with weights; its state is {found['result']['state']}")
    file = folder / "artifacts" / str(kept[0]).removeprefix("sha256:")
    return StoredTrial(spec, found["candidate"]["parameters"], file_weights(file, field))


def file_weights(path: Path, field: str) -> dict[str, Tensor]:
    """Return the weights in a .safetensors file. Raises EnvironmentFailure without it, InvalidInput for another content."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise EnvironmentFailure(f"{field} = {str(path)!r}: no such file here; a .safetensors file")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise InvalidInput(field, str(path), f"a .safetensors file; {error}") from None


def load_into(module: nn.Module, weights: Mapping[str, Tensor], field: str, value: object) -> None:
    """Copy weights into a network. Raises InvalidInput for those of another network."""
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        words = str(error).splitlines()
        raise InvalidInput(
            field,
            value,
            f"weights of this network for these data: {' '.join(w.strip() for w in words[1:3])}",
        ) from None
