"""Before any work: does the configuration fit the data and the network, and can the budget be met at all?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from search.config import BudgetConfig, SearchConfig
from search.loading import ConfigError
from spaces.budget import Budget
from spaces.criteria import resolve
from spaces.foundation import clusters_of
from spaces.growth import Growth, grow_structure, growths
from spaces.layout import Cost, Layout
from spaces.networks import NetworkSpec
from spaces.space import InfeasibleBudget, Space
from workers.data import DataRequest, Splits, load_splits
from workers.prepare import base_network, checked_layout, load_base
from workers.threads import torch_threads

MOST_GROWTHS = 64
"""Growths that a search prepares; each is traced and scored once, before the first candidate."""


@dataclass(frozen=True)
class Preflight:
    """What is known before the first second of work.

    Attributes:
        space: with layouts from untrained weights; groups do not depend on weights.
        base: cost of the uncompressed base network.
        least: cost of the smallest genome.
    """

    config: SearchConfig
    splits: Splits
    spec: NetworkSpec
    space: Space
    base: Cost
    least: Cost

    @property
    def layout(self) -> Layout:
        """The ungrown base network's layout."""
        return self.space.layouts[min(self.space.layouts)]


def check(config: SearchConfig) -> Preflight:
    """Load the data, build the network untrained, and make the space.

    Raises:
        DataError: the data cannot be used.
        CheckpointError: ``network.weights`` cannot be used.
        ConfigError: a setting does not fit the data, the network or the budget.
    """
    splits = load_splits(data_request(config))
    spec = NetworkSpec(config.network.name, splits.train.shape, splits.train.classes, config.network.arguments)
    try:
        resolve(config.space.criteria)
        with torch_threads(config.cluster.threads):  # a driver shares its machine with workers
            layouts = _layouts(config, spec)
        space = make_space(config, layouts)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if config.network.weights is not None:
        load_base(spec, config.seed, Path(config.network.weights))
    layout = layouts[min(layouts)]
    if not layout.groups:
        reasons = "; ".join(f"{x.name}: {x.reason}" for x in layout.locked[:3])
        raise ConfigError(f"network.name: {spec.name!r} has no channels that may be removed ({reasons})")
    try:
        space.repair(space.least())
    except InfeasibleBudget as error:
        raise ConfigError(str(error)) from None
    return Preflight(config, splits, spec, space, layout.cost(layout.full()), space.cost(space.least()))


def data_request(config: SearchConfig) -> DataRequest:
    """What to load; the run's seed also decides the splits."""
    return DataRequest(**config.data.model_dump(), seed=config.seed)


def make_space(config: SearchConfig, layouts: dict[Growth, Layout]) -> Space:
    """The space of a run over the given layouts, its budget in absolute units."""
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
    )


def absolute(budget: BudgetConfig, base: Cost) -> Budget:
    """Shares of the base network turned into absolute bounds."""

    def bound(name: str) -> int | None:
        value = getattr(budget, name)
        return int(value * getattr(base, name)) if isinstance(value, float) else value

    return Budget(params=bound("params"), macs=bound("macs"), bytes=bound("bytes"))


def _layouts(config: SearchConfig, spec: NetworkSpec) -> dict[Growth, Layout]:
    network = base_network(spec, config.seed)
    vectors = growths(network, config.space.growth)
    if len(vectors) > MOST_GROWTHS:
        raise ValueError(
            f"space.growth: {config.space.growth} makes {len(vectors)} growths of this network, at most {MOST_GROWTHS} "
            "are prepared; lower it, or use fewer stages"
        )
    return {g: checked_layout(grow_structure(network, g), spec.shape, config.network.keep) for g in vectors}
