"""Refuse unknown query parameters: otherwise a misspelt filter would be ignored silently."""

from collections.abc import Iterator
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute

from sparsemod.errors import InvalidInput


async def known_query(request: Request) -> None:
    """Dependency of every endpoint; checks those in the OpenAPI description.
    Raises InvalidInput for an unknown or repeated parameter."""
    route = request.scope.get("route")
    if not request.query_params or not isinstance(route, APIRoute) or not route.include_in_schema:
        return
    names = sorted(set(_names(route.dependant)))
    for name in request.query_params:
        if name not in names:
            allowed = f"one of the query parameters {', '.join(names)}" if names else "no query parameters"
            raise InvalidInput(name, request.query_params[name], allowed)
        if len(request.query_params.getlist(name)) > 1:
            raise InvalidInput(name, ", ".join(request.query_params.getlist(name)), "one value")


def _names(dependant: Any) -> Iterator[str]:
    """Yield the query parameters of an endpoint and of its dependencies."""
    yield from (parameter.alias for parameter in dependant.query_params)
    for inner in dependant.dependencies:
        yield from _names(inner)
