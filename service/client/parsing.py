"""Answers of the server as records."""

import json
from collections.abc import Callable
from typing import Any, TypeVar

import httpx2
from pydantic import BaseModel, ValidationError

from service import errors as service_errors
from sparsemod.errors import plain_message

T = TypeVar("T")


def valid_answer(parse: Callable[[bytes], T], response: httpx2.Response, what: str) -> T:
    try:
        return parse(response.content)
    except ValidationError as error:
        first = error.errors()[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {plain_message(first['msg'])}"
        message = f"{response.request.url} did not answer with {what} ({reason}): another version?"
        raise service_errors.ServerError(message) from error


def plain_json(record: BaseModel) -> Any:
    """Return JSON data. Numbers that JSON lacks (a loss of NaN) become text, which only pydantic's writer does."""
    return json.loads(record.model_dump_json())
