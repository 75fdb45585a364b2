"""What an experiment is about, resolved from its spec: the family, the data's shape, the search space, the objectives.

Cold: no torch, so that the server can judge specs and candidates. Networks are built in `sparsemod.pipeline.screening` and `sparsemod.pipeline.trial`.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from sparsemod.errors import InvalidInput, InvalidSpec
from sparsemod.networks.family import Family, create_family
from sparsemod.objectives import Objectives
from sparsemod.plugins import Names, PluginConfig
from sparsemod.records import Candidate, DataInfo, Value
from sparsemod.space.space import Space
from sparsemod.spec.experiment import ExperimentSpec
from sparsemod.spec.methods import PruningConfig
from sparsemod.spec.pipeline_choice import check_known
from sparsemod.spec.pipeline_parameters import PIPELINE_PARAMETERS, changed, check_narrowed
from sparsemod.spec.training import TrainingSpec

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Problem:
    """`spec` on data of shape `info`; `family` is an instance with the spec's options."""

    spec: ExperimentSpec
    info: DataInfo
    family: Family

    @classmethod
    def of(cls, spec: ExperimentSpec, info: DataInfo, *, imports: bool = False) -> "Problem":
        """Resolve the family and check that the space fits it and that the device knows the budgets. With `imports`, the family and the
        methods may be `module:attribute`.

        Raises UnknownName for a family, a method or a device; InvalidSpec for the family's options, a `space` entry that fits neither the family nor
        the pipeline, settings of the source that do not fit the space, and a budget or objective that cannot be known on the device.
        """
        try:
            if imports:
                spec = ExperimentSpec.parse(spec.to_dict(), names=Names.IMPORTED)
            spec.check_methods()
            family = create_family(spec.network.family, spec.network.options, imports=imports)
            problem = cls(spec, info, family)
            check_known(spec.pipeline)
            spec.source.check(problem.space)
            _ = problem.objectives
        except InvalidSpec:
            raise
        except InvalidInput as error:
            # With its cause: a family or a device that is unknown here may be known elsewhere.
            raise InvalidSpec(error.field, error.value, error.allowed, error.source) from error
        return problem

    @cached_property
    def space(self) -> Space:
        """The family's parameters, narrowed by the spec, and the pipeline's parameters that the spec searches."""
        own = self.family.space(self.info)
        allowed = [*own.names, *PIPELINE_PARAMETERS]
        searched = self.spec.searched()
        for name, given in searched.items():
            if name in own:
                check_narrowed(own.parameter(name), given, self.spec.network.family)
            elif name not in allowed:
                known = ", ".join(allowed)
                raise InvalidSpec(
                    f"space.{name}",
                    name,
                    f"a parameter of family {self.spec.network.family} or of the pipeline: {known}",
                )
        space = own.override(searched)
        # The spec's come first, so that an error's place in the list is that in the spec.
        whole = Space(space.parameters, [*self.spec.constraints, *own.constraints])
        return whole.check_reachable(name for name in searched if name not in own)

    @cached_property
    def objectives(self) -> Objectives:
        """Objectives, reference point and budgets."""
        return Objectives(self.spec.objectives, self.spec.reference(), self.spec.all_budgets())

    def candidate(self, candidate: Candidate) -> Candidate:
        """The candidate with validated parameters in canonical order, those with one value filled in. Raises InvalidCandidate."""
        parameters = self.space.validate(self.space.fill(candidate.parameters))
        return candidate.model_copy(update={"parameters": parameters})

    def architecture(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """The parameters that the family builds from: those of the pipeline left out."""
        return {name: value for name, value in values.items() if name not in PIPELINE_PARAMETERS}

    def sparsity(self, values: Mapping[str, Value]) -> float:
        """The planned sparsity of a candidate; 0 with a pruning method that has none."""
        return float(getattr(self.pruning(values), "sparsity", 0.0))

    def pruning(self, values: Mapping[str, Value]) -> PruningConfig:
        """The spec's pruning with the candidate's own values. Raises InvalidInput for a value that the method does not accept."""
        return self._changed("pruning", self.spec.pruning, values)

    def training(self, values: Mapping[str, Value]) -> TrainingSpec:
        """The spec's training with the candidate's own values. Raises InvalidInput for a value that training does not accept."""
        return self._changed("training", self.spec.training, values)

    def _changed(self, name: str, part: M, values: Mapping[str, Value]) -> M:
        own = {n: values[n] for n in PIPELINE_PARAMETERS if n in values and _has(part, n)}
        try:
            return changed(part, own) if own else part
        except ValidationError as error:
            first = error.errors()[0]
            raise InvalidInput(
                ".".join([name, *map(str, first["loc"])]), first["input"], first["msg"]
            ) from None


def _has(part: BaseModel, key: str) -> bool:
    return part.has(key) if isinstance(part, PluginConfig) else key in type(part).model_fields


def trial_seed(seed: int, index: int) -> int:
    """The seed of trial `index` of an experiment with `seed`: spread over 31 bits, equal on every machine."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{index}".encode()).digest()[:4], "big") >> 1
