"""The course of a search: which evaluation comes when. It reads top to bottom like the search it describes."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from search.choice import Promising, choose, to_finish, trained
from search.controls import sensitivity_control, sensitivity_ladder, uniform_control
from search.halving import survivors
from search.ranges import Range
from search.rungs import Foretold, Rungs
from search.step_search import step_search
from search.strategies import POPULATION, Strategy, make_strategy
from search.strategies.population import Population
from search.surrogate.guided import Guidance, Guided
from search.surrogate.surrogate import Surrogate
from spaces.budget import Budget
from spaces.dealing import deal
from spaces.foundation import Foundation
from spaces.genome import Genome
from spaces.randomness import numpy_generator
from spaces.space import Space
from workers.evaluation import FINISH, INTERVAL, PASSING, PROBE, RUNG, SCRATCH, TRAIN, Evaluation, Request, is_control

STEPS = "seed:steps"
"""The origin of a structural search's probes (:mod:`search.step_search`)."""

WAIT = None
Steps = Iterator[Request | None]


@dataclass(frozen=True)
class PlanSettings:
    """How long each part of the course is; the fields of the search and controls sections of the configuration."""

    strategy: str
    probes: int
    trainings: int
    rounds: int
    population: int
    cost: str
    controls: bool
    repeats: int
    sensitivity_levels: int
    max_drop: float | None
    bisections: int = 0
    ranges: tuple[Range, ...] = ()
    finishes: int = 0
    rungs: tuple[int, ...] = ()
    reduction: int = 3
    recipes: tuple[str, ...] = ()


class SearchPlan:
    """Probes in rounds, trainings between them, the best finished, controls at the end; a :class:`search.engine.Plan`.

    Args:
        base_accuracy: validation accuracy of the base network.
        guidance: what forecasts start from; ``None`` for a search without them.
        foundation: of ``space``; a population needs to know which channels its members keep.
        window: evaluations that are asked for ahead of the last commit. Where rounds are no shorter, nobody waits at
            their ends: whom to train is decided within the next round, as soon as all of the last is known.
    """

    def __init__(
        self,
        space: Space,
        settings: PlanSettings,
        base_accuracy: float,
        seed: int,
        guidance: Guidance | None = None,
        foundation: Foundation | None = None,
        window: float = inf,
    ) -> None:
        self.space = space
        self.settings = settings
        self.base_accuracy = base_accuracy
        self.seed = seed
        self.guidance = guidance
        self.window = window
        self.trainings: list[Evaluation] = []
        """Committed trainings and finishes of all origins, in number order."""
        self._asked = 0
        self._told = 0
        self._ladder: list[Evaluation] = []
        self._steps: list[Evaluation] = []
        self._promising: dict[str, Promising] = {}
        self._rungs = Rungs(settings.rungs, settings.reduction, settings.cost)
        self._strategy: Strategy | None = None
        self._foundation = foundation
        self._population: Population | None = None
        self.surrogate: Surrogate | None = None
        """What steers the search; ``None`` where nothing does."""
        if guidance is not None:
            base_cost = getattr(space.ungrown.cost(space.ungrown.full()), settings.cost)
            self.surrogate = Surrogate(space, settings.cost, base_cost, guidance.images, seed)
            self.surrogate.learn_from(guidance.earlier)
        self._course = self._story()

    def ask(self, number: int) -> Request | None:
        """The next evaluation; see :class:`search.engine.Plan`."""
        request = next(self._course, WAIT)
        if request is not WAIT:
            self._asked += 1
        return request

    def tell(self, evaluation: Evaluation) -> None:
        """Note a result; the strategy learns from what it asked for itself."""
        self._told += 1
        request = evaluation.request
        if request.stage == INTERVAL and self._population is not None:
            self._population.tell(evaluation)
        elif request.stage == RUNG:
            self._rungs.tell(evaluation)
        elif request.stage not in PASSING:
            self.trainings.append(evaluation)
        elif request.origin == "control:sensitivity":
            self._ladder.append(evaluation)
        elif request.origin == STEPS:
            self._steps.append(evaluation)
        else:
            self._promising[request.origin].add(evaluation)
        if self._strategy is not None and not is_control(request.origin) and request.stage != FINISH:
            self._strategy.tell(evaluation)

    def retired(self) -> list[str]:
        """Ids of members of a population whose weights nobody will ask for any more, once each."""
        return [] if self._population is None else self._population.retired()

    def halted(self) -> list[str]:
        """Ids of candidates whose trainings paused and did not go on."""
        return self._rungs.stopped()

    def chosen(self) -> Evaluation | None:
        """The candidate to ship, as far as trainings have committed."""
        return choose(self.trainings, self.settings.cost, self.base_accuracy, self.settings.max_drop)

    def _story(self) -> Steps:
        s = self.settings
        if s.controls:
            yield from self._probe_sensitivity()
        starting = self._starting_individuals()
        if s.bisections and self.space.varies_ratios:
            starting.append((yield from self._search_by_steps()))
        yield from self._live(starting) if s.strategy == POPULATION else self._evolve(starting)
        if s.finishes:
            yield from self._finish(s.finishes)
        if s.controls:
            yield from self._run_controls()

    def _evolve(self, starting: list[Genome]) -> Steps:
        """Probes in rounds, and after each the most promising are trained."""
        s = self.settings
        strategy: Strategy = make_strategy(s.strategy, self.space, s.population, s.cost, self.seed, starting)
        if self.surrogate is not None and self.guidance is not None:
            strategy = Guided(strategy, self.surrogate, self.seed, self.guidance.picks)
        self._strategy = strategy
        promising = self._promising[s.strategy] = Promising(s.trainings, s.cost)
        ended: deque[tuple[int, int]] = deque()
        """Of rounds whose trainings are not yet chosen: the number that followed, and how many to train."""

        def train_known() -> Steps:
            while ended and self._told >= ended[0][0]:
                chosen = self._promote(promising, ended.popleft()[1])
                self._rungs.enter((probe.request.genome, forecast) for probe, forecast in chosen)
            yield from self._train_on()

        for probes, trainings in zip(deal(s.probes, s.rounds), deal(s.trainings, s.rounds), strict=True):
            for _ in range(probes):
                yield from train_known()
                yield self._next(PROBE, strategy.ask(self._asked), s.strategy)
            ended.append((self._asked, trainings))
            if probes < self.window:
                yield from self._all_trained()
                yield from train_known()
        yield from self._all_trained()
        yield from train_known()
        self._rungs.close()
        yield from self._all_trained()

    def _train_on(self) -> Steps:
        """Start every training that can begin or go on."""
        while (step := self._rungs.next()) is not None:
            origin = self.settings.strategy
            yield self._next(step.stage, step.genome, origin, forecast=step.forecast, epochs=step.epochs)

    def _all_trained(self) -> Steps:
        """Wait for all that is under way, and for what goes on from there."""
        yield from self._train_on()
        while self._told < self._asked:
            yield WAIT
            yield from self._train_on()

    def _live(self, founders: list[Genome]) -> Steps:
        """Members train interval by interval; in the end the most promising go on from where they stand."""
        s = self.settings
        if self._foundation is None:
            raise ValueError("strategy population needs the foundation of the space")
        population = Population(self._foundation, self.seed, s.population, s.probes, s.cost, s.ranges, founders)
        self._population = population
        for _ in range(s.probes):
            proposal = population.ask(self._asked)
            yield self._next(INTERVAL, proposal.genome, s.strategy, parent=proposal.parent)
        yield from self._all_committed()
        for member in population.promote(s.trainings):
            genome = member.request.genome
            yield self._next(TRAIN, genome, s.strategy, parent=genome.id)

    def _finish(self, count: int) -> Steps:
        """Train the chosen candidates on."""
        yield from self._all_committed()
        for training in to_finish(self.trainings, self.settings.cost, self.chosen(), count):
            genome = training.request.genome
            yield self._next(FINISH, genome, self.settings.strategy, parent=genome.id)
        yield from self._all_committed()

    def _promote(self, promising: Promising, count: int) -> list[tuple[Evaluation, Foretold]]:
        """Who is trained next, and what is expected of it: by the surrogate where it is ready, else by probes alone."""
        if self.surrogate is None:
            return [(probe, None) for probe in promising.promote(count)]
        if self.surrogate.ready:
            chosen = self.surrogate.promote(count)
            for probe in chosen:
                promising.take(probe)
        else:
            chosen = promising.promote(count)
        return list(zip(chosen, self.surrogate.will_train(chosen), strict=True))

    def _probe_sensitivity(self) -> Steps:
        for _, _, genome in sensitivity_ladder(self.space, self.settings.sensitivity_levels):
            yield self._next(PROBE, genome, "control:sensitivity")
        yield from self._all_committed()

    def _search_by_steps(self) -> Generator[Request | None, None, Genome]:
        """One probe at a time: each depends on the last. They are the search's own, in its cost as in its archive."""
        search = step_search(self.space, self.base_accuracy, self.settings.bisections)
        try:
            genome = next(search)
            while True:
                yield self._next(PROBE, genome, STEPS)
                yield from self._all_committed()
                last = self._steps[-1]
                genome = search.send(last.metrics["accuracy"] if last.ok else 0.0)
        except StopIteration as end:
            found: Genome = end.value
            return found

    def _starting_individuals(self) -> list[Genome]:
        """What a careful person would try first: uniform by L1, uniform by mean rank, the same as narrow as the
        reference curve advises (:mod:`search.start`), and the sensitivity answer. Where blends alone are searched: each
        criterion by itself, and the first of each cluster alike.
        """
        if not self.space.varies_ratios:
            alone = np.eye(len(self.space.criteria)).tolist()
            blends = [None, *map(tuple, alone)]
            return list(dict.fromkeys(self.space.repair(self.space.uniform(1.0, blend)) for blend in blends))
        narrower = () if self.guidance is None else self.guidance.widths
        mean_rank = [self.space.repair(self.space.uniform(width)) for width in (1.0, *narrower)]
        seeds = [uniform_control(self.space, self.space.budget), *mean_rank]
        if self.settings.controls:
            seeds.append(self._sensitivity(self.space.budget))
        return list({genome.id: genome for genome in seeds}.values())

    def _run_controls(self) -> Steps:
        """Train the controls, and the chosen candidate again, with the same seeds; then random search's best."""
        s = self.settings
        yield from self._all_committed()
        chosen = self.chosen()
        if chosen is None:
            return
        genome = chosen.request.genome
        # What is repeated is the training, also of a chosen one that was finished.
        training = next(e for e in trained(self.trainings, (TRAIN,)) if e.request.genome == genome)
        parent = training.request.parent
        epochs = int(training.metrics["epochs"]) if parent else None  # of a member, those of its ancestors count
        size = Budget(**{s.cost: int(chosen.metrics[s.cost])})
        alike = {"uniform": uniform_control(self.space, size), "sensitivity": self._sensitivity(size)}
        for repeat in range(1, s.repeats + 1):
            yield self._next(TRAIN, genome, "control:chosen", repeat, parent=parent)
            yield self._next(SCRATCH, genome, "control:scratch", repeat, epochs=epochs)
            for name, control in alike.items():
                yield self._next(TRAIN, control, f"control:{name}", repeat, epochs=epochs)
            for recipe in s.recipes:
                yield self._next(recipe, genome, f"control:{recipe}", repeat, epochs=epochs)
        yield from self._random_search(size, epochs)

    def _random_search(self, size: Budget, epochs: int | None) -> Steps:
        s = self.settings
        within = replace(self.space, budget=size)
        promising = self._promising["control:random"] = Promising(1, s.cost)
        for i in range(s.probes + len(self._steps)):
            yield self._next(PROBE, within.sample(numpy_generator(self.seed, "control:random", i)), "control:random")
        yield from self._all_committed()
        for probe in promising.promote(1):
            for repeat in range(1, s.repeats + 1):
                yield self._next(TRAIN, probe.request.genome, "control:random", repeat, epochs=epochs)

    def _sensitivity(self, budget: Budget) -> Genome:
        """The sensitivity-then-bisect genome within ``budget``, from the probes made at the start."""
        ladder = sensitivity_ladder(self.space, self.settings.sensitivity_levels)
        accuracy = {e.request.genome.id: e.metrics["accuracy"] for e in self._ladder if e.ok}
        curves = {(name, ratio): accuracy[g.id] for name, ratio, g in ladder if g.id in accuracy}
        return sensitivity_control(self.space, budget, curves, self.base_accuracy)

    def _next(
        self,
        stage: str,
        genome: Genome,
        origin: str,
        repeat: int = 0,
        forecast: Foretold = None,
        parent: str = "",
        epochs: int | None = None,
    ) -> Request:
        return Request(self._asked, stage, genome, origin, repeat, forecast, parent, epochs)

    def _all_committed(self) -> Steps:
        while self._told < self._asked:
            yield WAIT


def course_counts(space: Space, settings: PlanSettings) -> dict[str, int]:
    """Evaluations of the whole course by stage.

    Exact where enough candidates succeed, none is asked for twice, and no training pauses at rungs.
    """
    s = settings
    groups = len(space.ungrown.groups)
    probes = s.probes + (groups * s.bisections if space.varies_ratios else 0)
    own = {INTERVAL: s.probes, PROBE: probes - s.probes} if s.strategy == POPULATION else {PROBE: probes}
    reaching = survivors(s.trainings, len(s.rungs), s.reduction)
    paused = {RUNG: sum(reaching[:-1])} if s.rungs else {}
    counts = {**own, **paused, TRAIN: reaching[-1], SCRATCH: 0}
    if s.finishes:
        counts[FINISH] = min(s.finishes, s.trainings)
    if s.controls:
        counts[PROBE] += groups * s.sensitivity_levels + probes
        counts[TRAIN] += 4 * s.repeats
        counts[SCRATCH] += s.repeats
        counts |= dict.fromkeys(s.recipes, s.repeats)
    return counts
