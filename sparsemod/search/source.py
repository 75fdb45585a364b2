"""The candidate source `search`."""

from sparsemod.search.settings import SearchConfig
from sparsemod.sources.base import SOURCES, Source, SourceContext


@SOURCES.register("search")
class SearchSource(SearchConfig):
    """Sobol points, then a Gaussian process with exact costs, then morphs of the front."""

    def create(self, context: SourceContext) -> Source:
        """Return the search in the experiment's space."""
        from sparsemod.search.strategy import Search

        return Search(context.spec, context.space, context.costs, context.morphs)
