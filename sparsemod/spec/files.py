"""Spec files: YAML with `include:` of other files, and SpArSeMod's `config.cfg`.

`load` returns the spec of either kind of file. `read` also returns the other settings of a `config.cfg`.
`read_local` also reads a device profile beside the file. `dump` writes a spec as YAML. Every error is an
InvalidSpec with file and line, key, value and the allowed values.
"""

from dataclasses import replace
from pathlib import Path

from sparsemod.errors import InvalidSpec
from sparsemod.plugins import Names
from sparsemod.records import Value
from sparsemod.spec.config_cfg import read_config
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.spec.plain import CONFIG_SUFFIXES, INCLUDE, SpecFile, parse, parse_plain, read_plain
from sparsemod.targets import adopt_device
from sparsemod.yaml_text import dump_yaml


def load(path: Path | str, names: Names = Names.KNOWN) -> ExperimentSpec:
    """Return the spec in a .yaml, .yml, .json, .cfg or .ini file. Raises InvalidSpec.

    `names` says which methods it may name.
    """
    return read(path, names).spec


def read(path: Path | str, names: Names = Names.KNOWN) -> SpecFile:
    """Return the spec and the other settings of a .yaml, .yml, .json, .cfg or .ini file.

    `names` says which methods it may name. Raises InvalidSpec.
    """
    path = Path(path)
    if path.suffix.lower() in CONFIG_SUFFIXES:
        return read_config(path, names)
    plain = read_plain(path)
    return SpecFile(parse(plain, str(path), names), plain=plain)


def read_local(path: Path | str) -> SpecFile:
    """Return the result of `read` for an experiment that runs on this machine.

    The file may name methods as `module:attribute`, and `target.device` may be the path of a device profile
    beside the file. Raises InvalidSpec and the errors of `adopt_device`.
    """
    file = read(path, Names.IMPORTED)
    with file.locating():
        name = adopt_device(file.spec.target.device, Path(path).parent)
    target = file.spec.target.model_copy(update={"device": name})
    return replace(file, spec=file.spec.model_copy(update={"target": target}))


def loads(text: str, source: str = "text") -> ExperimentSpec:
    """Return the spec in a YAML or JSON text, which may not use `include`. Raises InvalidSpec."""
    plain = parse_plain(text, source)
    if INCLUDE in plain.data:
        raise InvalidSpec(INCLUDE, plain.data[INCLUDE], "only possible in a file", plain.place(INCLUDE))
    return parse(plain, source)


def dump(spec: ExperimentSpec) -> str:
    """Return the whole spec, defaults included, as YAML that `loads` reads back to an equal spec."""
    return dump_yaml(spec.to_dict())


def scalar(text: str, field: str = "value") -> Value:
    """Return a number, true, false or text, as a spec file would read it. Raises InvalidSpec with `field`."""
    try:
        data = parse_plain(f"value: {text}", "text").data
    except InvalidSpec:
        data = {}
    value = data.get("value")
    if len(data) != 1 or not isinstance(value, int | float | str):
        raise InvalidSpec(field, text, "a number, true, false or a word")
    return value
