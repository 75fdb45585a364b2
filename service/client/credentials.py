"""The token that client, worker and command line show: given, or from the environment."""

import os
from pathlib import Path

from sparsemod.errors import InvalidInput

VARIABLE = "SPARSEMOD_TOKEN"
"""Environment variable of the token; with `_FILE` behind it, of a file that holds it, as container secrets do."""


def authorization(token: str | None = None) -> dict[str, str]:
    """The header that shows a token: the given one, else that of the environment; no header where there is neither.

    Raises InvalidInput for a file that cannot be read or text that is no token; the text itself is not repeated.
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
                raise InvalidInput(source, place, f"a file that holds a token ({error})") from error
    token = token.strip()
    if not token:
        return {}
    if not token.isascii() or not token.isprintable() or " " in token:
        raise InvalidInput(source, "(not shown)", "a token as `sparsemod token create` printed it")
    return {"authorization": f"Bearer {token}"}
