"""The documentation is run: python blocks executed, specs loaded, commands parsed, tables complete."""

import importlib
import importlib.util
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from support_docs import DOCS, EXAMPLES, PAGES, ROOT, Block, blocks, built, generator

from sparsemod.plugins import Plugin
from sparsemod.spec.files import dump, load, loads
from sparsemod.spec.methods import FAMILIES

generate = generator()
SMALL: dict[str, Any] = {"dataset": {"name": "digits"}, "network": {"family": "cnn"}}


# The tour's need what its commands leave behind (test_docs_tour.py), those of python.md a server (test_docs_python.py).
RUN = [page for page in PAGES if blocks("python", (page,)) and page.name not in ("tour.md", "python.md")]


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.name)
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    names: dict[str, Any] = {"__name__": "documentation"}
    for block in blocks("python", (page,)):
        # The lines before keep the numbers of a traceback those of the page.
        exec(compile("\n" * block.line + block.text, str(page), "exec"), names)  # noqa: S102 - the point of this test


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_yaml_blocks_are_specs_or_parts_of_one(block: Block) -> None:
    given = yaml.safe_load(block.text)
    whole = SMALL | given
    loads(dump(loads(block.text)) if whole == given else yaml.safe_dump(whole), str(block))


@pytest.mark.parametrize("block", blocks("ini"), ids=str)
def test_ini_blocks_are_config_files(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "config.cfg"
    path.write_text(block.text)
    load(path)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_examples_load(path: Path) -> None:
    spec = load(path)
    assert loads(dump(spec)) == spec
    assert spec.name == path.stem.replace("_", " ")


def test_every_method_and_its_keys_are_described() -> None:
    text = generate.methods()
    for path, family in FAMILIES.items():
        section = text.split(f"### `{path}`\n")[1].split("\n### ")[0]
        for name in family.names():
            assert f"- `{name}`: {family.describe(name)}" in section
            for key in set(family.config_of(name).model_fields) - {"version", family.key}:
                assert f"| `{key}` |" in section, f"{path}: {name}.{key}"
        assert f"(#{path.replace('.', '')})" in generate.spec_reference() + text


def test_every_registry_of_methods_is_on_a_page() -> None:
    text = "\n".join(built(page.name) for page in DOCS.glob("*.md"))
    modules = {path: path.read_text() for path in (ROOT / "sparsemod").rglob("*.py")}
    declared = [
        (path, name)
        for path, code in modules.items()
        for name in re.findall(r"^(\w+): Plugins\[", code, re.MULTILINE)
    ]
    assert len(declared) > len(FAMILIES)
    for path, name in declared:
        family = getattr(
            importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts)), name
        )
        section = text.split(f"### `{family.path}`\n")[1].split("\n### ")[0]
        assert f"`{family.group}`" in section
        # Other tests may register members of their own.
        own = [name for name in family.names() if family.get(name).__module__.startswith("sparsemod.")]
        for member in own:
            assert f"- `{member}`: {family.describe(member)}" in section
            assert issubclass(family.get(member), Plugin) and issubclass(
                family.config_of(member), family.base
            )


WIDTH = 120


@pytest.mark.parametrize(
    "page", [*PAGES, *EXAMPLES.rglob("*.py"), *EXAMPLES.rglob("*.yaml")], ids=lambda page: page.name
)
def test_lines_are_short(page: Path) -> None:
    long = [number for number, line in enumerate(page.read_text().splitlines(), 1) if len(line) > WIDTH]
    assert not long, f"{page.name}: lines {long} have more than {WIDTH} columns"


def test_every_field_of_a_parameter_is_described() -> None:
    page = (DOCS / "spec.md").read_text()
    for model in generate.PARAMETERS:
        for name in model.model_fields:
            # `name` is the key itself.
            assert name == "name" or f"`{name}`" in page or f"{name}:" in page, f"{model.__name__}.{name}"


def test_the_readme_describes_the_demo() -> None:
    rounds = load(ROOT / "service" / "cli" / "demo.yaml").source.rounds
    text = " ".join((ROOT / "README.md").read_text().split())
    assert (
        f"{rounds.r1.trials} Sobol trials, {rounds.r2.trials} chosen by a Gaussian process, {rounds.r3.trials} morphs"
        in text
    )


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text()
    for page in DOCS.glob("*.md"):
        assert f": {page.name}\n" in navigation, page.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_pages_name_exist(page: Path) -> None:
    for name in re.findall(
        r"`((?:sparsemod|service|docs|examples|tests|benchmarks)/[a-z0-9_./-]*)`", page.read_text()
    ):
        assert (ROOT / name).exists(), name


COMMANDS = [
    (str(block), line.removeprefix("$ "))
    for block in blocks("console")
    for line in block.text.splitlines()
    if line.startswith("$ ")
]


@pytest.mark.parametrize(("place", "line"), COMMANDS, ids=[f"{place} {line}" for place, line in COMMANDS])
def test_commands_exist(place: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [word for word in shlex.split(line, comments=True) if word != "&"]
    while "=" in words[0]:  # environment variables
        words.pop(0)
    if words[:2] == ["python3", "dev.py"]:
        assert f'"{words[2]}": command_' in (ROOT / "dev.py").read_text()
        return
    assert words[0] in {"sparsemod", "worker", "cd", "curl", "export"}, f"{place}: {line}"
    if words[0] in {"sparsemod", "worker"}:
        monkeypatch.chdir(EXAMPLES)
        parse_command(words[1:] if words[0] == "sparsemod" else words)


def parse_command(words: list[str]) -> None:
    """Parse a `sparsemod` command line without running it.

    Raises click's UsageError for an unknown command or option.
    """
    import typer

    from service.cli import app

    group: Any = typer.main.get_command(app)
    name, command, rest = group.resolve_command(
        group.make_context("sparsemod", words, resilient_parsing=True), words
    )
    assert name and command
    if "--help" not in rest:
        command.make_context(name, rest)


def test_images_are_here_and_load_nothing() -> None:
    readme = (ROOT / "README.md").read_text()
    images = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", readme)
    assert images
    for image in images:
        if image.endswith(".png"):
            assert (ROOT / image).read_bytes().startswith(b"\x89PNG")
            continue
        content = (ROOT / image).read_text()
        assert "@font-face" not in content and "<script" not in content
        assert "sparsemod" in content


def test_every_picture_is_made_by_the_command() -> None:
    spec = importlib.util.spec_from_file_location("pictures", DOCS / "pictures.py")
    assert spec and spec.loader
    pictures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pictures)
    assert {path.name for path in (DOCS / "images").iterdir()} == {
        pictures.DEMO,
        pictures.MEMORY,
        *pictures.VIEWS,
    }
    loads(pictures.SECOND)
