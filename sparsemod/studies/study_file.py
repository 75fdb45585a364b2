"""Study files: compression studies in the layout that users of torchprune know, as specs with the source `study`.

A file has the sections `network`, `training`, `retraining`, `experiments` and `customizations`, and keys of a spec that a
study has in common with other experiments. `read_study` returns one spec for the file, or one for each customization.
"""

import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from sparsemod.errors import InvalidInput, InvalidSpec
from sparsemod.plugins import Names
from sparsemod.records import Value
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.spec.parts import Part
from sparsemod.spec.plain import YAML_SUFFIXES, Plain, read_plain
from sparsemod.spec.translation import plain_json, translate
from sparsemod.stages.base import DEFAULT

SHARED = ("name", "seed", "quantization", "measure", "target", "objectives", "budgets", "limits")
"""Keys with the meaning that they have in a spec."""


class StudyNetwork(Part):
    """The network and its data."""

    name: str | None = Field(None, description="A network of the zoo, such as `resnet-20`.")
    family: str | None = Field(None, description="Instead of `name`: a family of networks.")
    options: dict[str, Value] = Field({}, description="Options of the family.")
    parameters: dict[str, Value] = Field(
        {}, description="Parameters of the family; those left out have their defaults."
    )
    dataset: str | dict[str, Any] = Field(
        description="Name of the dataset, or a mapping with the keys of a spec's `dataset`."
    )


class StudyPlotting(Part):
    """Which part of the curves the plots show."""

    min: float = Field(0.0, ge=0, le=1, description="Smallest share of the weights that stays in plots.")
    max: float = Field(1.0, ge=0, le=1, description="Largest share of the weights that stays in plots.")


class StudyExperiments(Part):
    """What is pruned and how often."""

    methods: list[str] = Field(description="Pruning methods; torchprune's names are allowed.")
    mode: Literal["train", "retrain", "cascade", "cascade-rewind"] = Field(
        "retrain",
        description="`train`: only the reference networks. `retrain`: each ratio starts from the reference. `cascade`: "
        "each ratio starts from the ratio before. `cascade-rewind`: as `cascade`, with weights rewound to "
        "`retraining.start_epoch`.",
    )
    repetitions: int = Field(1, description="How often each method prunes the same network.")
    nets: int = Field(1, description="Reference networks, each with a seed of its own.")
    spacing: list[dict[str, Any]] = Field(
        [{"type": "geometric", "intervals": 5, "max": 0.8, "min": 0.1}],
        description="Shares of the weights that stay: `type`, `intervals`, `max`, `min`, or `values` of `manual`.",
    )
    retrain_iterations: int = Field(
        -1, description="Number of ratios that are retrained and reported; -1: every ratio."
    )
    schedule: str | dict[str, Any] = Field(
        {"name": "one-shot", "begin": 0.0},
        description="When a method prunes during retraining: a pruning schedule. Default: at the beginning.",
    )
    plotting: StudyPlotting = Field(StudyPlotting(), description="The range that plots show.")


class Customization(Part):
    """One value of a sweep over one key."""

    key: str | list[str] = Field(description="The key to change: `[training, learning_rate]`, or with dots.")
    value: Any = Field(description="Its value.")

    @property
    def path(self) -> tuple[str, ...]:
        """The key as its parts."""
        return tuple(self.key.split(".") if isinstance(self.key, str) else self.key)


class StudyFile(Part):
    """The sections of a study file."""

    network: StudyNetwork = Field(description="The network and its data.")
    training: dict[str, Any] = Field(
        {}, description="Keys of a spec's `training`, and `epochs`: of the reference networks, 5 by default."
    )
    retraining: dict[str, Any] = Field(
        {},
        description="Keys that differ after pruning. `epochs`: as in `training` by default. `start_epoch`: retraining "
        "begins at this epoch of the learning rate, so that `epochs` - `start_epoch` epochs are trained.",
    )
    experiments: StudyExperiments = Field(description="Methods, ratios and repetitions.")
    customizations: list[Customization] = Field(
        [], description="A sweep over one key at a time: one study for each entry, with this key changed."
    )
    name: Any = Field(None, description="As in a spec. Default: the file's name.")
    seed: Any = Field(None, description="As in a spec.")
    quantization: Any = Field(None, description="As in a spec.")
    measure: Any = Field(None, description="As in a spec.")
    target: Any = Field(None, description="As in a spec.")
    objectives: Any = Field(None, description="As in a spec.")
    budgets: Any = Field(None, description="As in a spec.")
    limits: Any = Field(None, description="As in a spec.")


@dataclass(frozen=True)
class Study:
    """One study of a file: its spec, the shares of weights that plots show, and what a customization changed."""

    spec: ExperimentSpec
    plotting: tuple[float, float]
    change: str = ""


_FIELDS = (
    ("source.retrain_epochs", "retraining.epochs"),
    ("source.start_epoch", "retraining.start_epoch"),
    ("source.epochs", "training.epochs"),
    ("source.retraining", "retraining"),
    ("source.", "experiments."),
    ("pruning.schedule", "experiments.schedule"),
    ("space.network", "network.name"),
    ("space.", "network.parameters."),
    ("dataset", "network.dataset"),
)
"""Field of the spec -> key of the study file."""


def read_study(path: Path, names: Names = Names.IMPORTED) -> list[Study]:
    """Return the studies of a file: one, or one for each customization.

    Raises InvalidSpec that names file, line and key.
    """
    if path.suffix.lower() not in YAML_SUFFIXES:
        raise InvalidSpec("file", str(path), f"a study file ending in {', '.join(YAML_SUFFIXES)}")
    plain = read_plain(path)
    default = re.sub(r"[^\w .-]", "-", path.stem).strip(" .-_") or "study"
    file = _parsed(plain.data, plain, str(path))
    if not file.customizations:
        return [_study(plain.data, plain, str(path), default, names)]
    studies = []
    for number, one in enumerate(file.customizations):
        data = deepcopy(plain.data)
        data.pop("customizations")
        place = plain.place(f"customizations.{number}")
        _set(data, one, f"customizations.{number}.key", place)
        try:
            study = _study(data, plain, str(path), default, names)
        except InvalidInput as error:
            raise InvalidSpec(error.field, error.value, error.allowed, place) from None
        label = f"{one.path[-1]} {one.value}"
        name = re.sub(r"[^\w .-]+", "-", f"{study.spec.name} {number} {label}").strip(" -")[:100]
        studies.append(Study(study.spec.model_copy(update={"name": name}), study.plotting, label))
    return studies


def _set(data: dict[str, Any], change: Customization, field: str, place: str | None) -> None:
    """Set the key of a customization. Only mappings can be entered."""
    inner: Any = data
    *above, last = change.path or ("",)
    for depth, key in enumerate(above):
        inner = inner.setdefault(key, {})
        if not isinstance(inner, dict):
            inside = ".".join(above[: depth + 1])
            raise InvalidSpec(field, list(change.path), f"keys of mappings; {inside} is not one", place)
    inner[last] = change.value


def _parsed(data: Mapping[str, Any], plain: Plain, source: str) -> StudyFile:
    try:
        return StudyFile.model_validate_json(plain_json(data, source))
    except ValidationError as error:
        found = translate(error, StudyFile, source)
        raise InvalidSpec(
            found.field, found.value, found.allowed, plain.place(found.field) or source
        ) from None


def _study(data: Mapping[str, Any], plain: Plain, source: str, name: str, names: Names) -> Study:
    file = _parsed(data, plain, source)
    try:
        spec = ExperimentSpec.parse(_plain_spec(file, name), source, names)
    except InvalidInput as error:
        field = key_of(error.field)
        raise InvalidSpec(field, error.value, error.allowed, plain.place(field) or source) from None
    shown = file.experiments.plotting
    if shown.min >= shown.max:
        where = plain.place("experiments.plotting") or source
        raise InvalidSpec("experiments.plotting.min", shown.min, f"below max, which is {shown.max:g}", where)
    return Study(spec, (shown.min, shown.max))


def key_of(field: str) -> str:
    """Return the key of a study file for a field of its spec."""
    for start, key in _FIELDS:
        if field.startswith(start):
            return key + field.removeprefix(start)
    return field


def _plain_spec(file: StudyFile, name: str) -> dict[str, Any]:
    network, chosen = file.network, file.experiments
    if (network.name is None) == (network.family is None):
        raise InvalidInput("network.name", network.name, "either `name`, a network of the zoo, or `family`")
    if network.name is not None and (network.options or network.parameters):
        raise InvalidInput("network.options", network.options, "only with `family`")
    training, retraining = dict(file.training), dict(file.retraining)
    epochs = training.pop("epochs", 5)
    start = retraining.pop("start_epoch", 0)
    whole = retraining.pop("epochs", epochs)
    for key, value, least in (("training.epochs", epochs, 1), ("retraining.start_epoch", start, 0)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise InvalidInput(key, value, f"a whole number of at least {least}")
    if not isinstance(whole, int) or isinstance(whole, bool) or whole <= start:
        raise InvalidInput("retraining.epochs", whole, f"a whole number above start_epoch, which is {start}")
    dataset = {"name": network.dataset} if isinstance(network.dataset, str) else network.dataset
    spec: dict[str, Any] = {
        "name": name,
        "dataset": dataset,
        "network": {"family": "zoo", "options": {"networks": network.name}}
        if network.name is not None
        else {"family": network.family, "options": network.options},
        "space": {n: {"type": "fixed", "value": v} for n, v in network.parameters.items()},
        "training": training,
        "pipeline": [*DEFAULT, "damage"],
        "pruning": {"method": "filters", "of": "weights", "schedule": chosen.schedule},
        "source": {
            "name": "study",
            "methods": chosen.methods,
            "mode": chosen.mode,
            "repetitions": chosen.repetitions,
            "nets": chosen.nets,
            "spacing": chosen.spacing,
            "retrain_iterations": chosen.retrain_iterations,
            "epochs": epochs,
            "retrain_epochs": whole - start,
            "start_epoch": start,
            "retraining": retraining,
        },
    }
    given = {key: getattr(file, key) for key in SHARED}
    return spec | {key: value for key, value in given.items() if value is not None}
