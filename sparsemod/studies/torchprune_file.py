"""Convert torchprune's parameter files into study files, and say what has no meaning here."""

import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sparsemod.errors import InvalidInput, InvalidSpec
from sparsemod.networks.zoo import network as zoo_network
from sparsemod.spec.plain import read_text
from sparsemod.studies.torchprune_keys import why
from sparsemod.yaml_text import parse_yaml

INCLUDE = "file"
_SAME_NETWORKS = (
    (r"resnet(\d+)", "resnet-{}"), (r"vgg(\d+)_bn", "vgg-{}-bn"), (r"vgg(\d+)", "vgg-{}"), (r"wrn(\d+)_(\d+)", "wrn-{}-{}"),
    (r"mobilenet_v2", "mobilenetv2"), (r"densenet(\d+)", "densenet-{}"), (r"lenet300_100", "lenet-300-100"),
    (r"lenet5", "lenet-5"),
)  # fmt: skip
_DATASETS = {"CIFAR10": "cifar10", "MNIST": "mnist"}
_OPTIMIZERS = {"SGD": "sgd", "Adam": "adam", "AdamW": "adamw"}
_SECTIONS = ("network", "training", "retraining", "experiments", "customizations", INCLUDE)


@dataclass
class Converted:
    """A study file's data, and a sentence for each key that has no meaning here."""

    data: dict[str, Any]
    notes: list[str] = field(default_factory=list)


def is_torchprune(data: Mapping[str, Any]) -> bool:
    """Return whether a file has keys that only torchprune's files have."""
    experiments = data.get("experiments")
    keys = experiments if isinstance(experiments, Mapping) else {}
    return INCLUDE in data or any(key in keys for key in ("numRepetitions", "numNets", "retrainIterations"))


def convert(path: Path) -> Converted:
    """Return the study file of one of torchprune's files, with its includes (`file`) resolved.

    Includes are looked for beside the file, in the folders above it and their `param`, and in the current folder.
    Raises InvalidSpec for a file without networks or experiments, and for one that includes itself.
    """
    data = _read(path, ())
    converted = Converted({})
    notes = converted.notes
    for key in data:
        if key not in _SECTIONS:
            notes.append(f"{key}: {why('', key)}")
    for section in ("network", "experiments"):
        if not isinstance(data.get(section), dict):
            raise InvalidSpec(section, data.get(section), "a mapping, as in torchprune's files", str(path))
    training = data.get("training") or {}
    own = data.get("retraining") or {}
    converted.data["network"] = _network(data["network"], notes)
    converted.data["training"] = told = _training(training, "training", notes)
    again = _training(_merged(training, own), "retraining", [])
    _training(own, "retraining", notes)
    start = int({**training, **own}.get("startEpoch", 0) or 0)
    retraining = {key: value for key, value in again.items() if told.get(key) != value}
    if start:
        retraining["start_epoch"] = start
    converted.data["retraining"] = retraining
    converted.data["experiments"] = _experiments(data["experiments"], notes)
    sweep = _customizations(data.get("customizations") or [], notes)
    if sweep:
        converted.data["customizations"] = sweep
    return converted


def _read(path: Path, including: tuple[Path, ...]) -> dict[str, Any]:
    resolved = path.resolve()
    if resolved in including:
        raise InvalidSpec(INCLUDE, str(path), "a file that does not include itself", str(including[-1]))
    data, _ = parse_yaml(read_text(path), str(path))
    return _included(data, path, (*including, resolved))


def _included(data: Mapping[str, Any], path: Path, including: tuple[Path, ...]) -> dict[str, Any]:
    own = {
        key: _included(value, path, including) if isinstance(value, Mapping) else value
        for key, value in data.items()
        if key != INCLUDE
    }
    if INCLUDE not in data:
        return own
    return _merged(_read(_find(str(data[INCLUDE]), path), including), own)


def _find(name: str, path: Path) -> Path:
    places = [path.parent, *path.resolve().parents, Path.cwd()]
    for place in places:
        for candidate in (place / name, place / "param" / name):
            if candidate.is_file():
                return candidate
    raise InvalidSpec(
        INCLUDE, name, f"a file beside {path}, in a folder above it, or in its `param`", str(path)
    )


def _merged(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    result = deepcopy(dict(base))
    for key, value in top.items():
        below = result.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        result[key] = _merged(below, value) if both else value  # type: ignore[arg-type]
    return result


def _network(section: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    name, dataset = str(section.get("name")), str(section.get("dataset"))
    _drop(section, ("name", "dataset"), "network", notes)
    for pattern, ours in _SAME_NETWORKS:
        found = re.fullmatch(pattern, name)
        if found:
            name = ours.format(*found.groups())
            break
    try:
        zoo_network(name)
    except InvalidInput:
        notes.append(f"network.name: the zoo has no {name}; choose a network of the zoo or a family")
    if dataset not in _DATASETS:
        notes.append(f"network.dataset: no dataset {dataset} here; choose one of `sparsemod datasets`")
    return {"name": name, "dataset": _DATASETS.get(dataset, dataset.lower())}


def _drop(section: Mapping[str, Any], known: tuple[str, ...], where: str, notes: list[str]) -> None:
    for key in section:
        if key not in known:
            notes.append(f"{where}.{key}: {why(where, key)}")


def _training(section: Mapping[str, Any], where: str, notes: list[str]) -> dict[str, Any]:
    """Return the keys of `training` for a section of torchprune's."""
    known = (
        "numEpochs", "startEpoch", "batchSize", "optimizer", "optimizerKwargs", "lrSchedulers", "transformsTrain", "loss",
        "lossKwargs", "enableAMP",
    )  # fmt: skip
    _drop(section, known, where, notes)
    if section.get("lossKwargs", {"reduction": "mean"}) not in ({"reduction": "mean"}, {}):
        notes.append(f"{where}.lossKwargs: {why(where, 'lossKwargs')}")
    told: dict[str, Any] = {}
    epochs = section.get("numEpochs")
    if epochs is not None:
        told["epochs"] = int(epochs)
    if "batchSize" in section:
        told["batch_size"] = int(section["batchSize"])
    if section.get("enableAMP"):
        told["precision"] = "float16"
    if section.get("loss", "CrossEntropyLoss") != "CrossEntropyLoss":
        notes.append(f"{where}.loss: {section['loss']} has no counterpart; cross_entropy is used")
    keys = dict(section.get("optimizerKwargs") or {})
    name = section.get("optimizer")
    if name is not None and name not in _OPTIMIZERS:
        notes.append(f"{where}.optimizer: {name} has no counterpart; the default is used")
    elif name is not None:
        optimizer: dict[str, Any] = {"name": _OPTIMIZERS[name]}
        if name == "SGD":
            optimizer["momentum"] = float(keys.pop("momentum", 0.0))
            optimizer["nesterov"] = bool(keys.pop("nesterov", False))
        told["optimizer"] = optimizer
    for theirs, ours in (("lr", "learning_rate"), ("weight_decay", "weight_decay")):
        if theirs in keys:
            told[ours] = float(keys.pop(theirs))
    notes += [f"{where}.optimizerKwargs.{key}: no meaning here" for key in keys]
    if "lrSchedulers" in section:
        told["schedule"] = _schedule(section["lrSchedulers"] or [], epochs, where, notes)
    if "transformsTrain" in section:
        told["augmentation"] = _augmentation(section["transformsTrain"] or [], where, notes)
    return told


def _schedule(items: Any, epochs: Any, where: str, notes: list[str]) -> dict[str, Any]:
    schedule: dict[str, Any] = {"name": "constant"}
    warmup = 0
    for item in items:
        kind = item.get("type")
        keys = {**(item.get("stepKwargs") or {}), **(item.get("kwargs") or {})}
        if kind == "MultiStepLR" and epochs:
            shares = [round(m / int(epochs), 6) for m in keys.get("milestones", ()) if m < int(epochs)]
            schedule = {"name": "step", "milestones": shares, "factor": float(keys.get("gamma", 0.1))}
        elif kind == "CosineAnnealingLR":
            schedule = {"name": "cosine"}
        elif kind == "WarmupLR":
            warmup = int(keys.get("warmup_epoch", keys.get("warmupEpoch", 0)))
        else:
            notes.append(f"{where}.lrSchedulers: {kind} has no counterpart")
    return {**schedule, "warmup": warmup} if warmup else schedule


def _augmentation(items: Any, where: str, notes: list[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for item in items:
        kind, keys = item.get("type"), item.get("kwargs") or {}
        if kind == "RandomHorizontalFlip":
            found.append({"name": "flip"})
        elif kind in ("Pad", "RandomCrop") and keys.get("padding"):
            found.append({"name": "shift", "pixels": int(keys["padding"])})
        elif kind == "RandomCrop" and any(one["name"] == "shift" for one in found):
            continue  # after Pad
        else:
            notes.append(f"{where}.transformsTrain: {kind} has no counterpart")
    return found


_EXPERIMENTS = {
    "methods": "methods", "mode": "mode", "numRepetitions": "repetitions", "numNets": "nets",
    "retrainIterations": "retrain_iterations",
}  # fmt: skip
_SPACING = {"type": "type", "numIntervals": "intervals", "maxVal": "max", "minVal": "min", "values": "values"}
_PLOTTING = {"minVal": "min", "maxVal": "max"}


def _renamed(
    section: Mapping[str, Any], names: Mapping[str, str], where: str, notes: list[str]
) -> dict[str, Any]:
    _drop(section, tuple(names), where, notes)
    return {ours: section[theirs] for theirs, ours in names.items() if theirs in section}


def _experiments(section: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    own = {key: value for key, value in section.items() if key not in ("spacing", "plotting")}
    told = _renamed(own, _EXPERIMENTS, "experiments", notes)
    if "spacing" in section:
        told["spacing"] = [
            _renamed(item, _SPACING, "experiments.spacing", notes) for item in section["spacing"]
        ]
    if "plotting" in section:
        told["plotting"] = _renamed(section["plotting"], _PLOTTING, "experiments.plotting", notes)
    return told


_KEYS = {
    "optimizerKwargs.lr": "learning_rate", "optimizerKwargs.weight_decay": "weight_decay", "batchSize": "batch_size",
    "numEpochs": "epochs", "startEpoch": "start_epoch", **_EXPERIMENTS,
}  # fmt: skip


def _customizations(items: Any, notes: list[str]) -> list[dict[str, Any]]:
    found = []
    for number, item in enumerate(items):
        section, *rest = item["key"]
        name = ".".join(rest)
        if name not in _KEYS:
            notes.append(f"customizations.{number}: {section}.{name} has no counterpart")
            continue
        if section == "training" and name == "startEpoch":
            section = "retraining"
        found.append({"key": [section, _KEYS[name]], "value": item["value"]})
    return found
