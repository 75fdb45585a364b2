"""Everything that a spec may name on this server, for forms."""

import inspect
from typing import Any

from fastapi import APIRouter

from service.http.routes.common import failures
from service.schemas.dashboard import (
    Catalogue,
    DatasetView,
    DeviceView,
    FamilyView,
    FrontEndView,
    MetricView,
    OptionView,
    SettingView,
    SourceView,
    TaskView,
)
from sparsemod.data.source import DATASETS, declared
from sparsemod.errors import SparsemodError
from sparsemod.networks.family import FAMILIES, create_family
from sparsemod.sources.base import SOURCES
from sparsemod.space.parameters import Parameter
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.spec.methods import FRONT_ENDS, TASKS
from sparsemod.spec.source_choice import source_from
from sparsemod.targets import device, device_names
from sparsemod.units import ALIASES, CHOICES, METRICS

router = APIRouter(tags=["service"])

CLASSIFICATION = "classification"
TARGETS = "targets"
"""The option of a dataset that the spec's task sets."""


@router.get("/catalogue", summary="List the names that a spec may use", responses=failures())
def show_catalogue() -> Catalogue:
    """Lists tasks, families with their options and parameters, front ends, datasets, devices and metrics, and the schema and
    the defaults of a spec."""
    defaults = ExperimentSpec.parse({"dataset": {"name": "digits"}, "network": {"family": "cnn"}}).to_dict()
    return Catalogue(
        tasks=tuple(TaskView(name=name, description=TASKS.describe(name)) for name in TASKS.names()),
        families=tuple(_family(name) for name in FAMILIES.names()),
        front_ends=tuple(_front_end(name) for name in FRONT_ENDS.names()),
        datasets=tuple(_dataset(name) for name in DATASETS.names()),
        sources=tuple(_source(name) for name in SOURCES.names()),
        devices=tuple(_device(name) for name in device_names()),
        metrics=tuple(
            MetricView(
                name=m.name, title=m.title, unit=m.unit, units=tuple(u for u in m.units if u), objective=m.name in CHOICES
            )
            for m in METRICS.values()
        ),
        aliases=dict(ALIASES),
        schema=ExperimentSpec.model_json_schema(),
        defaults=defaults,
    )  # fmt: skip


def _family(name: str) -> FamilyView:
    member = FAMILIES.get(name)
    spaces: dict[str, tuple[dict[str, Any], ...]] = {}
    try:
        family = create_family(name, {})
    except SparsemodError:
        family = None  # one of its options is required
    for dataset in DATASETS.names() if family is not None else ():
        info = declared(dataset)
        # The declared datasets have classes; a family for another task has no use for them.
        if info is None or family is None or member.task != CLASSIFICATION:
            continue
        try:
            spaces[dataset] = tuple(_parameter(parameter) for parameter in family.space(info).parameters)
        except SparsemodError:
            continue  # the family cannot read data of this shape
    return FamilyView(
        name=name,
        description=_summary(member),
        task=None if member.task == CLASSIFICATION else member.task,
        options=_options(member),
        spaces=spaces,
    )


def _front_end(name: str) -> FrontEndView:
    settings = []
    for key, field in FRONT_ENDS.config_of(name).model_fields.items():
        if key in ("name", "version"):
            continue
        default = field.get_default(call_default_factory=True)
        many = isinstance(default, tuple)
        settings.append(
            SettingView(
                name=key,
                description=field.description or "",
                default=list(default) if many else default,
                many=many,
            )
        )
    return FrontEndView(name=name, description=_summary(FRONT_ENDS.get(name)), settings=tuple(settings))


def _dataset(name: str) -> DatasetView:
    member, info = DATASETS.get(name), declared(name)
    return DatasetView(
        name=name,
        description=_summary(member),
        options=tuple(option for option in _options(member) if option.name != "root"),
        shape=None if info is None else info.shape,
        layout=None if info is None else info.layout,
        classes=None if info is None else info.classes,
    )


def _source(name: str) -> SourceView:
    member = SOURCES.get(name)
    config = source_from({"name": name})
    return SourceView(
        name=name,
        description=_summary(member),
        defaults=config.model_dump(mode="json"),
        rounds={part.name: part.title for part in config.plan()},
    )


def _device(name: str) -> DeviceView:
    target = device(name)
    return DeviceView(**{field: getattr(target, field) for field in DeviceView.model_fields})


def _parameter(parameter: Parameter) -> dict[str, Any]:
    data: dict[str, Any] = {"type": type(parameter).__name__.lower()}
    for field in ("name", "low", "high", "log", "values", "ordered", "value"):
        if hasattr(parameter, field):
            value = getattr(parameter, field)
            data[field] = list(value) if isinstance(value, tuple) else value
    data["when"] = [{"parameter": c.parameter, "values": list(c.values)} for c in parameter.when]
    return data


def _options(member: Any) -> tuple[OptionView, ...]:
    try:
        parameters = list(inspect.signature(member).parameters.values())
    except (TypeError, ValueError):
        return ()
    kinds = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return tuple(
        OptionView(
            name=p.name, required=p.default is p.empty, default=None if p.default is p.empty else p.default
        )
        for p in parameters
        if p.kind in kinds and p.name != TARGETS
    )


def _summary(member: Any) -> str:
    return (inspect.getdoc(member) or "").split("\n")[0]
