"""Files that a spec names by digest: the models that a network family reads."""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sparsemod.spec.experiment import ExperimentSpec

DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


def model_files(spec: "ExperimentSpec") -> tuple[str, ...]:
    """Return the digests among the options of the network family, in the order of the options."""
    values = spec.network.options.values()
    return tuple(value for value in values if isinstance(value, str) and DIGEST.fullmatch(value))
