"""jaxopt_lab: which optimizer, with which hyperparameters, on my problem, and how sure am I?"""

from jaxopt_lab import tasks as tasks
from jaxopt_lab.engine import Progress as Progress
from jaxopt_lab.optimizers import OPTIMIZERS as OPTIMIZERS
from jaxopt_lab.optimizers import adagrad as adagrad
from jaxopt_lab.optimizers import adam as adam
from jaxopt_lab.optimizers import adamw as adamw
from jaxopt_lab.optimizers import gradient_descent as gradient_descent
from jaxopt_lab.optimizers import momentum as momentum
from jaxopt_lab.optimizers import rmsprop as rmsprop
from jaxopt_lab.optimizers import sgd as sgd
from jaxopt_lab.results import Best as Best
from jaxopt_lab.results import Results as Results
from jaxopt_lab.space import linear as linear
from jaxopt_lab.space import log as log
from jaxopt_lab.space import random as random
from jaxopt_lab.space import sobol as sobol
from jaxopt_lab.space import static as static
from jaxopt_lab.space import zipped as zipped
from jaxopt_lab.store import load as load
from jaxopt_lab.sweep import sweep as sweep
from jaxopt_lab.tasks import TASKS as TASKS
from jaxopt_lab.tasks import Task as Task
