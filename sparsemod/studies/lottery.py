"""Lottery experiments: IMP, OSP, and random reinitializations of an earlier run, in a folder.

FOLDER/NAME-specs.json                   the spec, and when and where the experiment ran
FOLDER/NAME-histories.npz                train_loss, val_loss, val_acc, test_acc: (net_count, prune_count + 1, data_length);
                                         sparsity: (prune_count + 1), the share of the weights that stays;
                                         early_stop: iterations (net_count, prune_count + 1); plot_step
FOLDER/NAME-netI.safetensors             the trained network of net I after the last round
FOLDER/NAME-early-stopI.safetensors      early-stop weights of net I: "level/name"
FOLDER/NAME-random-historiesI.npz        the same arrays for random reinitializations of net I, levels 1 to prune_count
FOLDER/artifacts/, lineage.json          initial weights, masks and tickets of each net and level, by digest, and what each
                                         follows from
FOLDER/parts/                            finished trainings of an experiment that is not complete
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from sparsemod.data import load
from sparsemod.errors import Conflict, InvalidInput, NotFound
from sparsemod.files import digest_of, write_atomically
from sparsemod.networks.zoo.plans import planned
from sparsemod.pipeline.teacher import teacher_network
from sparsemod.pruning.weights import prunable_weights
from sparsemod.pruning.weights.lottery_ticket import remaining
from sparsemod.records import DataInfo
from sparsemod.seeds import derived_seed
from sparsemod.spec.methods import SCHEDULES, TASKS
from sparsemod.spec.training import TrainingSpec
from sparsemod.studies.lottery_spec import LotterySpec
from sparsemod.studies.lottery_training import (
    HISTORIES,
    Histories,
    data_length,
    smallest_removed,
    train_masked,
)
from sparsemod.training.checkpoint import snapshot
from sparsemod.training.resident import Resident, Samples, batch_bounds

Report = Callable[[str], None]
"""Receives a line about each finished training."""


def network(spec: LotterySpec, info: DataInfo, *purpose: object) -> nn.Module:
    """Return the experiment's network with fresh weights of a seed that follows from `purpose`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(spec.seed, *purpose, "weights"))
        return planned(info.shape, info.classes, spec.plan_conv, spec.plan_fc, spec.activation)


def ladder(spec: LotterySpec, module: nn.Module) -> list[dict[str, int]]:
    """Return the number of weights of each layer that stay, for each level from 0 to `prune_count`."""
    weights = prunable_weights(module)
    last = list(weights)[-1]
    steps = {
        name: remaining(
            weight.numel(),
            spec.prune_rate_fc if weight.dim() == 2 else spec.prune_rate_conv,
            spec.prune_count,
            spec.method == "osp",
            name == last,
        )
        for name, weight in weights.items()
    }
    return [{name: left[level] for name, left in steps.items()} for level in range(spec.prune_count + 1)]


def shares(levels: Sequence[Mapping[str, int]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the share of all weights that stays at each level."""
    totals = [sum(level.values()) for level in levels]
    return np.array([total / totals[0] for total in totals])


@dataclass(frozen=True)
class Part:
    """A finished training: histories, masks, trained and early-stop weights, and the weights that survivors return to."""

    values: Mapping[str, list[float]]
    early_stop: int
    masks: Mapping[str, Tensor]
    trained: Mapping[str, Tensor]
    early: Mapping[str, Tensor]
    start: Mapping[str, Tensor]

    @classmethod
    def of(
        cls, histories: Histories, masks: Mapping[str, Tensor], module: nn.Module, start: Mapping[str, Tensor]
    ) -> "Part":
        """Return the part of a training that has just finished."""
        return cls(
            histories.values, histories.early_stop, masks, snapshot(module), histories.early_state, start
        )

    def to_bytes(self) -> bytes:
        """Return the part as a safetensors file that `from_bytes` reads."""
        tensors = {f"values/{n}": torch.tensor(v, dtype=torch.float64) for n, v in self.values.items()}
        tensors["early_stop"] = torch.tensor(self.early_stop)
        for group in _GROUPS:
            tensors |= {f"{group}/{n}": t.contiguous().cpu() for n, t in getattr(self, group).items()}
        return save_tensors(tensors)

    @classmethod
    def from_bytes(cls, content: bytes) -> "Part":
        """Return the part in the bytes of `to_bytes`."""
        tensors = load_tensors(content)

        def group(name: str) -> dict[str, Tensor]:
            return {k.removeprefix(f"{name}/"): t for k, t in tensors.items() if k.startswith(f"{name}/")}

        return cls(
            {n: t.tolist() for n, t in group("values").items()},
            int(tensors["early_stop"]),
            *map(group, _GROUPS),
        )


_GROUPS = ("masks", "trained", "early", "start")


class LotteryRun:
    """An experiment in a folder; it continues one of the same spec.

    Raises Conflict that names the difference for a folder with another spec.
    """

    def __init__(
        self, spec: LotterySpec, folder: Path, *, device: str = "cpu", report: Report = lambda line: None
    ) -> None:
        self.spec, self.folder, self.report = spec, folder, report
        self._dataset = dataset = load(spec.dataset)
        self.info = dataset.info
        self.data = Resident.of(dataset, device)
        self.test = Samples.of(*dataset.test_split().tensors(), self.data.device, self.info.layout)
        self.levels = ladder(spec, network(spec, self.info, "ladder"))
        (folder / "parts").mkdir(parents=True, exist_ok=True)
        (folder / "artifacts").mkdir(exist_ok=True)
        path = self.file("specs.json")
        if path.exists():
            stored = json.loads(path.read_text())["spec"]
            given = json.loads(spec.model_dump_json())
            differs = [f"{k} was {stored.get(k)}, now {given[k]}" for k in given if stored.get(k) != given[k]]
            if differs:
                raise Conflict(f"{folder} holds an experiment with other parameters ({'; '.join(differs)})")
        else:
            self._write_specs({})

    @cached_property
    def teacher(self) -> nn.Module | None:
        """The teacher, None without one; it is trained with the spec's settings where it has no weights."""
        spec = self.spec
        if spec.teacher is None:
            return None
        settings = TrainingSpec(
            learning_rate=spec.learning_rate,
            batch_size=spec.batch_size,
            schedule=SCHEDULES.config("constant"),
        )
        return teacher_network(
            spec.teacher, settings, self._dataset, TASKS.config("classification"), epochs=spec.epoch_count,
            device=str(self.data.device), log=self.report,
        )  # fmt: skip

    @classmethod
    def of_folder(
        cls, folder: Path, *, device: str = "cpu", report: Report = lambda line: None
    ) -> "LotteryRun":
        """Return the experiment in a folder. Raises NotFound."""
        found = sorted(folder.glob("*-specs.json"))
        if len(found) != 1:
            raise NotFound("lottery experiment", str(folder), "a folder with one file *-specs.json")
        spec = LotterySpec.model_validate_json(json.dumps(json.loads(found[0].read_text())["spec"]))
        return cls(spec, folder, device=device, report=report)

    def file(self, suffix: str) -> Path:
        """Return the path of a file with this suffix."""
        return self.folder / f"{self.spec.name}-{suffix}"

    def run(self) -> dict[str, Any]:
        """Train and prune all networks; return the histories as in the npz file.

        A finished training is not repeated when the experiment was interrupted.
        """
        began = time.time()
        nets = [
            [self._level(net, level) for level in range(self.spec.prune_count + 1)]
            for net in range(self.spec.net_count)
        ]
        found = self._histories(nets, shares(self.levels))
        _save_npz(self.file("histories.npz"), found)
        for net, parts in enumerate(nets):
            write_atomically(self.file(f"net{net}.safetensors"), save_tensors(dict(parts[-1].trained)))
            if self.spec.save_early_stop:
                early = {f"{level}/{n}": t for level, part in enumerate(parts) for n, t in part.early.items()}
                write_atomically(self.file(f"early-stop{net}.safetensors"), save_tensors(early))
        self._lineage(nets)
        self._write_specs({"finished": time.strftime("%Y-%m-%dT%H:%M:%S"), "seconds": round(time.time() - began, 1),
                           "device": str(self.data.device)})  # fmt: skip
        return found

    def random(self, net: int, count: int, first: int = 1) -> dict[str, Any]:
        """Train `count` random reinitializations of the tickets of one net; return their histories.

        They have the masks of the net's levels `first` to prune_count and fresh initial weights. Raises NotFound for a net
        whose tickets are not stored, InvalidInput for a number out of range.
        """
        if not 0 <= net < self.spec.net_count:
            raise InvalidInput("--net", net, f"0 to {self.spec.net_count - 1}, a net of this experiment")
        if not self.spec.prune_count:
            raise InvalidInput("prune_count", 0, "at least 1: there are no tickets without pruning")
        if not 1 <= first <= self.spec.prune_count:
            raise InvalidInput("first", first, f"1 to {self.spec.prune_count}, a level of pruning")
        parts = []
        for level in range(first, self.spec.prune_count + 1):
            path = self._part(f"net{net}-level{level}")
            if not path.is_file():
                raise NotFound("ticket", path.name, f"the finished trainings in {path.parent}")
            parts.append(Part.from_bytes(path.read_bytes()))
        rows = []
        for number in range(count):
            rows.append(
                [self._random_part(net, number, level, part) for level, part in enumerate(parts, first)]
            )
        found = self._histories(rows, shares(self.levels)[first:])
        _save_npz(self.file(f"random-histories{net}.npz"), found)
        return found

    # ---- parts

    def _part(self, name: str) -> Path:
        return self.folder / "parts" / f"{name}.safetensors"

    def _level(self, net: int, level: int) -> Part:
        """Return one training of one net, trained now if it is not stored."""
        path = self._part(f"net{net}-level{level}")
        if path.is_file():
            return Part.from_bytes(path.read_bytes())
        module = network(self.spec, self.info, net).to(self.data.device)
        weights = prunable_weights(module)
        everything = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}
        if level == 0:
            masks = everything
            start: Mapping[str, Tensor] = snapshot(module)
        else:
            earlier = self._level(net, level - 1)
            first = self._level(net, 0)
            source = first if self.spec.method == "osp" else earlier
            masks = smallest_removed(
                {name: source.trained[name] for name in weights}, source.masks, self.levels[level]
            )
            # Biases and norms are not reset; the weights that stay are.
            state = {name: tensor.clone() for name, tensor in source.trained.items()}
            state |= {name: first.start[name] * masks[name] for name in weights}
            module.load_state_dict(state)
            masks = {name: mask.to(self.data.device) for name, mask in masks.items()}
            start = first.start
        histories = train_masked(
            module, masks, self.spec, self.data, self.test, net, level, teacher=self.teacher
        )
        if level == 0 and histories.rewind_state is not None:
            start = histories.rewind_state
        part = Part.of(histories, masks, module, start)
        write_atomically(path, part.to_bytes())
        self._tell(f"net {net}, level {level}", part, level)
        return part

    def _random_part(self, net: int, number: int, level: int, ticket: Part) -> Part:
        path = self._part(f"random{net}-{number}-level{level}")
        if path.is_file():
            return Part.from_bytes(path.read_bytes())
        module = network(self.spec, self.info, "random", net, number).to(self.data.device)
        masks = {name: mask.to(self.data.device) for name, mask in ticket.masks.items()}
        start = snapshot(module)
        with torch.no_grad():
            for name, weight in prunable_weights(module).items():
                weight.mul_(masks[name])
        histories = train_masked(
            module, masks, self.spec, self.data, self.test, "random", net, number, level, teacher=self.teacher
        )
        part = Part.of(histories, masks, module, start)
        write_atomically(path, part.to_bytes())
        self._tell(f"net {net}, random {number}, level {level}", part, level)
        return part

    def _tell(self, what: str, part: Part, level: int) -> None:
        stays = 100 * float(shares(self.levels)[level])
        accuracy = 100 * part.values["test_acc"][-1]
        self.report(
            f"{what}: {stays:.2f} % of the weights, early stop at iteration {part.early_stop}, test accuracy {accuracy:.2f} %"
        )

    # ---- results

    def _histories(self, rows: Sequence[Sequence[Part]], left: Any) -> dict[str, Any]:
        found: dict[str, Any] = {
            name: np.array([[part.values[name] for part in row] for row in rows]) for name in HISTORIES
        }
        found["sparsity"] = left
        found["early_stop"] = np.array([[part.early_stop for part in row] for row in rows])
        found["plot_step"] = np.array(min(self.spec.plot_step, self.iterations))
        return found

    @property
    def iterations(self) -> int:
        """Iterations of one training."""
        return self.spec.epoch_count * len(batch_bounds(len(self.data.train), self.spec.batch_size))

    @property
    def data_length(self) -> int:
        """Points of a history."""
        return data_length(self.spec, len(self.data.train))

    def _lineage(self, nets: Sequence[Sequence[Part]]) -> None:
        """Store initial weights, masks and tickets by digest, and what each follows from."""
        entries = []
        for net, parts in enumerate(nets):
            initial = self._artifact(dict(parts[0].start))
            entries.append({"kind": "start", "net": net, "level": 0, "digest": initial, "from": []})
            above: list[str] = [initial]
            for level, part in enumerate(parts):
                masks = self._artifact(dict(part.masks))
                ticket = self._artifact({n: parts[0].start[n] * mask.cpu() for n, mask in part.masks.items()})
                trained = self._artifact(dict(part.trained))
                source = [entries[-1]["digest"]] if level and self.spec.method == "imp" else above
                common = {"net": net, "level": level}
                entries += [
                    {"kind": "masks", **common, "digest": masks, "from": source},
                    {"kind": "ticket", **common, "digest": ticket, "from": [initial, masks]},
                    {"kind": "trained", **common, "digest": trained, "from": [ticket]},
                ]
                if level == 0:
                    above = [trained]
        write_atomically(self.folder / "lineage.json", (json.dumps(entries, indent=1) + "\n").encode())

    def _artifact(self, tensors: dict[str, Tensor]) -> str:
        content = save_tensors({name: tensor.contiguous().cpu() for name, tensor in tensors.items()})
        digest = digest_of(content)
        write_atomically(self.folder / "artifacts" / digest.removeprefix("sha256:"), content)
        return digest

    def _write_specs(self, more: Mapping[str, Any]) -> None:
        content = {"spec": json.loads(self.spec.model_dump_json()), **more}
        write_atomically(self.file("specs.json"), (json.dumps(content, indent=1) + "\n").encode())


def _save_npz(path: Path, arrays: Mapping[str, Any]) -> None:
    import io

    raw = io.BytesIO()
    np.savez(raw, **arrays)
    write_atomically(path, raw.getvalue())
