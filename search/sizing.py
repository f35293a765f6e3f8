"""From the configuration and the base network's layouts to the search space, its budget in absolute units."""

from __future__ import annotations

from search.config import BudgetConfig, SearchConfig
from spaces.budget import Budget
from spaces.foundation import clusters_of
from spaces.growth import Growth
from spaces.layout import Cost, Layout
from spaces.space import Space


def make_space(config: SearchConfig, layouts: dict[Growth, Layout]) -> Space:
    """The space of a run over the given layouts."""
    base = layouts[min(layouts)]
    return Space(
        layouts=layouts,
        criteria=config.space.criteria,
        clusters=clusters_of(layouts, config.space.blend_by),
        budget=absolute(config.budget, base.cost(base.full())),
        min_keep=config.space.min_keep,
        min_width=config.space.min_width,
        round_to=config.space.round_to,
        mutation=config.space.mutation,
        varies_ratios=config.space.blend == "joint",
    )


def absolute(budget: BudgetConfig, base: Cost) -> Budget:
    """Shares of the base network turned into absolute bounds."""

    def bound(name: str) -> int | None:
        value = getattr(budget, name)
        return int(value * getattr(base, name)) if isinstance(value, float) else value

    return Budget(params=bound("params"), macs=bound("macs"), bytes=bound("bytes"))
