"""What must not matter to a method: the order of leaves, an interruption, shapes, the scale of the loss."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxopt_lab.verify.optimizers.cases import METHODS

pytestmark = pytest.mark.thorough

STEPS = 6

ELEMENTWISE = [
    *("gradient_descent", "sgd", "momentum", "rmsprop", "adagrad", "adam", "adamw"),
    *("ademamix", "simplified_ademamix", "adopt", "acprop", "schedule_free_sgd", "schedule_free_adamw"),
    *("adabelief", "adamax", "adamaxw", "amsgrad", "nadam", "nadamw", "radam", "yogi", "lion", "adan"),
]
"""Methods in which no element of the parameters knows of another."""

NO_EPS = {"eps": 0.0}
SCALE_FREE = {
    **dict.fromkeys(("adam", "adamw", "amsgrad", "nadam", "nadamw", "adamax", "adamaxw"), NO_EPS),
    **dict.fromkeys(("ademamix", "simplified_ademamix", "adopt", "schedule_free_adamw"), NO_EPS),
    "lion": {},
}
"""Methods that see a gradient's direction alone, and what switches their eps off."""

BY_PLACE = {"noisy_sgd"}
"""Methods whose random numbers are drawn leaf by leaf, so that they are others in another order."""

SHAPES = [(2, 3), (4,), (), (3, 1, 2)]


def drawn(seed, scale=1.0):
    """Leaves of several shapes, the same for the same seed."""
    rng = np.random.default_rng(seed)
    return [jnp.asarray(scale * rng.normal(size=shape)) for shape in SHAPES]


def stepping(optimizer):
    """A compiled step with all that the training loop gives; the loss is a sum over all elements."""
    loss = lambda w: sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(w)) / 10
    extended = optax.with_extra_args_support(optimizer)

    @jax.jit
    def step(g, state, w, t):
        key = jax.random.fold_in(jax.random.key(5), t)
        updates, state = extended.update(g, state, w, value=loss(w), grad=g, value_fn=loss, key=key)
        return optax.apply_updates(w, updates), state

    return step


def walk(optimizer, arranged=lambda leaves: leaves, scale=1.0):
    """Where some steps along drawn gradients lead, with the leaves arranged in another way."""
    step, w = stepping(optimizer), arranged(drawn(0))
    state = optimizer.init(w)
    for t in range(STEPS):
        w, state = step(arranged(drawn(t + 1, scale)), state, w, t)
    return w


def assert_close(ours, expected):
    # Float64 rounding, of sums in another order, grown by the steps.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11), ours, expected)


@pytest.mark.parametrize("name", [name for name in METHODS if name not in BY_PLACE])
def test_the_order_of_leaves_does_not_matter(name, float64):
    optimizer, order = METHODS[name].make_ours(), [2, 0, 3, 1]
    permuted = lambda leaves: [leaves[i] for i in order]
    assert_close(walk(optimizer, permuted), permuted(walk(optimizer)))


@pytest.mark.parametrize("name", METHODS)
def test_a_resumed_run_is_the_uninterrupted_one(name, float64):
    """To the last bit, though the state went through NumPy; and so did the state itself."""
    optimizer = METHODS[name].make_ours()
    step, w = stepping(optimizer), drawn(0)
    state = optimizer.init(w)
    resumed, resumed_state = w, state
    for t in range(STEPS):
        if t == STEPS // 2:
            leaves, tree = jax.tree.flatten(resumed_state)
            resumed_state = jax.tree.unflatten(tree, [np.asarray(leaf) for leaf in leaves])
            jax.tree.map(np.testing.assert_array_equal, resumed_state, state)
        g = drawn(t + 1)
        w, state = step(g, state, w, t)
        resumed, resumed_state = step(g, resumed_state, resumed, t)
    jax.tree.map(np.testing.assert_array_equal, (resumed, resumed_state), (w, state))


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_shapes_do_not_matter_elementwise(name, float64):
    """Neither of one leaf, nor where one leaf ends and the next begins."""
    optimizer = METHODS[name].make_ours()
    flattened = lambda leaves: [leaf.ravel() for leaf in leaves]
    together = lambda leaves: jnp.concatenate(flattened(leaves))
    in_two = lambda leaves: tuple(jnp.split(together(leaves), [5]))
    plain = walk(optimizer)
    assert_close(walk(optimizer, flattened), flattened(plain))
    assert_close(walk(optimizer, together), together(plain))
    assert_close(walk(optimizer, in_two), in_two(plain))


@pytest.mark.parametrize("name", SCALE_FREE)
def test_the_scale_of_the_loss_does_not_matter(name, float64):
    optimizer = METHODS[name].ours(**METHODS[name].numeric, **SCALE_FREE[name])
    plain = walk(optimizer)
    assert_close(walk(optimizer, scale=1e-3), plain)
    assert_close(walk(optimizer, scale=700.0), plain)
