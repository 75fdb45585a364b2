"""The token of client, worker and command line, as an argument or from the environment."""

import os
from pathlib import Path

from sparsemod.errors import InvalidInput

VARIABLE = "SPARSEMOD_TOKEN"
"""Environment variable with the token. With the suffix `_FILE`:
the path of a file with the token, as for container secrets."""


def authorization(token: str | None = None) -> dict[str, str]:
    """Return the header with `token`, or else the environment's token; return no header when there is neither.

    Raises the errors of `token_text`.
    """
    found = token_text(token)
    return {"authorization": f"Bearer {found}"} if found else {}


def token_text(token: str | None = None) -> str:
    """Return `token`, or else the environment's token; empty when there is neither.

    Raises InvalidInput for an unreadable file, or for text that is not a token; the message does not repeat the text.
    """
    source = "token"
    if token is None:
        source, token = VARIABLE, os.environ.get(VARIABLE, "")
        place = os.environ.get(f"{VARIABLE}_FILE", "")
        if not token.strip() and place:
            source = f"{VARIABLE}_FILE"
            try:
                token = Path(place).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise InvalidInput(source, place, f"a file that contains a token ({error})") from error
    token = token.strip()
    if token and (not token.isascii() or not token.isprintable() or " " in token):
        raise InvalidInput(source, "(not shown)", "a token as `sparsemod token create` printed it")
    return token
