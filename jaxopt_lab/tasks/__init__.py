"""Tasks: the objectives that are minimised, one file each; `TASKS` maps a name to the function that makes the task."""

from collections.abc import Callable

from jaxopt_lab.tasks.beale import beale as beale
from jaxopt_lab.tasks.breast_cancer import breast_cancer as breast_cancer
from jaxopt_lab.tasks.cart_pole import cart_pole as cart_pole
from jaxopt_lab.tasks.deep_linear import deep_linear as deep_linear
from jaxopt_lab.tasks.diabetes import diabetes as diabetes
from jaxopt_lab.tasks.digits import digits_mlp as digits_mlp
from jaxopt_lab.tasks.digits import digits_softmax as digits_softmax
from jaxopt_lab.tasks.digits_autoencoder import digits_autoencoder as digits_autoencoder
from jaxopt_lab.tasks.digits_cnn import digits_cnn as digits_cnn
from jaxopt_lab.tasks.linear_regression import linear_regression as linear_regression
from jaxopt_lab.tasks.log_quadratic import log_quadratic as log_quadratic
from jaxopt_lab.tasks.markov_transformer import markov_transformer as markov_transformer
from jaxopt_lab.tasks.matrix_factorization import matrix_factorization as matrix_factorization
from jaxopt_lab.tasks.noisy_quadratic import noisy_quadratic as noisy_quadratic
from jaxopt_lab.tasks.pinn import pinn as pinn
from jaxopt_lab.tasks.quadratic import quadratic as quadratic
from jaxopt_lab.tasks.quadratic_deep import quadratic_deep as quadratic_deep
from jaxopt_lab.tasks.rastrigin import rastrigin as rastrigin
from jaxopt_lab.tasks.reddi import reddi as reddi
from jaxopt_lab.tasks.rosenbrock import rosenbrock as rosenbrock
from jaxopt_lab.tasks.rosenbrock_nd import rosenbrock_nd as rosenbrock_nd
from jaxopt_lab.tasks.styblinski_tang import styblinski_tang as styblinski_tang
from jaxopt_lab.tasks.task import Task as Task
from jaxopt_lab.tasks.wilson import wilson as wilson

TASKS: dict[str, Callable[..., Task]] = {
    "linear_regression": linear_regression,
    "quadratic": quadratic,
    "rosenbrock": rosenbrock,
    "breast_cancer": breast_cancer,
    "diabetes": diabetes,
    "digits_softmax": digits_softmax,
    "digits_mlp": digits_mlp,
    "log_quadratic": log_quadratic,
    "quadratic_deep": quadratic_deep,
    "noisy_quadratic": noisy_quadratic,
    "rosenbrock_nd": rosenbrock_nd,
    "rastrigin": rastrigin,
    "styblinski_tang": styblinski_tang,
    "beale": beale,
    "reddi": reddi,
    "wilson": wilson,
    "matrix_factorization": matrix_factorization,
    "deep_linear": deep_linear,
    "digits_cnn": digits_cnn,
    "digits_autoencoder": digits_autoencoder,
    "markov_transformer": markov_transformer,
    "pinn": pinn,
    "cart_pole": cart_pole,
}
