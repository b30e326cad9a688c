"""Survivors of a rung in programs of their size: which program takes them, and whether a smaller one is worth making.

By rules of thumb and not by measurement, so that every run of a plan cuts its chunks alike.
"""

import math

from jaxopt_lab.engine.plan import Plan, step_seconds
from jaxopt_lab.engine.run.cohort import Race
from jaxopt_lab.engine.strategy import Strategy
from jaxopt_lab.engine.tuning.probe import COMPILE_SECONDS


def fittest(plan: Plan, race: Race, number: int, made: list[Strategy]) -> Strategy:
    """Of the programs made for a group, its first before all, the one that takes its survivors with least padding."""
    survivors = int(race.alive[number].any(axis=1).sum())
    known = [strategy for strategy in made if strategy.trials <= made[0].trials]  # memory may have run out since
    return min(known, key=lambda s: (_padded(plan, s, survivors), -s.trials))


def foreseen(plan: Plan, race: Race, number: int, strategy: Strategy) -> Strategy | None:
    """A smaller program for the next stage, where it is worth what it takes to compile."""
    survivors = race.most_survivors(number)
    if not survivors or strategy.trials == 1:
        return None
    wanted = survivors * len(plan.seeds)
    most = _power_of_two(math.ceil(wanted / plan.at_once))
    smaller = plan.fitted(plan.groups[number], strategy, most, {survivors: 1})
    saved = _padded(plan, strategy, survivors) - _padded(plan, smaller, survivors)
    seconds = saved * (race.next_last - race.last) * step_seconds(plan.groups[number])
    return smaller if smaller.trials < strategy.trials and seconds > COMPILE_SECONDS else None


def _padded(plan: Plan, strategy: Strategy, configs: int) -> int:
    """How many trials' time so many configurations take, padding and idle workers included."""
    chunks = math.ceil(configs / strategy.configs) * math.ceil(len(plan.seeds) / strategy.seeds)
    return math.ceil(chunks / plan.at_once) * strategy.trials


def _power_of_two(n: int) -> int:
    """The least that is not less: so that sizes, and programs, are few."""
    return 1 << max(0, n - 1).bit_length()
