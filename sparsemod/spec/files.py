"""Files that hold an experiment: YAML, with `include:` of other files, and SpArSeMod's `config.cfg`.

`load` gives the spec of either kind of file, `read` also what a `config.cfg` says beside the spec, `dump` writes a spec as YAML.
Every mistake is an InvalidSpec that names file and line, key, value and what is allowed.
"""

from pathlib import Path

from sparsemod.errors import InvalidSpec
from sparsemod.plugins import Names
from sparsemod.records import Value
from sparsemod.spec.config_cfg import read_config
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.spec.plain import CONFIG_SUFFIXES, INCLUDE, SpecFile, parse, parse_plain, read_plain
from sparsemod.yaml_text import dump_yaml


def load(path: Path | str, names: Names = Names.KNOWN) -> ExperimentSpec:
    """The spec in a .yaml, .yml, .json, .cfg or .ini file. `names` says which methods it may name. Raises InvalidSpec."""
    return read(path, names).spec


def read(path: Path | str, names: Names = Names.KNOWN) -> SpecFile:
    """The spec and the settings beside it in a .yaml, .yml, .json, .cfg or .ini file. `names` says which methods it may name.

    Raises InvalidSpec.
    """
    path = Path(path)
    if path.suffix.lower() in CONFIG_SUFFIXES:
        return read_config(path, names)
    plain = read_plain(path)
    return SpecFile(parse(plain, str(path), names), plain=plain)


def loads(text: str, source: str = "text") -> ExperimentSpec:
    """The spec in a YAML or JSON text; `include` is not possible here. Raises InvalidSpec."""
    plain = parse_plain(text, source)
    if INCLUDE in plain.data:
        raise InvalidSpec(INCLUDE, plain.data[INCLUDE], "only possible in a file", plain.place(INCLUDE))
    return parse(plain, source)


def dump(spec: ExperimentSpec) -> str:
    """The whole spec, defaults included, as YAML that `loads` reads back to an equal spec."""
    return dump_yaml(spec.to_dict())


def scalar(text: str, field: str = "value") -> Value:
    """A number, true, false or text, as a spec file would read it. Raises InvalidSpec that names `field`."""
    try:
        data = parse_plain(f"value: {text}", "text").data
    except InvalidSpec:
        data = {}
    value = data.get("value")
    if len(data) != 1 or not isinstance(value, int | float | str):
        raise InvalidSpec(field, text, "a number, true, false or a word")
    return value
