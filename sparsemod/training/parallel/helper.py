"""A process of a training other than process 0: `python -m sparsemod.training.parallel.helper FOLDER RANK`."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import torch

from sparsemod.training.loop import train
from sparsemod.training.parallel.processes import ARGUMENTS, device_of, joined
from sparsemod.training.process import tune_process
from sparsemod.training.resident import Resident, Samples


def main(folder: Path, rank: int) -> None:
    """Read the training's arguments, join the group, and train this process's part of every batch."""
    # The file is process 0's, in a folder that only this user can write.
    given: dict[str, Any] = torch.load(folder / ARGUMENTS, weights_only=False, map_location="cpu")
    tune_process(given["threads"])
    own = device_of(rank, given["device"])
    (folder / f"{rank}.ready").touch()
    with joined(folder, rank, given["settings"].processes, given["device"]) as group:
        train(
            given["module"], _moved(given["data"], own), given["settings"], device=own, group=group,
            **given["arguments"],
        )  # fmt: skip


def _moved(data: Resident, device: torch.device) -> Resident:
    """Return the same samples on another device."""
    return Resident(_samples(data.train, device), _samples(data.validation, device), device)


def _samples(samples: Samples, device: torch.device) -> Samples:
    """Return a split on another device. `sequence` stays on the CPU, as in every split."""
    moved: dict[str, Any] = {
        field.name: value.to(device)
        for field in dataclasses.fields(samples)
        if field.name != "sequence" and isinstance(value := getattr(samples, field.name), torch.Tensor)
    }
    return dataclasses.replace(samples, **moved)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
