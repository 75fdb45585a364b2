"""Read profiles of this package (`devices/*.yaml`, `cores/*.yaml`), of other packages, and of the user.

SPARSEMOD_DEVICES names folders (separated as in PATH) with a user's `NAME.yaml` files. To add a device, add a
file `devices/NAME.yaml` with the fields of `Device`. To add a core, add a file `cores/CORE.yaml` with the
fields of `OperatorModel`.
"""

import os
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from sparsemod.errors import DataMissing, InvalidInput, InvalidSpec, UnknownName, plain_message
from sparsemod.registry import Registry
from sparsemod.targets.device import Device
from sparsemod.targets.model import OperatorModel
from sparsemod.yaml_text import parse_yaml

FOLDERS = "SPARSEMOD_DEVICES"
DEVICES: Registry[Device] = Registry("device", "sparsemod.devices")
_Profile = TypeVar("_Profile", bound=BaseModel)


def device(name: str, *, files: bool = False, field: str = "target.device") -> Device:
    """Return the device called `name`; with `files`, `name` may be the path of a .yaml profile.

    Set `files` only in local commands, never for remote requests. Raises UnknownName, which names `field` and
    lists the known devices.
    """
    if files and name.endswith((".yaml", ".yml")):
        return load_device(name)
    own = _own_devices(os.environ.get(FOLDERS, ""))
    if name in own:
        return own[name]
    if ":" not in name and name not in DEVICES.names():
        raise UnknownName(field, name, device_names())
    return DEVICES.get(name, field=field)


def adopt_device(name: str, folder: Path) -> str:
    """Register the device of a .yaml path (relative to `folder`) and return its name; return other names as is.

    For local commands only. Raises the errors of `load_device`, and DuplicateName when another device has the
    name.
    """
    if not name.endswith((".yaml", ".yml")):
        return name
    profile = load_device(folder / name)
    DEVICES.add(profile.name, profile)
    return profile.name


def device_names() -> tuple[str, ...]:
    """Return the names of all known devices, sorted."""
    return tuple(sorted({*DEVICES.names(), *_own_devices(os.environ.get(FOLDERS, ""))}))


@cache
def _own_devices(folders: str) -> dict[str, Device]:
    devices = {}
    for folder in filter(None, folders.split(os.pathsep)):
        if not Path(folder).expanduser().is_dir():
            raise DataMissing("device profiles", ["*.yaml"], folder, f"{FOLDERS} names this folder")
        for path in sorted(Path(folder).expanduser().glob("*.yaml")):
            profile = load_device(path)
            devices[profile.name] = profile
    return devices


def load_device(path: Path | str) -> Device:
    """Read a device from a YAML file without registering it.

    Raises DataMissing, or InvalidInput, which names file and field.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataMissing(
            "device profile",
            [path.name],
            str(path.parent),
            "write one like the files in sparsemod/targets/devices",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput("device profile", str(path), f"a readable YAML file ({error})") from error
    return _parse(Device, text, str(path))


@cache
def calibrated_cores() -> tuple[str, ...]:
    """Return the cores with an operator model, sorted."""
    names = (entry.name for entry in (files("sparsemod.targets") / "cores").iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml")))


@cache
def operator_model(core: str) -> OperatorModel:
    """Return the operator model of `core`. Raises UnknownName, which lists the cores with a model."""
    if core not in calibrated_cores():
        raise UnknownName("operator_model", core, calibrated_cores())
    entry = files("sparsemod.targets") / "cores" / f"{core}.yaml"
    return _parse(OperatorModel, entry.read_text(encoding="utf-8"), entry.name)


def _parse(model: type[_Profile], text: str, source: str) -> _Profile:
    try:
        data, places = parse_yaml(text, source)
    except InvalidSpec as error:
        field = "device profile" if error.field == "spec" else error.field
        raise InvalidInput(field, error.value, error.allowed, error.source) from None
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        source = places.get(first["loc"], source)
        *path, last = first["loc"]
        if first["type"] == "extra_forbidden":
            allowed = f"unknown key; known here: {', '.join(_fields_at(model, path))}"
        elif first["type"] == "missing":
            allowed = f"is missing; {_fields_at(model, path)[str(last)].description}"
            raise InvalidInput(field, None, allowed, source) from None
        else:
            allowed = plain_message(first["msg"])
        raise InvalidInput(field, first["input"], allowed, source) from None


def _fields_at(model: type[BaseModel], path: Iterable[int | str]) -> Mapping[str, FieldInfo]:
    """Return the fields of the model at a path of keys, through models and mappings of them."""
    inner: Any = model
    for part in path:
        inner = get_args(inner)[1] if get_origin(inner) is dict else inner.model_fields[part].annotation
    fields: Mapping[str, FieldInfo] = inner.model_fields
    return fields


def _add_packaged() -> None:
    for entry in sorted((files("sparsemod.targets") / "devices").iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".yaml"):
            profile = _parse(Device, entry.read_text(encoding="utf-8"), entry.name)
            DEVICES.add(profile.name, profile)


_add_packaged()
