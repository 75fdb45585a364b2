"""Query parameters that an endpoint does not have are refused: a filter with a misspelt name would otherwise be left out without a word."""

from collections.abc import Iterator
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute

from sparsemod.errors import InvalidInput


async def known_query(request: Request) -> None:
    """A dependency of every endpoint that the description shows (pages are left alone). Raises InvalidInput."""
    route = request.scope.get("route")
    if not request.query_params or not isinstance(route, APIRoute) or not route.include_in_schema:
        return
    known = sorted(set(_names(route.dependant)))
    for name in request.query_params:
        if name not in known:
            allowed = (
                f"one of the query parameters {', '.join(known)}" if known else "no query parameters here"
            )
            raise InvalidInput(name, request.query_params[name], allowed)
        if len(request.query_params.getlist(name)) > 1:
            raise InvalidInput(name, ", ".join(request.query_params.getlist(name)), "given once")


def _names(dependant: Any) -> Iterator[str]:
    """The query parameters of an endpoint and of what it depends on."""
    yield from (parameter.alias for parameter in dependant.query_params)
    for inner in dependant.dependencies:
        yield from _names(inner)
