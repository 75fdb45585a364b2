"""The networks of `benchmarks/zoo_networks.py`: small ones in the style of published ones."""

import runpy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

ZOO: Mapping[str, tuple[Callable[[], nn.Module], Any]] = runpy.run_path(
    str(Path(__file__).parent.parent / "benchmarks" / "zoo_networks.py")
)["ZOO"]
