"""jaxopt_lab: which optimizer, with which hyperparameters, on my problem, and how sure am I?"""

from jaxopt_lab import tasks as tasks
from jaxopt_lab.engine.compile.options import compiler_options as compiler_options
from jaxopt_lab.engine.fused import fused as fused
from jaxopt_lab.engine.recorder import Progress as Progress
from jaxopt_lab.engine.stopping import Decision as Decision
from jaxopt_lab.engine.stopping import Rung as Rung
from jaxopt_lab.engine.stopping import StopRule as StopRule
from jaxopt_lab.engine.stopping import halving as halving
from jaxopt_lab.engine.stopping import hyperband as hyperband
from jaxopt_lab.engine.stopping import plateau as plateau
from jaxopt_lab.engine.tuning.forecast import Forecast as Forecast
from jaxopt_lab.errors import RunError as RunError
from jaxopt_lab.optimizers import OPTIMIZERS as OPTIMIZERS
from jaxopt_lab.optimizers import PRIORS as PRIORS
from jaxopt_lab.optimizers import acprop as acprop
from jaxopt_lab.optimizers import adabelief as adabelief
from jaxopt_lab.optimizers import adadelta as adadelta
from jaxopt_lab.optimizers import adafactor as adafactor
from jaxopt_lab.optimizers import adagrad as adagrad
from jaxopt_lab.optimizers import adam as adam
from jaxopt_lab.optimizers import adamax as adamax
from jaxopt_lab.optimizers import adamaxw as adamaxw
from jaxopt_lab.optimizers import adamw as adamw
from jaxopt_lab.optimizers import adan as adan
from jaxopt_lab.optimizers import ademamix as ademamix
from jaxopt_lab.optimizers import adopt as adopt
from jaxopt_lab.optimizers import amsgrad as amsgrad
from jaxopt_lab.optimizers import cocob as cocob
from jaxopt_lab.optimizers import dadapt_adamw as dadapt_adamw
from jaxopt_lab.optimizers import dog as dog
from jaxopt_lab.optimizers import dowg as dowg
from jaxopt_lab.optimizers import filled as filled
from jaxopt_lab.optimizers import flat as flat
from jaxopt_lab.optimizers import fromage as fromage
from jaxopt_lab.optimizers import galore as galore
from jaxopt_lab.optimizers import gradient_descent as gradient_descent
from jaxopt_lab.optimizers import lamb as lamb
from jaxopt_lab.optimizers import lars as lars
from jaxopt_lab.optimizers import lbfgs as lbfgs
from jaxopt_lab.optimizers import lion as lion
from jaxopt_lab.optimizers import madgrad as madgrad
from jaxopt_lab.optimizers import master_weights as master_weights
from jaxopt_lab.optimizers import momentum as momentum
from jaxopt_lab.optimizers import momo as momo
from jaxopt_lab.optimizers import momo_adam as momo_adam
from jaxopt_lab.optimizers import muon as muon
from jaxopt_lab.optimizers import nadam as nadam
from jaxopt_lab.optimizers import nadamw as nadamw
from jaxopt_lab.optimizers import noisy_sgd as noisy_sgd
from jaxopt_lab.optimizers import novograd as novograd
from jaxopt_lab.optimizers import optimistic_adam as optimistic_adam
from jaxopt_lab.optimizers import optimistic_gradient_descent as optimistic_gradient_descent
from jaxopt_lab.optimizers import polyak_sgd as polyak_sgd
from jaxopt_lab.optimizers import prodigy as prodigy
from jaxopt_lab.optimizers import radam as radam
from jaxopt_lab.optimizers import rmsprop as rmsprop
from jaxopt_lab.optimizers import rprop as rprop
from jaxopt_lab.optimizers import sam as sam
from jaxopt_lab.optimizers import schedule_free_adamw as schedule_free_adamw
from jaxopt_lab.optimizers import schedule_free_sgd as schedule_free_sgd
from jaxopt_lab.optimizers import sgd as sgd
from jaxopt_lab.optimizers import sign_sgd as sign_sgd
from jaxopt_lab.optimizers import signum as signum
from jaxopt_lab.optimizers import simplified_ademamix as simplified_ademamix
from jaxopt_lab.optimizers import sm3 as sm3
from jaxopt_lab.optimizers import sophia as sophia
from jaxopt_lab.optimizers import yogi as yogi
from jaxopt_lab.report.plots.plots import Plots
from jaxopt_lab.report.progress import shown
from jaxopt_lab.results.accessors import register
from jaxopt_lab.results.best import Best as Best
from jaxopt_lab.results.files import load as load
from jaxopt_lab.results.results import Results as Results
from jaxopt_lab.sweep.display import register as show_progress_with
from jaxopt_lab.sweep.rerun import Rerun as Rerun
from jaxopt_lab.sweep.rerun import rerun as rerun
from jaxopt_lab.sweep.space import linear as linear
from jaxopt_lab.sweep.space import log as log
from jaxopt_lab.sweep.space import random as random
from jaxopt_lab.sweep.space import sobol as sobol
from jaxopt_lab.sweep.space import static as static
from jaxopt_lab.sweep.space import zipped as zipped
from jaxopt_lab.sweep.sweep import plan as plan
from jaxopt_lab.sweep.sweep import sweep as sweep
from jaxopt_lab.tasks import TASKS as TASKS
from jaxopt_lab.tasks import Task as Task
from jaxopt_lab.tasks.direction import maximize as maximize
from jaxopt_lab.tasks.direction import minimize as minimize
from jaxopt_lab.types import Prior as Prior

# What a person sees is above what it shows: so results and sweeps learn of it here.
register(Results, "plot", Plots)
show_progress_with(shown)
