"""The OpenAPI description with examples:
docs/record_examples.py records the requests and answers of a small experiment."""

import json
from pathlib import Path
from typing import Any

from fastapi import FastAPI

EXAMPLES = Path(__file__).with_name("examples.json")
"""Method and path -> {"body": ..., status: ...}."""

_JSON = "application/json"


class Described(FastAPI):
    """FastAPI application whose description has an example of every JSON body and answer."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI description with examples, built once (see FastAPI)."""
        if self.openapi_schema is None:
            add_examples(super().openapi())
        return super().openapi()


def add_examples(description: dict[str, Any]) -> None:
    """Insert the recorded examples into `description`."""
    for name, example in json.loads(EXAMPLES.read_text()).items():
        method, path = name.split(" ")
        operation = description["paths"][path][method.lower()]
        for part, value in example.items():
            place = operation["requestBody"] if part == "body" else operation["responses"][part]
            place["content"][_JSON]["example"] = value
