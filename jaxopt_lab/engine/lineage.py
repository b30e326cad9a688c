"""From whom trials continued at each rung, and with which hyperparameters, where a stop rule changes these."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxopt_lab.engine.plan import Plan


class Lineage:
    """What a stop rule made of trials, apart from ending them.

    Attributes:
        rungs: Where all rungs are, in the plan's units, in ascending order.
        source: Shape (configurations, seeds, rungs): the configuration from whose trial of the same seed each trial
            continued after the rung: its own number where it went on from its own state; -1 where it had ended.
        values: The numeric hyperparameters that the rule may change, by name: what they were after the rung, in the
            same shape; NaN where the trial had ended, or has none of that name.

    """

    def __init__(self, plan: Plan):
        self.rungs = np.unique(np.concatenate([pool.rungs for pool in plan.pools]))
        shape = plan.configs, len(plan.seeds), len(self.rungs)
        self.source = np.full(shape, -1, np.int32)
        self.values = {name: np.full(shape, np.nan) for name in plan.changes}

    def note(
        self, rung: int, configs: np.ndarray, source: np.ndarray | None, values: Mapping[str, Any], going_on: np.ndarray
    ) -> None:
        """Record what a decision at a rung left.

        Args:
            rung: Where the rung is.
            configs: The numbers of the configurations that were compared.
            source: Positions among them, as in `stopping.Decision`.
            values: The hyperparameters of these trials by name, after the decision.
            going_on: Which of these trials continue.

        """
        at = int(np.searchsorted(self.rungs, rung))
        own = np.tile(np.arange(len(configs))[:, None], going_on.shape[1])
        self.source[configs, :, at] = np.where(going_on, configs[own if source is None else source], -1)
        for name, kept in self.values.items():
            kept[configs, :, at] = np.where(going_on, values[name], np.nan)
