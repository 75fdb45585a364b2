"""The OpenAPI description with examples: requests and answers of a small experiment, recorded by docs/record_examples.py."""

import json
from pathlib import Path
from typing import Any

from fastapi import FastAPI

EXAMPLES = Path(__file__).with_name("examples.json")
"""Method and path -> {"body": ..., status: ...}."""

_JSON = "application/json"


class Described(FastAPI):
    """An application whose description shows an example of every body and answer in JSON."""

    def openapi(self) -> dict[str, Any]:
        """See FastAPI; made once."""
        if self.openapi_schema is None:
            add_examples(super().openapi())
        return super().openapi()


def add_examples(description: dict[str, Any]) -> None:
    """Put the recorded examples where they belong."""
    for name, example in json.loads(EXAMPLES.read_text()).items():
        method, path = name.split(" ")
        operation = description["paths"][path][method.lower()]
        for part, value in example.items():
            place = operation["requestBody"] if part == "body" else operation["responses"][part]
            place["content"][_JSON]["example"] = value
