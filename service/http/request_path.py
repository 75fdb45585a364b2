"""The path of a request as the routes see it."""

from starlette.types import Scope


def inner_path(scope: Scope) -> str:
    """The decoded path without the prefix under which a reverse proxy shows the server (`root_path`)."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path[len(root) :] if root and path.startswith(f"{root}/") else path
