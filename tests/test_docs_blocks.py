"""What pages show besides Python, specs and commands: entry points, addresses, C prototypes; and the words that they must explain."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import jsonschema_rs
import pytest
import torch
from support_docs import DOCS, EXAMPLES, PAGES, Block, blocks
from torch import nn

from service.http.app import create_app
from service.settings import Settings
from sparsemod.export.c import project
from sparsemod.quantization import quantize
from sparsemod.records import FailureKind, TrialState


def test_entry_points_of_a_users_package(tmp_path: Path) -> None:
    (block,) = blocks("toml", (DOCS / "own.md",))
    groups = tomllib.loads(block.text)["project"]["entry-points"]
    folder = tmp_path / "own-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: own\nVersion: 1.0\n")
    lines = [f"[{group}]\n{name} = {place}\n" for group, own in groups.items() for name, place in own.items()]
    (folder / "entry_points.txt").write_text("".join(lines))
    places = (tmp_path, EXAMPLES, EXAMPLES / "own_network")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places))}
    for command, group in (("families", "sparsemod.families"), ("datasets", "sparsemod.datasets")):
        done = subprocess.run(
            [sys.executable, "-m", "service.cli", command],
            capture_output=True, text=True, check=True, env=environment, cwd=DOCS.parent,
        )  # fmt: skip
        for name in groups[group]:
            assert re.search(rf"\b{name}\b", done.stdout), f"{command}: {done.stdout}"


CURLS = [
    (block, line.removeprefix("$ "))
    for block in blocks("console")
    for line in block.text.splitlines()
    if line.startswith("$ curl")
]


@pytest.mark.parametrize(("block", "line"), CURLS, ids=[line for _, line in CURLS])
def test_addresses_and_bodies_that_are_shown(block: Block, line: str, tmp_path: Path) -> None:
    description = json.loads(json.dumps(create_app(Settings(data_dir=tmp_path)).openapi()))
    words = shlex.split(line)
    (address,) = (word for word in words if word.startswith("http://"))
    path = "/" + address.split("/", 3)[3].partition("?")[0]
    given = [words[place + 1] for place, word in enumerate(words) if word in ("-d", "--data-binary")]
    method = words[words.index("-X") + 1] if "-X" in words else "POST" if given else "GET"
    found = [
        methods[method.lower()]
        for route, methods in description["paths"].items()
        if method.lower() in methods and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", route), path)
    ]
    assert len(found) == 1, f"{block}: {method} {path}"
    if given and not given[0].startswith("@"):
        schema = found[0]["requestBody"]["content"]["application/json"]["schema"]
        whole = {**schema, "components": description["components"]}
        jsonschema_rs.validator_for(whole).validate(json.loads(given[0]))


def test_c_prototypes_are_those_of_a_header(tmp_path: Path) -> None:
    plain, several, streaming = blocks("c", (DOCS / "c-export.md",))
    image = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval()
    sequence = nn.Sequential(
        nn.ConstantPad1d((2, 0), 0.0), nn.Conv1d(4, 3, 3), nn.AdaptiveAvgPool1d(1), nn.Flatten()
    )
    for number, (block, module, shape) in enumerate(
        ((plain, image, (1, 4, 4)), (streaming, sequence.eval(), (4, 9)))
    ):
        network = replace(quantize(module, torch.randn(8, *shape)), classes=("a", "b", "c"))
        folder = tmp_path / f"made{number}"
        project(network, folder, name="digits")
        header = (folder / "digits.h").read_text()
        for line in block.text.splitlines():
            prototype = line.partition(";")[0] + ";"
            assert prototype in header
    samples = {"image": torch.randn(8, 1, 4, 4), "sensors": torch.randn(8, 3)}
    project(quantize(Fusion(), samples), tmp_path / "fusion", name="fusion")
    header = (tmp_path / "fusion" / "fusion.h").read_text()
    assert all(line in header for line in several.text.splitlines())


class Fusion(nn.Module):
    def forward(self, image, sensors):
        return {"scores": image.mean((2, 3)) + sensors, "map": image.relu()}


def test_every_language_of_a_block_is_tested() -> None:
    # bash: test_compose_file.py and test_compose_topology.py; json: test_docs_http.py; nginx, caddy: test_service_subpath.py; the rest here and in test_docs_pages.py.
    known = {"bash", "c", "caddy", "console", "ini", "json", "nginx", "python", "toml", "yaml"}
    fences = {word for page in PAGES for word in re.findall(r"^```(\w+)", page.read_text(), re.MULTILINE)}
    assert fences <= known


def test_the_vocabulary_is_explained() -> None:
    text = (DOCS / "concepts.md").read_text()
    for word in ("experiment", "trial", "candidate", "attempt", "lease", "artifact"):
        assert f"**{word}**" in text, word
    assert "[measurement](measurements.md)" in text
    origins = ("sobol", "gp", "morphism", "grid", "manual")
    for value in (*TrialState, *origins, *FailureKind):
        assert f"`{value}`" in text, value
    for stage in ("build", "screen", "inherit", "train", "prune", "quantize", "measure"):
        assert f"**{stage}**" in text, stage
