"""sparsemod: a dataset, a search space and a device's budget in; a Pareto front of measured int8 networks out.

Importing the package imports neither torch nor Ax; its parts are imported by name (``sparsemod.spec.experiment``,
``sparsemod.space.space``, ``sparsemod.pipeline.trial``, ...). ``sparsemod`` knows no HTTP and no SQL: that is the package ``service``.
"""

__version__ = "0.1.0"
