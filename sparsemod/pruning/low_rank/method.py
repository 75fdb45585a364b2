"""The common base of methods that replace layers by chains of smaller ones."""

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from pydantic import Field

from sparsemod.errors import InvalidInput
from sparsemod.pruning.base import Context, Method, Plan
from sparsemod.pruning.plan import check_sparsity, reached_note
from sparsemod.pruning.schedules import SCHEDULES
from sparsemod.spec import methods
from sparsemod.spec.methods import PruningConfig, PruningSchedule

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sparsemod.graph import Graph
    from sparsemod.pruning.low_rank.allocation import Option, Rule
    from sparsemod.pruning.low_rank.layers import Decomposed, Factor, Layer, Recipe, Source


class LowRankConfig(PruningConfig):
    """Keys of a low-rank method."""

    replaces_layers = True

    sparsity: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="Share of all weights of convolutions, linear and recurrent layers to remove.",
    )
    schedule: PruningSchedule = Field(
        default_factory=lambda: methods.PRUNING_SCHEDULES.config("one-shot"),
        description="When how much of the sparsity is asked for. Each step decomposes the layers anew.",
    )


C = TypeVar("C", bound=LowRankConfig)


class LowRankMethod(Method[C]):
    """Replaces convolutions and linear layers by chains of smaller layers; training then continues.

    The weights left are those nearest to (1 - sparsity) of all that ranks can reach; biases do not count.
    Recurrent layers and grouped convolutions stay, and so does a layer whose chain would be larger. A chain's weights are trained
    like any others.
    """

    exact: ClassVar[bool] = False
    """Whether ranks follow from shapes alone, so that costs before training are exact."""

    patches: ClassVar[bool] = False
    """Whether options and factors use the layers' inputs on training samples."""

    def __init__(self, config: C) -> None:
        super().__init__(config)
        self.schedule = SCHEDULES.create(config.schedule)
        self._module: nn.Module | None = None
        self._names: tuple[str, ...] = ()
        self._total = 0
        self._sparsity = 0.0
        self._at_target = False

    @abstractmethod
    def options(self, source: "Source") -> "Sequence[Option]":
        """Return the ways to decompose a layer, without the one that leaves it as it is."""

    def rough_options(self, source: "Source") -> "Sequence[Option]":
        """Return the options for a plan before training."""
        return self.options(source)

    @abstractmethod
    def factors(self, source: "Source", recipe: "Recipe") -> "Sequence[Factor]":
        """Return the chain of a recipe."""

    def rule(self) -> "tuple[Rule, Sequence[float]]":
        """Return how a level selects each layer's option, and the levels."""
        from sparsemod.pruning.low_rank.allocation import cheapest_within

        return cheapest_within, ()

    def chosen(
        self, sources: "Mapping[str, Source]", total: int, sparsity: float, rough: bool = False
    ) -> "dict[str, Recipe]":
        """Return the recipes of the layers to decompose, for `total` weights of the network."""
        from sparsemod.pruning.low_rank.allocation import Option, allocate, frontier

        make = self.rough_options if rough else self.options
        layers = []
        for source in sources.values():
            whole = Option(source.count, 0.0)
            layers.append(frontier([whole, *(o for o in make(source) if o.cost < source.count)]))
        rule, levels = self.rule()
        levels = levels or sorted({o.loss for options in layers for o in options})
        fixed = total - sum(source.count for source in sources.values())
        found = allocate(layers, (1 - check_sparsity(sparsity)) * total - fixed, rule, levels)
        return {name: option.recipe for name, option in zip(sources, found, strict=True) if option.recipe}

    def plan(self, graph: "Graph", sparsity: float, owned: Collection[str] | None = None) -> Plan:
        """See Method. An estimate where ranks follow from the trained weights."""
        from sparsemod.pruning.low_rank.layers import Decomposed
        from sparsemod.pruning.low_rank.planning import graph_layer, graph_sources, replaced
        from sparsemod.pruning.weights.prunable import graph_weights

        sources = graph_sources(graph)
        if sparsity <= 0 or not sources:
            return Plan(graph)
        recipes = self.chosen(sources, sum(graph_weights(graph).values()), sparsity, rough=True)
        makers = {o.attributes.get("parameter"): o for o in reversed(graph.operators)}
        chains = {
            name: Decomposed(
                graph_layer(graph, makers[name], sources[name]), self.factors(sources[name], recipe), recipe
            )
            for name, recipe in recipes.items()
        }
        return Plan(replaced(graph, chains), exact=self.exact)

    def start(self, context: Context) -> None:
        """See Method. Chains of an earlier training are decomposed further."""
        self.context, self._module = context, context.module
        self._names, self._total = self._find()
        self._at_target = self.config.sparsity == 0 or not self._names

    def _find(self) -> tuple[tuple[str, ...], int]:
        """Return the paths of the layers that may be decomposed, and the weights of all layers."""
        from torch import nn

        from sparsemod.pruning.low_rank.layers import Decomposed, decomposable
        from sparsemod.pruning.weights.prunable import prunable_weights

        total, paths, seen = 0, [], set()
        module = self._held()
        inside: tuple[str, ...] = ()
        for path, layer in module.named_modules():
            if inside and path.startswith(inside):
                continue
            if isinstance(layer, Decomposed):
                inside = (*inside, f"{path}.")
                layer = layer.original
                total += layer.weight.numel()
                paths.append(path)
            elif isinstance(layer, nn.RNNBase):
                total += sum(weight.numel() for weight in prunable_weights(layer).values())
            elif isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear):
                weight = layer._parameters.get("weight")
                if weight is None or id(weight) in seen:
                    continue
                seen.add(id(weight))
                total += weight.numel()
                if path and decomposable(layer):
                    paths.append(path)
        return tuple(paths), total

    def before_epoch(self, epoch: int, epochs: int) -> None:
        """See Method. Parameters of the module change: optimizers must be made anew."""
        if not 1 <= epoch <= epochs:
            raise InvalidInput("epoch", epoch, f"1 to {epochs}")
        if self._at_target:
            return
        share = 1.0 if epoch == epochs else self.schedule.share((epoch - 1) / epochs)
        if share > 0:
            self._decompose(self.config.sparsity * share)
            self._at_target = share >= 1

    def _decompose(self, sparsity: float) -> None:
        layers = {path: self._whole(path) for path in self._names}
        patches = self._patches(layers) if self.patches else {}
        from sparsemod.pruning.low_rank.layers import source_of

        sources = {
            path: source_of(path, layer, patches.get(f"{path}.weight")) for path, layer in layers.items()
        }
        self._install({p: (sources[p], r) for p, r in self.chosen(sources, self._total, sparsity).items()})

    def _patches(self, layers: "Mapping[str, Layer]") -> "Mapping[str, Any]":
        from sparsemod.pruning.patches import layer_patches

        config: Any = self.config
        names = [f"{path}.weight" for path in layers]
        return layer_patches(
            self._held(), self.context.batches(), names, config.samples, config.patches, self.context.seed
        )

    def _whole(self, path: str) -> "Layer":
        """Return a layer in one piece, in the module's place; a chain becomes its product."""
        from sparsemod.pruning.low_rank.layers import Decomposed

        layer: Any = self._held().get_submodule(path)
        if isinstance(layer, Decomposed):
            layer = layer.restored()
            self._put(path, layer)
        return layer  # type: ignore[no-any-return]

    def _install(self, chosen: "Mapping[str, tuple[Source, Recipe]]") -> None:
        from sparsemod.pruning.low_rank.layers import Decomposed

        left = self._total
        for path, (source, recipe) in chosen.items():
            layer = self._whole(path)
            chain = Decomposed(layer, self.factors(source, recipe), recipe)
            self._put(path, chain)
            left += chain.size - source.count
        self._sparsity = 1 - left / self._total if self._total else 0.0

    def _put(self, path: str, layer: "nn.Module") -> None:
        parent, _, name = path.rpartition(".")
        layer.train(self._held().get_submodule(path).training)
        setattr(self._held().get_submodule(parent), name, layer)

    def _held(self) -> "nn.Module":
        if self._module is None:
            raise RuntimeError("the method has not been started")
        return self._module

    def chains(self) -> "dict[str, Decomposed]":
        """Return the layers decomposed so far, by path."""
        from sparsemod.pruning.low_rank.layers import Decomposed

        if self._module is None:
            return {}
        return {p: m for p, m in self._module.named_modules() if isinstance(m, Decomposed)}

    def after_step(self) -> None:
        """See Method. Factors with fixed zeros get them back."""
        for chain in self.chains().values() if self._fixes_zeros else ():
            chain.drop()

    _fixes_zeros: ClassVar[bool] = False

    @property
    def sparsity(self) -> float:
        """See Method. The share of the weights that were removed."""
        return self._sparsity

    @property
    def at_target(self) -> bool:
        """See Method."""
        return self._at_target

    @property
    def notes(self) -> tuple[str, ...]:
        """See Method. Says the nearest reachable share where it differs by more than 0.5 % of the weights."""
        return reached_note(self._sparsity, self.config.sparsity) if self._at_target else ()

    def finish(self) -> None:
        """See Method."""
        if not self._at_target:
            wanted = f"training ended before sparsity {self.config.sparsity} was reached"
            raise InvalidInput("pruning", self._sparsity, wanted)
        self._module = None

    def whole_state(self, module: "nn.Module") -> "dict[str, Tensor]":
        """See Method. Each chain counts as the layer that it stands for."""
        from sparsemod.pruning.low_rank.layers import Decomposed

        found = {name: tensor.detach() for name, tensor in module.state_dict().items()}
        for path, chain in module.named_modules():
            if isinstance(chain, Decomposed):
                found = {n: t for n, t in found.items() if not n.startswith(f"{path}.")}
                found[f"{path}.weight"] = chain.product()
                if chain.bias is not None:
                    found[f"{path}.bias"] = chain.bias.detach()
        return found

    def state_dict(self) -> dict[str, Any]:
        """See Method."""
        recipes = [[path, chain.recipe] for path, chain in self.chains().items()]
        return {"recipes": recipes, "sparsity": self._sparsity, "at_target": self._at_target}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See Method. The module gets the chains of the state; load their weights afterwards."""
        from sparsemod.pruning.low_rank.layers import source_of

        recipes: dict[str, Any] = {path: recipe for path, recipe in state["recipes"]}
        unknown = sorted(set(recipes) - set(self._names))
        if unknown:
            raise InvalidInput("pruning state", unknown, f"layers of this network: {', '.join(self._names)}")
        layers = {path: self._whole(path) for path in self._names}
        patches = self._patches({path: layers[path] for path in recipes}) if self.patches and recipes else {}
        self._install(
            {p: (source_of(p, layers[p], patches.get(f"{p}.weight")), r) for p, r in recipes.items()}
        )
        self._sparsity, self._at_target = float(state["sparsity"]), bool(state["at_target"])
