"""sparsemod: a dataset, a search space and a device's budget in; a Pareto front of measured int8 networks out.

    import sparsemod as sm

    results = sm.run("digits.yaml", "runs/digits")          # or sm.load("runs/digits"), or sm.connect(URL).load("digits")
    results.trials                                          # pandas frames
    results.plot()
    results.front[0].export("best", ["c", "onnx"])

Importing the package loads neither torch nor pandas nor NumPy: the names above are loaded when they are first used. Its parts are imported
by name (``sparsemod.spec.experiment``, ``sparsemod.space.space``, ``sparsemod.pipeline.trial``, ...). ``sparsemod`` knows no HTTP and no SQL:
that is the package ``service``.
"""

from typing import TYPE_CHECKING

from sparsemod.version import __version__

__all__ = ["Front", "Results", "Server", "Trial", "__version__", "connect", "load", "run"]

if TYPE_CHECKING:
    from sparsemod.interactive import Front, Results, Server, Trial, connect, load, run
else:

    def __getattr__(name: str) -> object:
        """Load what `__all__` offers when it is first used."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from sparsemod import interactive

        globals()[name] = getattr(interactive, name)
        return globals()[name]


def __dir__() -> list[str]:
    """Also the names that are not loaded yet."""
    return sorted({*globals(), *__all__})
