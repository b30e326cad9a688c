"""Optimizers: pure (init, update) pairs, one file a method.

A method registers itself by `@method(...)`. Every public module of this package is imported here, so a new file is
enough to export its method and to list it.
"""

import importlib
import pkgutil
from collections.abc import Callable
from typing import TYPE_CHECKING

from jaxopt_lab.optimizers._base import PRIORS as PRIORS
from jaxopt_lab.optimizers._base import REGISTERED
from jaxopt_lab.optimizers.wrappers.cautious import cautious as cautious
from jaxopt_lab.optimizers.wrappers.cautious_weight_decay import cautious_weight_decay as cautious_weight_decay
from jaxopt_lab.optimizers.wrappers.ema import ema as ema
from jaxopt_lab.optimizers.wrappers.filled import filled as filled
from jaxopt_lab.optimizers.wrappers.flat import Flat as Flat
from jaxopt_lab.optimizers.wrappers.flat import flat as flat
from jaxopt_lab.optimizers.wrappers.fused import fused as fused
from jaxopt_lab.optimizers.wrappers.grokfast import grokfast_ema as grokfast_ema
from jaxopt_lab.optimizers.wrappers.grokfast import grokfast_ma as grokfast_ma
from jaxopt_lab.optimizers.wrappers.hyperball import hyperball as hyperball
from jaxopt_lab.optimizers.wrappers.lookahead import lookahead as lookahead
from jaxopt_lab.optimizers.wrappers.master_weights import master_weights as master_weights
from jaxopt_lab.optimizers.wrappers.mechanic import mechanic as mechanic
from jaxopt_lab.optimizers.wrappers.schedule_free import schedule_free as schedule_free
from jaxopt_lab.optimizers.wrappers.scheduled import scheduled as scheduled
from jaxopt_lab.types import ExtraArgsOptimizer, OptimizerFactory

for _module in pkgutil.iter_modules(__path__, f"{__name__}."):
    if not _module.name.rpartition(".")[2].startswith("_"):
        importlib.import_module(_module.name)

OPTIMIZERS: dict[str, OptimizerFactory] = dict(sorted(REGISTERED.items()))
globals().update(OPTIMIZERS)

if TYPE_CHECKING:

    def __getattr__(name: str) -> Callable[..., ExtraArgsOptimizer]: ...
