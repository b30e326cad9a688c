"""Optax's wrappers in a sweep: they get the arguments that they accept, or are refused with what they need."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax import contrib
from optax.experimental import aggregating

import jaxopt_lab as jl
from jaxopt_lab.tasks.seeding import initial_params, noise_key
from jaxopt_lab.verify.optimizers.haste import compiled

STEPS = 6
LABELS = {"matrix": "one", "vector": "other"}


def loss(w, batch):
    x, y = batch
    return jnp.mean((jnp.tanh(x @ w["matrix"]) @ w["vector"] - y) ** 2)


def init(key):
    return {"matrix": jax.random.normal(key, (3, 2)), "vector": jnp.asarray([0.5, -0.5])}


X = np.sin(np.arange(24.0)).reshape(8, 3)
TASK = jl.Task("small", init, loss, train=(X, np.cos(np.arange(8.0))), batch_size=None)

PARTITIONED = {"mask_compatible_extra_args": True}
WRAPPED = {
    "a loss for its parts": lambda r: optax.partition({"one": jl.sam(r), "other": jl.lbfgs(r)}, LABELS),
    "a key for its parts": lambda r: optax.partition({"one": jl.sophia(r), "other": jl.noisy_sgd(r)}, LABELS),
    "Optax's own parts": lambda r: optax.partition(
        {"one": contrib.sophia(r), "other": optax.lbfgs(r)}, LABELS, **PARTITIONED
    ),
    "frozen": lambda r: optax.transforms.selective_transform(jl.sam(r), freeze_mask={"matrix": True, "vector": False}),
    "one vector": lambda r: optax.flatten(jl.sam(r)),
    "accumulated": lambda r: optax.MultiSteps(jl.momo(r), 2),
    "accumulated, master weights": lambda r: jl.master_weights(optax.MultiSteps(jl.momo(r), 2), dtype="float64"),
    "injected": lambda r: optax.inject_hyperparams(jl.lbfgs)(r),
    "only if finite": lambda r: optax.apply_if_finite(jl.polyak_sgd(r), 3),
    "by condition": lambda r: optax.conditionally_mask(
        jl.momo(r), lambda step, **extra: extra["value"] > 0, forward_extra_args=True
    ),
    "on plateau": lambda r: optax.named_chain(("a", jl.adam(r)), ("b", contrib.reduce_on_plateau(patience=1))),
    "line search": lambda r: optax.chain(optax.sgd(r), optax.scale_by_zoom_linesearch(5)),
    "learning rate tuned": lambda r: contrib.mechanize(jl.momo(r)),
    "averaged": lambda r: contrib.schedule_free(jl.momo(r), r),
    "names, no more": lambda r: contrib.sam(optax.sgd(r), optax.chain(contrib.normalize(), optax.sgd(0.05))),
    "names, hidden": lambda r: optax.chain(optax.GradientTransformation(*WRAPPED["names, no more"](r))),
    "no extra arguments": lambda r: contrib.split_real_and_imaginary(optax.noisy_sgd(r, key=1)),
}
"""The last three accept no extra arguments, or hand none on."""


def by_hand(optimizer, w):
    """A plain loop of Optax's."""

    def step(carry, t):
        w, state = carry
        objective = lambda w, key=None, obj_fn=None: loss(w, TASK.data[0])
        value, grads = jax.value_and_grad(objective)(w)
        filled = jl.filled(objective, w)
        key = jax.random.fold_in(noise_key(jax.random.key(0)), t)
        extra = {"value": value, "grad": grads, "value_fn": filled, "obj_fn": filled, "key": key}
        if optimizer.update.__name__ == "transparent_update_fn" or not isinstance(
            optimizer, optax.GradientTransformationExtraArgs | optax.MultiSteps
        ):
            extra = {}
        updates, state = optimizer.update(grads, state, w, **extra)
        return (optax.apply_updates(w, updates), state), None

    (w, state), _ = jax.lax.scan(step, (w, optimizer.init(w)), jnp.arange(STEPS))
    return contrib.schedule_free_eval_params(state, w) if type(state).__name__ == "ScheduleFreeState" else w


def swept(factory, task=TASK):
    named = {"wrapped": lambda learning_rate: factory(learning_rate)}
    return jl.sweep(named, task, {"learning_rate": [0.05]}, steps=STEPS)


@pytest.mark.parametrize("name", WRAPPED)
def test_a_wrapper_trains_as_in_a_loop_of_optaxs(name, float64):
    w = initial_params(TASK, jax.random.key(0))
    expected = compiled(jax.jit(lambda w: by_hand(WRAPPED[name](0.05), w)).lower(w))(w)
    # Float64's rounding, grown by a few steps and by the line searches' quotients.
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)
    jax.tree.map(close, swept(WRAPPED[name]).params(0), expected)


adversary = optax.chain(contrib.normalize(), optax.sgd(0.05))
opaque = lambda r: contrib.sam(optax.sgd(r), adversary, opaque_mode=True)
REFUSED = {
    "lookahead": (lambda r: optax.lookahead(optax.sgd(r), 2, 0.5), "optax.LookaheadParams.*your own loop"),
    "lookahead in a chain": (
        lambda r: optax.chain(optax.clip(1.0), optax.lookahead(optax.sgd(r), 2, 0.5)),
        "optax.LookaheadParams",
    ),
    "opaque sam": (opaque, "needs grad_fn.*jl.sam"),
    "opaque sam in a chain": (lambda r: optax.chain(opaque(r)), "needs grad_fn.*jl.sam"),
    "sam in a chain": (
        lambda r: optax.chain(contrib.sam(optax.sgd(r), adversary)),
        r"hide them from it by optax.GradientTransformation\(part.init",
    ),
    "private": (lambda r: contrib.dpsgd(r, 1.0, 0.1, seed=0), "gradient of every example"),
    "aggregated": (
        lambda r: optax.chain(aggregating.average_per_element_updates(), optax.sgd(r)),
        "gradient of every example",
    ),
    "aggregated, hidden": (
        lambda r: optax.GradientTransformation(*aggregating.average_per_element_updates()),
        r"must have the parameters' shapes.*gradient of every example",
    ),
    "line search of a part": (
        lambda r: optax.partition({"one": optax.lbfgs(r), "other": optax.sgd(r)}, LABELS),
        "mask_compatible_extra_args=True",
    ),
    "state of another shape": (
        lambda r: optax.stateless(lambda g, w: g)._replace(
            init=lambda w: jnp.zeros([]), update=lambda g, state, w=None: (g, state + jnp.ones(2))
        ),
        r"began as float32\[\] and became float32\[2\]",
    ),
    "state that grows": (
        lambda r: optax.chain(optax.monitor({"norm": optax.tree.norm}), optax.sgd(r)),
        "must keep its form.*optax.monitor",
    ),
}


@pytest.mark.filterwarnings("ignore:.*is deprecated and will be removed in optax")
@pytest.mark.parametrize("name", REFUSED)
def test_a_wrapper_that_cannot_be_trained_is_refused(name):
    factory, says = REFUSED[name]
    with pytest.raises(ValueError, match=says):
        swept(factory)


@pytest.mark.filterwarnings("ignore:.*is deprecated and will be removed in optax")
def test_updates_that_would_be_broadcast_are_refused():
    """An aggregation over examples takes the first axis of the only parameter for theirs, and nothing else tells."""
    task = jl.Task("square", lambda key: jnp.ones(2), lambda w, _: jnp.sum(w**2), train=None)
    with pytest.raises(ValueError, match=r"w has \(2,\), its update \(\)"):
        swept(REFUSED["private"][0], task)
