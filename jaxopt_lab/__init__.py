"""jaxopt_lab: which optimizer, with which hyperparameters, on my problem, and how sure am I?"""

from typing import TYPE_CHECKING

from jaxopt_lab import schedules as schedules
from jaxopt_lab import tasks as tasks
from jaxopt_lab.compare.compare import compare as compare
from jaxopt_lab.compare.confirm import Confirmation as Confirmation
from jaxopt_lab.compare.confirm import confirm as confirm
from jaxopt_lab.compare.verdict import Verdict as Verdict
from jaxopt_lab.engine.compile.options import compiler_options as compiler_options
from jaxopt_lab.engine.recorder import Progress as Progress
from jaxopt_lab.engine.rules import halving as halving
from jaxopt_lab.engine.rules import hyperband as hyperband
from jaxopt_lab.engine.rules import median_stop as median_stop
from jaxopt_lab.engine.rules import plateau as plateau
from jaxopt_lab.engine.stopping import Decision as Decision
from jaxopt_lab.engine.stopping import Rung as Rung
from jaxopt_lab.engine.stopping import StopRule as StopRule
from jaxopt_lab.engine.tuning.forecast import Forecast as Forecast
from jaxopt_lab.errors import RunError as RunError
from jaxopt_lab.errors import StreamError as StreamError
from jaxopt_lab.optimizers import OPTIMIZERS as OPTIMIZERS
from jaxopt_lab.optimizers import PRIORS as PRIORS
from jaxopt_lab.optimizers import cautious as cautious
from jaxopt_lab.optimizers import cautious_weight_decay as cautious_weight_decay
from jaxopt_lab.optimizers import ema as ema
from jaxopt_lab.optimizers import filled as filled
from jaxopt_lab.optimizers import flat as flat
from jaxopt_lab.optimizers import fused as fused
from jaxopt_lab.optimizers import grokfast_ema as grokfast_ema
from jaxopt_lab.optimizers import grokfast_ma as grokfast_ma
from jaxopt_lab.optimizers import hyperball as hyperball
from jaxopt_lab.optimizers import lookahead as lookahead
from jaxopt_lab.optimizers import master_weights as master_weights
from jaxopt_lab.optimizers import mechanic as mechanic
from jaxopt_lab.optimizers import schedule_free as schedule_free
from jaxopt_lab.optimizers import scheduled as scheduled
from jaxopt_lab.report import plots as plots
from jaxopt_lab.report.diagnosis import Diagnose as _Diagnose
from jaxopt_lab.report.exports import to_csv as _to_csv
from jaxopt_lab.report.exports import to_latex as _to_latex
from jaxopt_lab.report.exports import to_parquet as _to_parquet
from jaxopt_lab.report.page.page import Report as _Report
from jaxopt_lab.report.page.verdict import VerdictReport as _VerdictReport
from jaxopt_lab.report.plots.plots import Plots as _Plots
from jaxopt_lab.report.plots.style import style as style
from jaxopt_lab.report.plots.verdicts import VerdictPlots as _VerdictPlots
from jaxopt_lab.report.progress import shown as _shown
from jaxopt_lab.report.tensorboard import to_tensorboard as _to_tensorboard
from jaxopt_lab.results.accessors import register as _register
from jaxopt_lab.results.accessors import register_method as _register_method
from jaxopt_lab.results.best import Best as Best
from jaxopt_lab.results.concat import concat as concat
from jaxopt_lab.results.files import load as load
from jaxopt_lab.results.lineage import lineage as _lineage
from jaxopt_lab.results.results import Results as Results
from jaxopt_lab.rewrite import rewritten as rewritten
from jaxopt_lab.search.methods import SearchMethod as SearchMethod
from jaxopt_lab.search.population import pbt as pbt
from jaxopt_lab.search.samplers import optuna as optuna
from jaxopt_lab.search.search import search as search
from jaxopt_lab.statistics.judge import Judgement as Judgement
from jaxopt_lab.statistics.judge import judge as judge
from jaxopt_lab.sweep.budget import epochs as epochs
from jaxopt_lab.sweep.budget import examples as examples
from jaxopt_lab.sweep.display import register as _register_display
from jaxopt_lab.sweep.extend import extend as extend
from jaxopt_lab.sweep.hyperparameter import choice as choice
from jaxopt_lab.sweep.hyperparameter import static as static
from jaxopt_lab.sweep.ranges import linear as linear
from jaxopt_lab.sweep.ranges import log as log
from jaxopt_lab.sweep.ranges import one_minus as one_minus
from jaxopt_lab.sweep.ranges import prior as prior
from jaxopt_lab.sweep.rerun import Rerun as Rerun
from jaxopt_lab.sweep.rerun import rerun as rerun
from jaxopt_lab.sweep.search_space import SearchSpace as SearchSpace
from jaxopt_lab.sweep.space import random as random
from jaxopt_lab.sweep.space import sobol as sobol
from jaxopt_lab.sweep.space import zipped as zipped
from jaxopt_lab.sweep.sweep import plan as plan
from jaxopt_lab.sweep.sweep import sweep as sweep
from jaxopt_lab.tasks import TASKS as TASKS
from jaxopt_lab.tasks import Task as Task
from jaxopt_lab.tasks.adapters.equinox import equinox_task as equinox_task
from jaxopt_lab.tasks.adapters.linen import linen_task as linen_task
from jaxopt_lab.tasks.adapters.nnx import nnx_task as nnx_task
from jaxopt_lab.tasks.direction import maximize as maximize
from jaxopt_lab.tasks.direction import minimize as minimize
from jaxopt_lab.tasks.streams import stream as stream
from jaxopt_lab.types import Prior as Prior

globals().update(OPTIMIZERS)  # each method under its name

# What a person sees is above what it shows, so results and sweeps learn of it here.
_register(Results, "plot", _Plots)
_register(Results, "diagnose", _Diagnose)
_register(Results, "report", _Report)
for _method in (confirm, _lineage, _to_csv, _to_parquet, _to_latex, _to_tensorboard):
    _register_method(Results, _method)
_register(Verdict, "plot", _VerdictPlots)
_register(Verdict, "report", _VerdictReport)
_register_display(_shown)

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxopt_lab.types import ExtraArgsOptimizer

    def __getattr__(name: str) -> Callable[..., ExtraArgsOptimizer]: ...
