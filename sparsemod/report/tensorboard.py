"""A run's learning curves and results as event files that TensorBoard shows."""

import importlib.util
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from sparsemod.errors import ToolsMissing
from sparsemod.records import Candidate, CurvePoint, TrialRecord
from sparsemod.units import ANGLE

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoardLog:
    """Writes FOLDER/TRIAL/events.*, a run of TensorBoard for each trial.

    A run has the curves by epoch, and the trial's parameters with its measurements for TensorBoard's table of hyperparameters. A trial that is started again replaces its run. Raises ToolsMissing without the package tensorboard.
    """

    def __init__(self, folder: Path) -> None:
        if importlib.util.find_spec("tensorboard") is None:
            raise ToolsMissing(
                "--tensorboard needs the package tensorboard: pip install 'sparsemod[tensorboard]'"
            )
        self.folder = folder
        self._writer: SummaryWriter | None = None

    def start(self, index: int, candidate: Candidate) -> None:
        """Begin the run of a trial."""
        from torch.utils.tensorboard import SummaryWriter

        self.close()
        place = self.folder / run_name(index, candidate)
        shutil.rmtree(place, ignore_errors=True)
        self._writer = SummaryWriter(str(place))

    def point(self, point: CurvePoint) -> None:
        """Add an epoch."""
        if self._writer is None:
            return
        for name in ("train_loss", "validation_loss", "validation_error", "learning_rate", "sparsity"):
            self._writer.add_scalar(name, getattr(point, name), point.epoch)
        if point.angle is not None:
            self._writer.add_scalar(ANGLE, point.angle, point.epoch)
        self._writer.flush()

    def finish(self, record: TrialRecord) -> None:
        """Add parameters and measurements, and end the run of the trial."""
        if self._writer is None:
            return
        parameters = {
            name: value if isinstance(value, bool | int | float | str) else str(value)
            for name, value in record.candidate.parameters.items()
        }
        parameters |= {"round": record.candidate.round, "seed": record.seed}
        results = {f"result/{name}": value for name, value in record.values().items()}
        self._writer.add_hparams(parameters, results, run_name=".", global_step=round(record.trained_epochs))
        self.close()

    def close(self) -> None:
        """End the run of a trial that did not finish."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def run_name(index: int, candidate: Candidate) -> str:
    """Return the name of a trial's run: its index, and method and sparsity where a candidate chooses them."""
    chosen = [candidate.parameters.get(name) for name in ("pruning_method", "sparsity")]
    return "-".join([f"{index:04d}", *(str(one) for one in chosen if one is not None)])
