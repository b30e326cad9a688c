"""Tasks: the objectives that are minimised, one file each; `TASKS` maps a name to the function that makes the task."""

from collections.abc import Callable

from jaxopt_lab.tasks.breast_cancer import breast_cancer as breast_cancer
from jaxopt_lab.tasks.diabetes import diabetes as diabetes
from jaxopt_lab.tasks.digits import digits_mlp as digits_mlp
from jaxopt_lab.tasks.digits import digits_softmax as digits_softmax
from jaxopt_lab.tasks.linear_regression import linear_regression as linear_regression
from jaxopt_lab.tasks.quadratic import quadratic as quadratic
from jaxopt_lab.tasks.rosenbrock import rosenbrock as rosenbrock
from jaxopt_lab.tasks.task import Task as Task

TASKS: dict[str, Callable[..., Task]] = {
    "linear_regression": linear_regression,
    "quadratic": quadratic,
    "rosenbrock": rosenbrock,
    "breast_cancer": breast_cancer,
    "diabetes": diabetes,
    "digits_softmax": digits_softmax,
    "digits_mlp": digits_mlp,
}
