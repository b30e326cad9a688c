"""Factorisation of a matrix: not convex, yet every local minimum is global."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_lab.checking import check_count, check_number
from jaxopt_lab.tasks.about import about
from jaxopt_lab.tasks.task import Task, task_function

START = 0.1
MOST = 1000


@about("matrix", 2000, "minimum by singular values (Eckart & Young 1936); 0 without noise")
@task_function
def matrix_factorization(rows: int = 20, columns: int = 15, rank: int = 3, seed: int = 0, noise: float = 0.0) -> Task:
    """The mean over all entries of (U V' - M)^2, where U and V have as many columns as the rank.

    M is A B' / sqrt(rank) with standard normal A and B, so its entries have variance 1, plus noise. The minimum is the
    sum of the squared singular values of M beyond the rank, divided by the number of entries (Eckart & Young 1936,
    https://doi.org/10.1007/BF02288367); without noise it is 0. Every local minimum is global, all other stationary
    points are saddles (Baldi & Hornik 1989, https://doi.org/10.1016/0893-6080(89)90014-2). U and V start normal with
    standard deviation .1, near the saddle at 0.

    Args:
        rows: Rows of M, 1 to 1,000.
        columns: Columns of M, 1 to 1,000.
        rank: Columns of U and V, 1 to the smaller side of M.
        seed: Of M.
        noise: Standard deviation of the noise in each entry of M, >= 0.

    Raises:
        ValueError: An argument is out of range.

    """
    rows, columns = check_count("rows", rows, most=MOST), check_count("columns", columns, most=MOST)
    rank = check_count("rank", rank, most=min(rows, columns))
    noise = check_number("noise", noise, least=0)
    stream = np.random.default_rng(check_count("seed", seed, least=0))
    matrix = stream.normal(size=(rows, rank)) @ stream.normal(size=(rank, columns)) / np.sqrt(rank)
    matrix += noise * stream.normal(size=(rows, columns))

    def init(key):
        left, right = jax.random.split(key)
        return {
            "U": START * jax.random.normal(left, (rows, rank)),
            "V": START * jax.random.normal(right, (columns, rank)),
        }

    discarded = np.linalg.svd(matrix, compute_uv=False)[rank:]
    return Task(
        name="matrix_factorization",
        init=init,
        loss=lambda params, _: jnp.mean((params["U"] @ params["V"].T - jnp.asarray(matrix, params["U"].dtype)) ** 2),
        train=None,
        minimum=float(np.sum(discarded**2)) / matrix.size if noise else 0.0,
    )
