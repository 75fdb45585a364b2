"""Generate parts of the documentation from the code.

mkdocs runs this file as a hook. It replaces a line `<!-- generated: NAME -->` of a page by the result of the function with that name, and a
line `<!-- example: FILE -->` by a file of examples/.
"""

import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sparsemod.export import EXPORTERS
from sparsemod.plugins import Alias, OneOf, PluginConfig, Plugins
from sparsemod.sources.base import SOURCES, SourceConfig
from sparsemod.sources.config_keys import ConfigKey
from sparsemod.sources.spacing import Spacing
from sparsemod.space.parameters import Categorical, Constraint, Fixed, Integer, Real
from sparsemod.spec.config_cfg import KEYS, TEST_KEYS
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.spec.methods import FAMILIES
from sparsemod.stages.base import STAGES, Stage
from sparsemod.studies.study_file import (
    Customization,
    StudyExperiments,
    StudyFile,
    StudyNetwork,
    StudyPlotting,
)
from sparsemod.studies.torchprune_keys import TUTORIAL

ROOT = Path(__file__).resolve().parent.parent

PARAMETERS: tuple[type[BaseModel], ...] = (Integer, Real, Categorical, Fixed, Constraint, Spacing)
"""Parts that the page describes by hand, with examples; the fields of all other parts describe themselves."""

UNIONS: dict[type[BaseModel], Any] = {SourceConfig: SOURCES, Stage: STAGES}
"""Parts of a spec with several forms, chosen by `name`."""

WORDS = {
    "integer": "whole number", "number": "number", "boolean": "true or false", "string": "text", "null": "null",
    "object": "mapping",
}  # fmt: skip
BOUNDS = {
    "minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}", "exclusiveMaximum": "< {}",
    "maxLength": "at most {} characters",
}  # fmt: skip


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return the page with its generated parts; mkdocs calls this for each page."""
    generated = re.sub(
        r"^<!-- generated: ([a-z_]+) -->$", lambda match: GENERATED[match[1]](), markdown, flags=re.MULTILINE
    )
    return re.sub(
        r"^<!-- example: (\S+) -->$", lambda match: example(match[1]), generated, flags=re.MULTILINE
    )


# -- the spec --------------------------------------------------------------------------------------------------------------------


def parts(model: type[BaseModel] = ExperimentSpec, path: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield every part of a spec with its dotted path, beginning with the spec."""
    yield path, model
    for name, info in model.model_fields.items():
        inside = f"{path}.{name}" if path else name
        for inner in _models(info.annotation):
            if inner in UNIONS:
                registry = UNIONS[inner]
                for member in registry.names():
                    yield from parts(registry.get(member), inside)
            elif inner not in PARAMETERS:
                yield from parts(inner, inside)


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, PluginConfig):
        return []  # one of several: `methods` describes them
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models(argument)]


def spec_reference() -> str:
    """Return a table for each part: key, values, default, meaning."""
    seen: set[type[BaseModel]] = set()
    lines: list[str] = []
    for path, model in parts():
        if model in seen:  # r1, r2 and r3 are alike
            continue
        seen.add(model)
        heading = f"`{path}`" if path else "The top level"
        if issubclass(model, tuple(UNIONS)):
            heading += f": `{model.model_fields['name'].default}`"
        lines += [f"### {heading}", "", _first_line(model), ""]
        lines += [*_keys_table(model), ""]
    return "\n".join(lines)


def study_keys() -> str:
    """Return a table of all keys of a study file."""
    lines = ["| key | values | default | meaning |", "| --- | --- | --- | --- |"]
    for path, model in (
        ("network", StudyNetwork), ("", StudyFile), ("experiments", StudyExperiments),
        ("experiments.plotting", StudyPlotting), ("customizations", Customization),
    ):  # fmt: skip
        inside = tuple(name for name in model.model_fields if name in ("network", "experiments", "plotting"))
        for line in _keys_table(model, inside)[2:]:
            lines.append(line.replace("| `", f"| `{path}.", 1) if path else line)
    return "\n".join(lines)


def torchprune_keys() -> str:
    """Return a table of the keys of torchprune's parameter files."""
    lines = ["| torchprune | here | meaning |", "| --- | --- | --- |"]
    for key in TUTORIAL:
        lines.append(f"| `{key.name}` | {f'`{key.ours}`' if key.ours else 'none'} | {key.meaning} |")
    return "\n".join(lines)


def _keys_table(model: type[BaseModel], without: tuple[str, ...] = ()) -> list[str]:
    """Return a table of a part's keys."""
    schema = model.model_json_schema()
    lines = ["| key | values | default | meaning |", "| --- | --- | --- | --- |"]
    for name, info in model.model_fields.items():
        if name in without:
            continue
        family = _family(info)
        values = (
            _values(schema["properties"][name], schema.get("$defs", {}))
            if family is None
            else f"{'list of ' if str(info.annotation).startswith('tuple') else ''}{_names(family)}, see [below](#{_anchor(family)})"
        )
        cells = (f"`{name}`", values, _default(info), info.description or "")
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return lines


def _family(info: FieldInfo) -> Plugins[Any, Any] | None:
    """Return the family from which a field chooses."""

    def within(annotation: Any) -> Iterator[Any]:
        yield from getattr(annotation, "__metadata__", ())
        for inner in get_args(annotation):
            yield from within(inner)

    found = (one.registry for one in (*info.metadata, *within(info.annotation)) if isinstance(one, OneOf))
    return next((registry for registry in found if isinstance(registry, Plugins)), None)


def _names(family: Plugins[Any, Any]) -> str:
    return ", ".join(f"`{name}`" for name in family.names())


def _anchor(family: Plugins[Any, Any]) -> str:
    return "".join(letter for letter in family.path if letter != ".")


def methods() -> str:
    """Describe every family of methods that a spec chooses from: its members and their keys."""
    return "\n".join(line for family in FAMILIES.values() for line in _members(family))


def export_formats() -> str:
    """Describe the export formats and their keys."""
    return "\n".join(_members(EXPORTERS))


def _members(family: Plugins[Any, Any]) -> list[str]:
    """Return the lines about a family: its members and their keys."""
    lines = [
        f"### `{family.path}`",
        "",
        f"`{family.key}`: the {family.kind}. Plug-ins register in the entry point group `{family.group}`.",
        "",
    ]
    shared = tuple(family.base.model_fields)
    if len(shared) > 2:
        lines += [
            f"Every {family.kind} has these keys:",
            "",
            *_keys_table(family.base, ("version", family.key)),
            "",
        ]
    for name in family.names():
        lines.append(f"- `{name}`: {family.describe(name)}")
    lines.append("")
    if family.aliases:
        lines += ["Other names stand for a method with settings:", ""]
        lines += [f"- name `{name}`: {_alias(family, alias)}" for name, alias in family.aliases.items()]
        lines.append("")
    for name in family.names():
        config = family.config_of(name)
        if set(config.model_fields) - set(shared):
            lines += [f"Keys of `{name}`:", "", *_keys_table(config, shared), ""]
    return lines


def _alias(family: Plugins[Any, Any], alias: Alias) -> str:
    keys = {family.key: alias.member, **alias.keys}
    return "`{" + ", ".join(f"{key}: {_yaml(value)}" for key, value in keys.items()) + "}`"


def _yaml(value: Any) -> str:
    return json.dumps(value) if not isinstance(value, str) else value


def _first_line(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().splitlines()[0]


def _values(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_values(choice, definitions) for choice in schema["anyOf"]))
    if "$ref" in schema:
        return _values(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        items = schema.get("items", {})
        return f"list of {_values(items, definitions)}" if items else "list"
    word = WORDS.get(schema.get("type", ""), "value")
    bounds = [text.format(schema[key]) for key, text in BOUNDS.items() if key in schema]
    return f"{word} {', '.join(bounds)}".strip()


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True)
    if isinstance(value, tuple) and value and all(isinstance(one, Stage) for one in value):
        return f"`{json.dumps([stage.name for stage in value])}`"
    if isinstance(value, tuple) and value and all(isinstance(one, BaseModel) for one in value):
        return f"`{json.dumps([one.model_dump(mode='json', exclude_defaults=True) for one in value])}`"
    family = _family(info)
    if family is not None and isinstance(value, PluginConfig):
        name = getattr(value, family.key)
        plain = value.model_dump(mode="json", exclude={"version"})
        return f"`{json.dumps(name if family.read(name) == value else plain)}`"
    if isinstance(value, BaseModel):
        flat_values = {
            key: inner for key, inner in value.model_dump(mode="json").items() if not isinstance(inner, dict)
        }
        return f"`{json.dumps(flat_values)}`" if len(flat_values) <= 3 and _flat(value) else "its defaults"
    return f"`{json.dumps(value)}`"


def _flat(value: BaseModel) -> bool:
    return all(not isinstance(inner, dict) for inner in value.model_dump(mode="json").values())


def config_keys(keys: Mapping[str, ConfigKey] = KEYS, title: str = "key") -> str:
    """Return the keys of a `config.cfg`."""
    lines = [f"| {title} | values | meaning |", "| --- | --- | --- |"]
    lines += [f"| `{name}` | {key.allowed} | {key.meaning} |" for name, key in keys.items()]
    return "\n".join(lines)


def config_test_keys() -> str:
    """Return the keys of [TEST] in a `config.cfg`."""
    return config_keys(TEST_KEYS, "key of [TEST]")


# -- files and commands ----------------------------------------------------------------------------------------------------------


def example(name: str) -> str:
    """Return a file of examples/ as a code block."""
    language = {".py": "python", ".yaml": "yaml"}[Path(name).suffix]
    return f"```{language}\n{(ROOT / 'examples' / name).read_text()}```"


def command_line() -> str:
    """Describe every command with its arguments and options, from the help of the command line."""
    import typer

    from service.cli import app

    group: Any = typer.main.get_command(app)
    lines: list[str] = []
    panel = ""
    for name, command in _commands(group):
        if (command.rich_help_panel or "") != panel:
            panel = command.rich_help_panel or ""
            lines += [f"## {panel}", ""]
        usage = " ".join(_argument(p) for p in command.params if p.param_type_name == "argument")
        lines += [
            f"### `sparsemod {name}`",
            "",
            (command.help or "").strip(),
            "",
            f"    sparsemod {name} [OPTIONS] {usage}".rstrip(),
            "",
        ]
        shown = [p for p in command.params if getattr(p, "help", None)]
        if shown:
            lines += ["| argument or option | default | meaning |", "| --- | --- | --- |"]
        for option in shown:
            names = ", ".join(f"`{text}`" for text in (*option.opts, *option.secondary_opts))
            if option.param_type_name == "argument":
                names = f"`{_argument(option)}`"
            plain = isinstance(option.default, int | float | str) and not isinstance(option.default, bool)
            default = f"`{option.default}`" if plain and option.default != "" else ""
            if isinstance(option.default, Path):
                default = f"`{option.default}`"
            cells = (cell.replace("|", "\\|") for cell in (names, default, option.help.strip()))
            lines.append(f"| {' | '.join(cells)} |".replace("\n", " "))
        lines.append("")
    return "\n".join(lines)


def _commands(group: Any) -> list[tuple[str, Any]]:
    """Return the visible commands with their names ("group command" in groups), in the order of the help."""
    commands: list[tuple[str, Any]] = []
    for name, command in group.commands.items():
        for inner_name, inner in getattr(command, "commands", {"": command}).items():
            inner.rich_help_panel = command.rich_help_panel
            if not command.hidden and not inner.hidden:
                commands.append((f"{name} {inner_name}".strip(), inner))
    panels = list(dict.fromkeys(command.rich_help_panel for _, command in commands))
    return sorted(commands, key=lambda item: panels.index(item[1].rich_help_panel))


def _argument(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def http_api() -> str:
    """Describe every route with its parameters and responses, from the server's OpenAPI description."""
    from service.http.app import create_app
    from service.settings import Settings

    # Use an empty folder: the current one may contain experiments.
    with tempfile.TemporaryDirectory() as folder:
        description = create_app(Settings(data_dir=Path(folder))).openapi()
    lines: list[str] = []
    for path, methods in description["paths"].items():
        for method, route in methods.items():
            lines += [
                f"### `{method.upper()} {path}`",
                "",
                route.get("summary", ""),
                "",
                route.get("description", ""),
                "",
            ]
            parameters = route.get("parameters", [])
            if parameters:
                lines += ["| parameter | where | values | meaning |", "| --- | --- | --- | --- |"]
            for parameter in parameters:
                values = _values(parameter["schema"], description.get("components", {}).get("schemas", {}))
                meaning = parameter.get("description", "")
                lines.append(f"| `{parameter['name']}` | {parameter['in']} | {values} | {meaning} |")
            lines += ["", *_body(route, description.get("components", {}).get("schemas", {}))]
            lines += ["| answer | meaning |", "| --- | --- |"]
            for status, answer in route.get("responses", {}).items():
                lines.append(f"| {status} | {answer.get('description', '')} |")
            lines.append("")
    return "\n".join(lines)


def settings() -> str:
    """Return the service's settings with their environment variables."""
    from service.settings import Settings

    prefix = Settings.model_config.get("env_prefix", "")
    lines = ["| variable | default | meaning |", "| --- | --- | --- |"]
    for name, info in Settings.model_fields.items():
        default = info.get_default(call_default_factory=True)
        shown = f"`{default}`" if default not in ("", ()) else ""
        lines.append(f"| `{(prefix + name).upper()}` | {shown} | {info.description} |")
    return "\n".join(lines)


def _body(route: dict[str, Any], definitions: dict[str, Any]) -> list[str]:
    """Return the keys of a JSON body, or its media types."""
    content = route.get("requestBody", {}).get("content", {})
    schema = content.get("application/json", {}).get("schema", {})
    model = definitions.get(schema.get("$ref", "").rpartition("/")[2], {})
    if not model.get("properties"):
        return [f"Body: {', '.join(f'`{kind}`' for kind in content)}.", ""] if content else []
    lines = ["| key of the body | values | meaning |", "| --- | --- | --- |"]
    for name, inner in model["properties"].items():
        values = _values(inner, definitions).replace("|", "\\|")
        lines.append(f"| `{name}` | {values} | {inner.get('description', '')} |")
    return [*lines, ""]


GENERATED: dict[str, Callable[[], str]] = {
    "spec_reference": spec_reference,
    "methods": methods,
    "study_keys": study_keys,
    "torchprune_keys": torchprune_keys,
    "export_formats": export_formats,
    "config_keys": config_keys,
    "config_test_keys": config_test_keys,
    "command_line": command_line,
    "http_api": http_api,
    "settings": settings,
}
