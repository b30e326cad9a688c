"""Programs that fit the number of a rung's survivors.

Rules of thumb, not measurements, decide which program runs them and whether a smaller one is worth compiling, so that
every run of a plan cuts the same chunks.
"""

import math

from jaxopt_lab.engine.plan import Plan
from jaxopt_lab.engine.run.cohort import Cohort
from jaxopt_lab.engine.strategy import Strategy
from jaxopt_lab.engine.tuning.cutting import at_once, fitted, step_seconds
from jaxopt_lab.engine.tuning.probe import COMPILE_SECONDS


def fittest(plan: Plan, cohort: Cohort, number: int, made: list[Strategy]) -> Strategy:
    """Return, of the strategies compiled for a group (its first comes first), the one with the least padding."""
    survivors = int(cohort.alive[number].any(axis=1).sum())
    known = [strategy for strategy in made if strategy.trials <= made[0].trials]  # the first may have shrunk since
    return min(known, key=lambda s: (_padded(plan, s, survivors), -s.trials))


def smaller_program(plan: Plan, cohort: Cohort, number: int, strategy: Strategy) -> Strategy | None:
    """Return a smaller strategy for the next stage, if it saves more time than it takes to compile."""
    survivors = cohort.most_survivors(number)
    if not survivors or strategy.trials == 1:
        return None
    wanted = survivors * len(plan.seeds)
    most = _power_of_two(math.ceil(wanted / at_once(plan)))
    smaller = fitted(plan, plan.groups[number], strategy, most, {survivors: 1})
    saved = _padded(plan, strategy, survivors) - _padded(plan, smaller, survivors)
    group = plan.groups[number]
    seconds = saved * (cohort.next_last - cohort.stage.last) / group.per_step * step_seconds(group)
    return smaller if smaller.trials < strategy.trials and seconds > COMPILE_SECONDS else None


def _padded(plan: Plan, strategy: Strategy, configs: int) -> int:
    """Return the time for so many configurations, in trials, including padding and idle cores."""
    chunks = math.ceil(configs / strategy.configs) * math.ceil(len(plan.seeds) / strategy.seeds)
    return math.ceil(chunks / at_once(plan)) * strategy.trials


def _power_of_two(n: int) -> int:
    """Round up to a power of two, so that there are few sizes, and few programs."""
    return 1 << max(0, n - 1).bit_length()
