"""Interface for scripts and notebooks: run an experiment or open its results, in a folder or on a server.

Results are available as frames, plots and networks.
"""

from sparsemod.interactive.front import Front
from sparsemod.interactive.opening import load, run
from sparsemod.interactive.results import Results
from sparsemod.interactive.server import Server, connect
from sparsemod.interactive.trial import Trial

__all__ = ["Front", "Results", "Server", "Trial", "connect", "load", "run"]
