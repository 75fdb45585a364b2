"""Standard output and standard error of a command: characters that the terminal's encoding lacks, and writes that fail."""

import codecs
import errno
import os
import sys

_PLAIN = {
    "✓": "ok", "✗": "x", "≤": "<=", "≥": ">=", "±": "+-", "×": "x", "→": "->", "…": "...", "–": "-", "—": "-",
    "²": "2", "µ": "u", "·": ".", "●": "*", "█": "#", "▉": "#", "▊": "#", "▋": "#", "▌": "=", "▍": "=", "▎": "-",
    "▏": "-", "▁": "_", "▂": "_", "▃": "-", "▄": "-", "▅": "=", "▆": "=", "▇": "#",
}  # fmt: skip
"""Characters that our tables and pictures use, in ASCII."""

_OF_WRITES = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)

_HANDLER = "sparsemod.plain"


def _replace(error: UnicodeError) -> tuple[str, int]:
    """Codec error handler: our own symbols become ASCII, any other character its escape of JSON (`\\u03bb`), so that JSON stays JSON."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_PLAIN.get(character) or _escaped(character) for character in text), error.end


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


codecs.register_error(_HANDLER, _replace)


def degrade() -> None:
    """From now on text that stdout or stderr cannot encode is replaced and raises no UnicodeEncodeError."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors=_HANDLER)


def describe(error: OSError) -> str:
    """The file and the reason of an OSError; a write that failed names no file."""
    reason = error.strerror or str(error) or type(error).__name__
    if error.filename is not None:
        other = "" if error.filename2 is None else f" -> {error.filename2!s}"
        return f"{error.filename!s}{other}: {reason}"
    return f"cannot write: {reason}" if error.errno in _OF_WRITES else reason


def discard_output() -> None:
    """When stdout cannot be written, send the rest of it nowhere: otherwise Python's flush at exit fails again and prints a traceback."""
    try:
        sys.stdout.flush()
        return
    except OSError:
        pass
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
