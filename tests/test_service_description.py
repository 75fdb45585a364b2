"""The OpenAPI description is whole: every reference leads somewhere, every body and answer has an example that fits."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from service.http.app import create_app
from service.settings import Settings

WITHOUT = {("/experiments/{experiment}/ax", "200")}
"""Ax's own JSON, which its own client opens."""


@pytest.fixture(scope="module")
def description(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    # as a client gets it, through JSON
    found = create_app(Settings(data_dir=tmp_path_factory.mktemp("server"))).openapi()
    return dict(json.loads(json.dumps(found)))


def contents(description: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every JSON body and every JSON answer to a good request, and where it is."""
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            parts = {"body": operation.get("requestBody", {})}
            parts |= {status: found for status, found in operation["responses"].items() if status < "3"}
            for part, found in parts.items():
                if "application/json" in found.get("content", {}) and (path, part) not in WITHOUT:
                    yield f"{method} {path} {part}", found["content"]["application/json"]


def test_every_reference_leads_somewhere(description: dict[str, Any]) -> None:
    names = set(re.findall(r'"\$ref": "#/components/schemas/([^"]+)"', json.dumps(description)))
    assert names and names <= set(description["components"]["schemas"])


def test_every_body_and_answer_has_an_example_that_fits(description: dict[str, Any]) -> None:
    found = dict(contents(description))
    assert len(found) > 40
    for place, content in found.items():
        assert "example" in content, f"{place}: run docs/record_examples.py"
        schema = {**content["schema"], "components": description["components"]}
        errors = [
            f"{place}: {list(error.instance_path)}: {error.message}"
            for error in jsonschema_rs.validator_for(schema).iter_errors(content["example"])
        ]
        assert not errors, errors


def test_examples_hold_no_place_of_the_machine_they_were_made_on(description: dict[str, Any]) -> None:
    for place, content in contents(description):
        text = json.dumps(content.get("example"))
        assert str(Path.home()) not in text and "/tmp/" not in text, place
