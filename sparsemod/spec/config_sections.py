"""The lines of an INI file as SpArSeMod reads it: sections, the keys that they share, and the line of each key.

Keys of [DEFAULT] belong to every section. [TEST] holds the settings of the test mode. All other sections, and keys
before the first one, are one group: names such as [TRAIN] or [rounds] only order the keys for readers.
A key may be once in [DEFAULT], once in [TEST] and once in the other sections; a section's key takes precedence
over [DEFAULT].
"""

import re
from dataclasses import dataclass, field

from sparsemod.errors import InvalidSpec

SHARED, TRAIN, TEST = "DEFAULT", "TRAIN", "TEST"


@dataclass(frozen=True)
class Entry:
    """A key's value, and its place ("file:line")."""

    value: str
    place: str


@dataclass
class Sections:
    """The keys of a file by group, and every mistake in the form of its lines."""

    groups: dict[str, dict[str, Entry]] = field(default_factory=lambda: {SHARED: {}, TRAIN: {}, TEST: {}})
    mistakes: list[InvalidSpec] = field(default_factory=list)
    tests: bool = False  # whether the file has the section [TEST]

    def of(self, group: str) -> dict[str, Entry]:
        """Return the keys of TRAIN or TEST, with those of [DEFAULT] that the group does not set itself."""
        return self.groups[SHARED] | self.groups[group]


def read_sections(text: str, source: str) -> Sections:
    """Return the keys of an INI text. `#` and `;` begin a comment; names of keys and sections ignore case."""
    found = Sections()
    group = TRAIN
    for number, raw in enumerate(text.splitlines(), 1):
        line = re.sub(r"(^|\s)[#;].*", "", raw).strip()
        if not line:
            continue
        place = f"{source}:{number}"
        section = re.fullmatch(r"\[([^\]]*)\]", line)
        if section is not None:
            name = section[1].strip().upper()
            group = name if name in (SHARED, TEST) else TRAIN
            found.tests |= name == TEST
            continue
        match = re.fullmatch(r"([A-Za-z_][A-Za-z0-9_ ]*?)\s*[=:]\s*(.*)", line)
        if match is None:
            found.mistakes.append(InvalidSpec("line", raw.strip(), "a [section], or key = value", place))
            continue
        key, value = match[1].lower(), match[2].strip().strip("\"'")
        before = found.groups[group].get(key)
        if before is not None:
            allowed = f"each key once in a section; it is also in {before.place}"
            found.mistakes.append(InvalidSpec(key, value, allowed, place))
        elif not value:
            found.mistakes.append(InvalidSpec(key, value, "a value after the '='", place))
        else:
            found.groups[group][key] = Entry(value, place)
    return found
