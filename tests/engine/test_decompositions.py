"""Decompositions of stacks of matrices on a CPU: one after the other, and without waiting for each other for ever."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from threadpoolctl import threadpool_info

import jaxopt_lab as jl
from jaxopt_lab.engine.compile.decompositions import of_stacks, one_by_one

RNG = np.random.default_rng(0)
GENERAL = RNG.normal(size=(2, 4, 12, 12))
ONES = np.broadcast_to(np.eye(12), GENERAL.shape)
ruled, mapped = jax.custom_jvp(lambda x: jnp.linalg.qr(x)[0]), jax.custom_batching.custom_vmap(jnp.linalg.inv)
ruled.defjvp(lambda primals, tangents: (ruled(*primals), tangents[0]))
mapped.def_vmap(lambda size, is_mapped, x: (jnp.linalg.inv(x), True))
DECOMPOSITIONS = {
    "qr": lambda x: jnp.linalg.qr(x),
    "qr with pivots": lambda x: jax.scipy.linalg.qr(x, pivoting=True),
    "eigh": lambda x: jnp.linalg.eigh(x + x.swapaxes(-1, -2)),
    "svd": lambda x: jnp.linalg.svd(x[..., :7], full_matrices=False),
    "cholesky": lambda x: jnp.linalg.cholesky(x @ x.swapaxes(-1, -2) + ONES),
    "solve": lambda x: jnp.linalg.solve(x, x[..., :2]),
    "inverse": lambda x: jnp.linalg.inv(x),
    "logarithm of the determinant": lambda x: jnp.linalg.slogdet(x),
    "eigenvalues": lambda x: jnp.linalg.eigvals(x),
    "triangular": lambda x: jax.scipy.linalg.solve_triangular(x + 9 * ONES, x[..., :1], lower=True),
    "in a condition": lambda x: jax.lax.cond(x[0, 0, 0, 0] > -9, lambda x: jnp.linalg.qr(x)[0], lambda x: x, x),
    "in a loop": lambda x: jax.lax.fori_loop(0, 3, lambda _, x: jnp.linalg.qr(x @ x)[0], x),
    "with a derivative of its own": lambda x: ruled(x),
    "with a rule for maps": lambda x: mapped(x),
}


@pytest.mark.usefixtures("on_a_cpu")
@pytest.mark.parametrize("decompose", DECOMPOSITIONS.values(), ids=DECOMPOSITIONS.keys())
def test_one_by_one_the_results_are_the_same(decompose, float64):
    assert of_stacks(jax.make_jaxpr(decompose)(GENERAL).jaxpr)
    alone = jax.jit(one_by_one(decompose))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12),
        alone(GENERAL),
        jax.jit(decompose)(GENERAL),
    )
    assert not of_stacks(jax.make_jaxpr(one_by_one(decompose))(GENERAL).jaxpr)


def test_one_matrix_and_few_small_ones_are_not_taken_apart():
    for x in (GENERAL[0, 0], GENERAL[0, :1], GENERAL[..., :4, :4]):
        assert not of_stacks(jax.make_jaxpr(jnp.linalg.qr)(x).jaxpr)


PROGRAM = """if True:
    import os
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])  # XLA has as many threads
    import jax, jax.numpy as jnp, numpy as np, optax
    import jaxopt_lab as jl
    rng = np.random.default_rng(0)
    if {what!r} == "a step":  # has kernels of several factors at once
        grads = [jnp.asarray(rng.normal(size=(96, n)), "float32") for n in (64, 96, 128) for _ in range(6)]
        dion = jl.dion(1e-3)
        step = jax.jit(lambda w, state: dion.update(grads, state, w))
        state = jax.jit(dion.init)(grads)
        for _ in range(100):
            _, state = step(grads, state)
        jax.block_until_ready(state)
    else:  # each chunk has one
        def volume(w, x):
            factor = jnp.linalg.cholesky(jnp.eye(64) + w @ w.T)
            return 2 * jnp.sum(jnp.log(jnp.diagonal(factor))) + jnp.mean((x @ w) ** 2)

        task = jl.Task("volume", lambda key: jax.random.normal(key, (64, 64)), volume, rng.normal(size=(8, 64)))
        rates = {{"learning_rate": np.geomspace(1e-4, 1e-2, 64)}}
        results = jl.sweep(jl.sgd, task, rates, steps=200, chunk=16, strategy="scan")
        assert np.isfinite(results.dataset["train_loss"].values).all()
"""


@pytest.mark.usefixtures("on_a_cpu")
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="XLA's threads cannot be limited here")
@pytest.mark.parametrize("what", ["a step", "chunks side by side"])
def test_kernels_do_not_wait_for_each_other(what):
    """With jaxlib's kernels for stacks, two threads wait for ever, the first time or after a few steps."""
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}  # else beside another process its threads take minutes
    subprocess.run([sys.executable, "-c", PROGRAM.format(what=what)], env=environment, check=True, timeout=300)


@pytest.mark.usefixtures("on_a_cpu")
def test_chunks_do_not_fight_for_cores():
    """LAPACK has one thread while chunks run side by side, and as many as before afterwards."""
    blas = lambda: [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"]
    inverse = lambda w, x: jnp.sum(jnp.linalg.inv(jnp.eye(4) + w @ w.T)) + jnp.sum(x)
    square = lambda w, x: jnp.sum(w**2) + jnp.sum(x)
    before, seen = blas(), []
    for optimizer, loss in ((jl.sgd, inverse), (jl.soap, square)):
        task = jl.Task(loss.__name__, lambda key: jnp.ones((4, 4)), loss, np.ones((2, 1)))
        jl.sweep(optimizer, task, {"learning_rate": [0.1, 0.2]}, steps=3, progress=lambda _: seen.append(blas()))
    assert {n for threads in seen for n in threads} == {1}
    assert blas()[: len(before)] == before
