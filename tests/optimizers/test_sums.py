"""Sums over all parameters: the same, however the leaves are added."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_lab.optimizers import _compiler, _sums
from jaxopt_lab.verify.optimizers.problems import wave

TREES = {
    "no leaf": dict,
    "one": lambda: {"a": wave(3, 4)},
    "alike": lambda: [wave(12, phase=phase) for phase in range(5)],
    "alike in length alone": lambda: [wave(3, 4), wave(12), wave(2, 6)],
    "more than are added together": lambda: [wave(7, phase=phase) for phase in range(2 * _compiler.TOGETHER + 1)],
    "large ones apart": lambda: [wave(_compiler.SMALL + 1), wave(_compiler.SMALL + 1)],
    "scalars": lambda: [wave(), wave()],
}


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES.keys())
def test_sums_are_those_of_all_elements(tree, float64):
    tree = tree()
    other = jax.tree.map(lambda x: jnp.cos(3 * x), tree)
    every = lambda tree: np.concatenate([np.zeros(1), *(np.ravel(x) for x in jax.tree.leaves(tree))])
    np.testing.assert_allclose(_sums.inner(tree, other), every(tree) @ every(other), rtol=1e-13)
    np.testing.assert_allclose(_sums.l1_norm(tree), np.abs(every(tree)).sum(), rtol=1e-13)


def test_small_leaves_of_one_length_are_one_sum():
    """And no more than so many, of which the kernel would become too large."""
    sums = lambda count, size: str(jax.make_jaxpr(_sums.l1_norm)([jnp.ones(size)] * count)).count("reduce_sum")
    assert sums(_compiler.TOGETHER, 64) == 1
    assert sums(_compiler.TOGETHER + 1, 64) == 2
    assert sums(3, _compiler.SMALL + 1) == 3


def test_leaves_of_other_dtypes_are_not_rounded_to_one():
    tree = [jnp.full(4, 1 + 2**-7, jnp.bfloat16), jnp.full(4, 1e-4, jnp.float32)]
    np.testing.assert_allclose(_sums.l1_norm(tree), 4 * (1 + 2**-7) + 4e-4, rtol=1e-6)
