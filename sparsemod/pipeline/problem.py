"""The problem that a spec describes: the family, the data's shape, the search space, the objectives.

This module imports no torch, so that the server can check specs and candidates.
`sparsemod.pipeline.screening` and `sparsemod.pipeline.trial` build the networks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from sparsemod.data.windows import Splitter, windowed_info
from sparsemod.errors import InvalidInput, InvalidSpec, plain_message
from sparsemod.files import fingerprint
from sparsemod.networks.family import Family, create_family
from sparsemod.networks.front_end import with_front_end
from sparsemod.networks.zoo import network
from sparsemod.objectives import Objectives
from sparsemod.plugins import Names
from sparsemod.records import Candidate, DataInfo, Value
from sparsemod.space.space import Space
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.spec.methods import FRONT_ENDS, RULES, TASKS, PruningConfig
from sparsemod.spec.pipeline_choice import check_known
from sparsemod.spec.pipeline_parameters import (
    FINETUNE_EPOCHS,
    MAX_LEN,
    METHOD,
    PIPELINE_PARAMETERS,
    changed,
    check_narrowed,
    check_pipeline,
    check_training,
    extremes,
    read_by,
    with_method,
)
from sparsemod.spec.training import TrainingSpec
from sparsemod.substitutes.family import with_substitutes

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Problem:
    """`spec` on data of shape `info`; `family` is an instance with the spec's options."""

    spec: ExperimentSpec
    info: DataInfo
    family: Family

    @classmethod
    def of(cls, spec: ExperimentSpec, info: DataInfo, *, imports: bool = False) -> "Problem":
        """Resolve the family; check that the space fits it and that the device can provide the budgeted metrics.

        With `imports`, the family and the methods may be `module:attribute`.

        Raises UnknownName for a family, a method or a device. Raises InvalidSpec for the family's options,
        a `space` entry that fits neither the family nor the pipeline, source settings that do not fit the
        space, and a budget or objective that cannot be computed for the device.
        """
        try:
            if imports:
                spec = ExperimentSpec.parse(spec.to_dict(), names=Names.IMPORTED)
            spec.check_methods()
            family = create_family(spec.network.family, spec.network.options, imports=imports)
            front_end = spec.network.front_end
            family = with_front_end(family, None if front_end is None else FRONT_ENDS.create(front_end))
            family = with_substitutes(family, spec.network.substitutes, spec.network.substitutes_skip)
            problem = cls(spec, TASKS.create(spec.task).network_info(info), family)
            problem = replace(problem, info=problem.largest_windows())
            check_known(spec.pipeline)
            spec.source.check(problem.space)
            problem.check_training(imports=imports)
            _ = problem.objectives
        except InvalidSpec:
            raise
        except InvalidInput as error:
            # Keep the cause: another process may know the family or device.
            raise InvalidSpec(error.field, error.value, error.allowed, error.source) from error
        return problem

    @cached_property
    def space(self) -> Space:
        """Return the family's parameters, narrowed by the spec, and the searched pipeline parameters."""
        family_space = self.family.space(self.info)
        allowed = [*family_space.names, *PIPELINE_PARAMETERS]
        searched = self.spec.searched()
        for name, parameter in searched.items():
            if name in family_space:
                check_narrowed(family_space.parameter(name), parameter, self.spec.network.family)
            elif name not in allowed:
                names = ", ".join(allowed)
                raise InvalidSpec(
                    f"space.{name}",
                    name,
                    f"a parameter of family {self.spec.network.family} or of the pipeline: {names}",
                )
        space = family_space.override(searched)
        self._check_family_pipeline(space)
        # The spec's constraints come first, so that an error's index is the index in the spec.
        whole = Space(space.parameters, [*self.spec.constraints, *family_space.constraints])
        return whole.check_reachable(name for name in searched if name not in family_space)

    def _check_family_pipeline(self, space: Space) -> None:
        """Check the pipeline parameters that the family's own space has, as those of the spec are checked.

        Raises InvalidInput.
        """
        if "sparsity" in space and "prune_threshold" in space:
            raise InvalidInput(
                "space.sparsity",
                "searched",
                "left out: `prune_threshold` of the family's space is the same setting",
            )
        unread = self.unread_pipeline(space)
        for name in PIPELINE_PARAMETERS:
            if name in space and name not in self.spec.searched() and name not in unread:
                methods = space.parameter(METHOD) if METHOD in space else None
                check_pipeline(
                    space.parameter(name),
                    self.spec.training,
                    self.spec.pruning,
                    f"space.{name}",
                    methods,
                    self.spec.dataset.splitter,
                )

    def unread_pipeline(self, space: Space) -> tuple[str, ...]:
        """Return the pipeline parameters of a space that no setting of the spec reads, such as a sparsity without pruning."""
        if METHOD in space:
            return ()
        splitter = self.spec.dataset.splitter
        parts = (self.spec.training, self.spec.pruning, *(() if splitter is None else (splitter,)))
        return tuple(
            name
            for name in PIPELINE_PARAMETERS
            if name in space and name != FINETUNE_EPOCHS and not any(read_by(part, name) for part in parts)
        )

    def check_training(self, *, imports: bool = False) -> None:
        """Check the searched training rules, that a teacher's network exists, and that each rule suits teacher and auxiliary head.

        Raises UnknownName, InvalidInput.
        """
        names: tuple[Value, ...] = (self.spec.training.rule.name,)
        if "rule" in self.spec.searched():
            names = extremes(self.space.parameter("rule"))
        rules = {str(name): RULES.get(str(name), imports=imports, field="space.rule") for name in names}
        teacher = self.spec.training.teacher
        if teacher is not None and teacher.place()[1] is None:
            network(teacher.network, "training.teacher.network")
        for name, rule in rules.items():
            self.spec.training.check_rule(name, rule.layer_by_layer)

    @cached_property
    def objectives(self) -> Objectives:
        """Return objectives, reference point and budgets."""
        return self.spec.objectives_in_force()

    def candidate(self, candidate: Candidate) -> Candidate:
        """Return the candidate with validated parameters in canonical order, constants included.

        Raises InvalidCandidate.
        """
        parameters = self.space.validate(self.space.fill(candidate.parameters))
        return candidate.model_copy(update={"parameters": parameters})

    def splitter(self, values: Mapping[str, Value]) -> Splitter | None:
        """Return how sequences are cut for a candidate, None if they stay whole."""
        part = self.spec.dataset.splitter
        if part is None:
            return None
        steps = int(values.get(MAX_LEN, part.max_len or 0))
        return Splitter(steps, min(part.stride or steps, steps), part.remainder)

    def largest_windows(self) -> DataInfo:
        """Return the facts about the data with the longest windows that a candidate may have.

        Raises InvalidInput when there is a splitter and the samples are no sequences.
        """
        if self.spec.dataset.splitter is None:
            return self.info
        searched = self.spec.searched().get(MAX_LEN)
        if searched is None and self.spec.dataset.splitter.max_len is None:
            # An own family may search `max_len` in its own space.
            own = self.family.space(self.info)
            if MAX_LEN not in own:
                allowed = "a number of steps, or the parameter max_len in the space"
                raise InvalidInput("dataset.splitter.max_len", None, allowed)
            searched = own.parameter(MAX_LEN)
        longest = {} if searched is None else {MAX_LEN: max(int(value) for value in extremes(searched))}
        return self._windowed(longest)

    def of_candidate(self, values: Mapping[str, Value]) -> "Problem":
        """Return the problem with the windows of a candidate; the space stays the same."""
        if self.spec.dataset.splitter is None:
            return self
        narrowed = replace(self, info=self._windowed(values))
        narrowed.__dict__["space"] = self.space  # a cached property
        return narrowed

    def _windowed(self, values: Mapping[str, Value]) -> DataInfo:
        splitter = self.splitter(values)
        return self.info if splitter is None else windowed_info(self.info, splitter)

    def architecture(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """Return the family's parameters, without those of the pipeline."""
        return {name: value for name, value in values.items() if name not in PIPELINE_PARAMETERS}

    def sparsity(self, values: Mapping[str, Value]) -> float:
        """Return the planned sparsity of a candidate; 0 for a pruning method without sparsity."""
        return float(getattr(self.pruning(values), "sparsity", 0.0))

    def pruning(self, values: Mapping[str, Value]) -> PruningConfig:
        """Return the spec's pruning with the candidate's values.

        Raises InvalidInput for a value that the method does not accept.
        """
        part = self.spec.pruning
        if METHOD in values:
            part = with_method(part, str(values[METHOD]))
        return self._changed("pruning", part, values)

    def training(self, values: Mapping[str, Value], changes: Mapping[str, Any] | None = None) -> TrainingSpec:
        """Return the spec's training with the candidate's values, after the `changes` of its source.

        Raises InvalidInput for a value that training does not accept.
        """
        part = self.spec.training
        if changes:
            part = check_training(part, changes, "source")
        return self._changed("training", part, values)

    def _changed(self, name: str, part: M, values: Mapping[str, Value]) -> M:
        searched = {
            n: values[n] for n in PIPELINE_PARAMETERS if n in values and read_by(part, n) and n != METHOD
        }
        try:
            return changed(part, searched) if searched else part
        except ValidationError as error:
            first = error.errors()[0]
            raise InvalidInput(
                ".".join([name, *map(str, first["loc"])]), first["input"], plain_message(first["msg"])
            ) from None


def trial_seed(seed: int, index: int) -> int:
    """Return the seed of trial `index` of an experiment with `seed`.

    Seeds are spread over 31 bits and equal on every machine.
    """
    return int(fingerprint(f"{seed}/{index}")[:8], 16) >> 1
