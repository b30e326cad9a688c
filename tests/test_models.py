"""A loss and an init that name what they need: keys, a state, numbers, the mode; each against a loop by hand."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxopt_lab as jl
from jaxopt_lab.engine.compile import program
from jaxopt_lab.engine.strategy import Strategy
from jaxopt_lab.store.run import Run
from jaxopt_lab.sweep.planning import plan_sweep
from jaxopt_lab.tracing.caching import remembered

STEPS, SEEDS, SIZE = 12, [0, 3], 8
RNG = np.random.default_rng(1)
X, XV = RNG.normal(1.5, 2.0, size=(40, 5)), RNG.normal(1.5, 2.0, size=(23, 5))
Y, YV = (X[:, 0] > X[:, 1]).astype(int), (XV[:, 0] > XV[:, 1]).astype(int)


def init(key, *, scale=1.0):
    weights = scale * jax.random.normal(key, (5, 6)), scale * jax.random.normal(jax.random.fold_in(key, 1), (6, 2))
    return {"first": weights[0], "last": weights[1]}, {"mean": jnp.zeros(6), "seen": jnp.int32(0)}


def network(params, state, x, key, training):
    """A network with normalisation by batch statistics, and dropout: its outputs, and the new statistics."""
    x = x @ params["first"]
    if training:
        state = {"mean": 0.8 * state["mean"] + 0.2 * x.mean(0), "seen": state["seen"] + 1}
    x = jax.nn.relu(x - (x.mean(0) if training else state["mean"])[None])
    if training:
        x = jnp.where(jax.random.bernoulli(key, 0.7, x.shape), x / 0.7, 0)
    return x @ params["last"], state


def loss(params, batch, *, key=None, state, training=False, label_smoothing=0.0, l2=0.0):
    logits, state = network(params, state, batch[0], key, training)
    targets = optax.smooth_labels(jax.nn.one_hot(batch[1], 2), label_smoothing)
    norm = sum(jnp.sum(w**2) for w in jax.tree.leaves(params))
    return optax.softmax_cross_entropy(logits, targets).mean() + l2 * norm, state, {"norm": norm}


def accuracy(params, batch, *, state):
    return jnp.mean(network(params, state, batch[0], None, False)[0].argmax(-1) == batch[1], dtype=float)


@functools.cache
def task(**changes):
    fields = {"train": (X, Y), "validation": (XV, YV), "batch_size": SIZE, "metrics": {"accuracy": accuracy}}
    return jl.Task("mine", **{"init": init, "loss": loss} | fields | changes)


@functools.cache
def step_by_hand(augment):
    """Return a step as one would write it, compiled once for all seeds and numbers.

    Data are an argument, since JAX 0.10 keeps the buffer of a captured array, and uses it in the other precision too.
    """

    @jax.jit
    def step(train, params, state, moments, seed, t, rate, numbers):
        key = jax.random.key(seed)
        batch, loss_key = task().batch(train, jax.random.fold_in(key, 1), t), jax.random.fold_in(key, 3)
        loss_key = jax.random.fold_in(loss_key, t)
        if augment is not None:
            batch = augment(jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(key, 1), 2**32 - 1), t), batch)

        def objective(params):
            value, kept, aux = loss(params, batch, key=loss_key, state=state, training=True, **numbers)
            return value, (kept, aux)

        (value, (kept, aux)), g = jax.value_and_grad(objective, has_aux=True)(params)
        updates, moments = optax.sgd(rate, momentum=0.9).update(g, moments, params)
        return optax.apply_updates(params, updates), kept, moments, (value, aux["norm"])

    return step


@jax.jit
def held_out_by_hand(held_out, params, state):
    return loss(params, held_out, state=state)[0], accuracy(params, held_out, state=state)


@remembered(maxsize=64)
def by_hand(seed, rate=0.05, scale=1.0, augment=None, steps=STEPS, **numbers):
    """Train as one would in a loop of one's own; the losses at every step, the end, and held-out loss and accuracy."""
    params, state = init(jax.random.fold_in(jax.random.key(seed), 0), scale=scale)
    moments, rows = optax.sgd(rate, momentum=0.9).init(params), []
    for t in range(steps + 1):
        after = step_by_hand(augment)((X, Y), params, state, moments, seed, t, rate, numbers)
        rows.append(after[3])
        if t < steps:
            params, state, moments, _ = after
    held_out = held_out_by_hand((XV, YV), params, state)
    return np.array(rows, float).T, params, state, [float(x) for x in held_out]


SPACE = {"learning_rate": [0.01, 0.03], "task.label_smoothing": [0.0, 0.15], "task.scale": [0.5, 1.5]}


@pytest.mark.parametrize("cut", [{}, {"chunk": 1}, {"strategy": "steps"}, {"strategy": "scan_each"}], ids=str)
def test_all_that_a_loss_may_name(cut, precision):
    tolerance = {"rtol": 1e-10 if precision == "float64" else 1e-5}
    of_params = {"rtol": 1e-10} if precision == "float64" else {"rtol": 1e-4, "atol": 1e-5}
    options = {"steps": STEPS, "seeds": SEEDS, "record": 1, "evaluate": 5, "cache": False}
    found = jl.sweep(jl.momentum, task(), SPACE, **options | cut)
    data = found.dataset
    for row in range(8):
        values = {name.removeprefix("task."): float(data[name][row]) for name in SPACE}
        numbers = {"rate": values.pop("learning_rate"), **values}
        for s, seed in enumerate(SEEDS):
            curves, params, state, held_out = by_hand(seed, **numbers)
            np.testing.assert_allclose([data["train_loss"][row, s], data["norm"][row, s]], curves, **tolerance)
            at_end = [data["validation_loss"][row, s, -1], data["validation_accuracy"][row, s, -1]]
            np.testing.assert_allclose(at_end, held_out, **tolerance)
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **of_params), found.params(row, seed), params)
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **of_params), found.state(row, seed), state)


def test_numbers_share_one_program(float64, monkeypatch):
    made, compiled = task(), []
    once = program._compiled.__wrapped__
    monkeypatch.setattr(program, "_compiled", lambda *given: compiled.append(given[0]) or once(*given))
    space = {"learning_rate": jl.log(1e-3, 1e-1, 3), "task.l2": jl.linear(0, 0.1, 4)}
    jl.sweep(jl.momentum, made, space, steps=3, strategy="scan")
    assert len(set(compiled)) == 1


def test_held_out_data_have_the_defaults(float64):
    found = jl.sweep(jl.momentum, task(), {"learning_rate": [0.0], "task.l2": [0.0, 3.0]}, steps=1, seeds=1).dataset
    assert float(found["train_loss"][1, 0, 0]) > float(found["train_loss"][0, 0, 0]) + 1
    np.testing.assert_array_equal(found["validation_loss"][0], found["validation_loss"][1])


def test_training_batches_alone_are_augmented(float64):
    noisy = lambda key, batch: (batch[0] + jax.random.normal(key, batch[0].shape), batch[1])
    found = jl.sweep(jl.momentum, task(augment=noisy), {"learning_rate": [0.05]}, steps=STEPS, seeds=SEEDS, record=1)
    for s, seed in enumerate(SEEDS):
        curves, _, _, held_out = by_hand(seed, augment=noisy)
        np.testing.assert_allclose(found.dataset["train_loss"][0, s], curves[0], rtol=1e-10)
        np.testing.assert_allclose(found.dataset["validation_loss"][0, s, -1], held_out[0], rtol=1e-10)
        assert abs(by_hand(seed)[0][0, -1] - curves[0, -1]) > 1e-3


@pytest.mark.parametrize("optimizer", [jl.momentum, jl.schedule_free_sgd])
def test_a_run_is_resumed_with_its_state(optimizer, tmp_path, float64):
    save, saves = Run.save, itertools.count()

    def pressing(self, *given):
        if next(saves) % 4 == 3:
            raise KeyboardInterrupt
        save(self, *given)

    options = {"steps": 30, "seeds": SEEDS, "chunk": 4, "evaluate": 10, "strategy": "scan"}
    whole = jl.sweep(optimizer, task(), SPACE, **options)
    for _ in range(20):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Run, "save", pressing)
            found = jl.sweep(optimizer, task(), SPACE, out=tmp_path / "run", checkpoint=0, **options)
        if not found.dataset.attrs["interrupted"]:
            break
    assert next(saves) < 24  # finished pieces were not made again
    loaded = jl.load(tmp_path / "run", task())
    for results in (found, loaded):
        np.testing.assert_array_equal(results.dataset["train_loss"], whole.dataset["train_loss"])
        for config in range(8):
            jax.tree.map(np.testing.assert_array_equal, results.kept(config, 3), whole.kept(config, 3))
    assert int(loaded.state(5, 3)["seen"]) == 30


def test_another_loss_in_training_is_another_run(tmp_path):
    options = {"steps": 5, "out": tmp_path / "run"}
    jl.sweep(jl.momentum, task(), {"learning_rate": [0.05]}, **options)
    other = lambda p, batch, *, key=None, state, training=False: loss(
        p, batch, key=key, state=state, training=training, l2=0.1 if training else 0.0
    )
    with pytest.raises(jl.RunError, match="loss: changed"):
        jl.sweep(jl.momentum, task(loss=other), {"learning_rate": [0.05]}, **options)


def test_a_skipped_step_keeps_the_state(float64):
    def sometimes(params, batch, *, key=None, state, training=False):
        value, kept, _ = loss(params, batch[:2], key=key, state=state, training=training)
        return jnp.where((batch[2][0] % 4 == 3) & training, jnp.nan, value), kept

    number = np.arange(STEPS + 1.0)
    fields = {"train": (X[: STEPS + 1], Y[: STEPS + 1], number), "validation": None, "batch_size": 1}
    made = dataclasses.replace(task(), loss=sometimes, metrics={}, **fields)
    found = jl.sweep(jl.momentum, made, {"learning_rate": [0.05]}, steps=STEPS, nonfinite=3)
    skipped = int(found.dataset["skipped_steps"][0, 0])
    assert skipped > 0
    assert int(found.state(0, 0)["seen"]) == STEPS - skipped


def test_evaluation_in_parts_has_the_state(float64):
    plan = plan_sweep(jl.momentum, task(), SPACE, steps=3, seeds=2)
    seeds, values = np.arange(2, dtype=np.int32), plan.groups[0].values

    def seen(**changes):
        made = program.compiled(plan, plan.groups[0], Strategy("scan", 2, 8, **changes), task().data)
        state = made.start(made.initial(seeds), values)
        state = state._replace(model=jax.tree.map(lambda x: x + 1, state.model))
        return made.evaluate(state, seeds, np.int32(0), plan.ending, task().data)

    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), seen(), seen(evaluated=3, examples=10))


def quadratic(curvature: float = 1.0, shift: float = 0.0, size: int = 3):
    """A task made by a function of numbers, one of which a shape depends on."""
    return jl.Task(
        "quadratic",
        lambda key: shift + jax.random.normal(key, (size,)),
        lambda w, batch: curvature / 2 * jnp.sum((w - batch.mean()) ** 2),
        np.linspace(0, 1, 10),
        np.linspace(0, 2, 10),
    )


def test_numbers_of_a_task_function_are_traced(float64):
    space = {"learning_rate": [0.1, 0.3], "task.curvature": [0.5, 1.0, 2.0], "task.shift": [0.0, 4.0]}
    traced = jl.sweep(jl.sgd, quadratic, space, steps=6, seeds=2).dataset
    static = space | {name: jl.static(space[name]) for name in ("task.curvature", "task.shift")}
    separate = jl.sweep(jl.sgd, quadratic, static, steps=6, seeds=2).dataset
    for name in ("train_loss", "validation_loss"):
        np.testing.assert_allclose(traced[name], separate[name], rtol=1e-13)
    assert len(np.unique(traced["validation_loss"][:, 0, -1])) == 12


def noisy_data(noise: float = 0.1):
    data = noise * jax.random.normal(jax.random.key(0), (10,))
    return jl.Task("noisy", lambda key: jnp.zeros(()), lambda w, batch: jnp.mean((w - batch) ** 2), data)


def branching(cut: float = 0.5):
    sign = 1 if cut > 0 else -1
    return jl.Task("branching", lambda key: jnp.zeros(()), lambda w, _: sign * w**2, None)


def bare(**changes):
    plain = lambda w, batch, *, l2=0.0: jnp.mean((batch @ w) ** 2) + l2 * jnp.sum(w**2)
    return jl.Task("bare", **{"init": lambda key: jax.random.normal(key, (5,)), "loss": plain, "train": X} | changes)


def positional(w, batch, *, l2=0.0, use_bias=True, activation="relu"):
    return jnp.mean((batch @ w) ** 2)


def halting(w, batch, *, l2=0.0, cut=0.0):
    return jnp.mean((batch @ w) ** 2) + (l2 if cut > 0 else 0.0)


WRONG_SPACES = {
    "size": (quadratic, {"task.size": [2, 3]}, r"task\.size decides more than numbers.*jl\.static"),
    "data": (noisy_data, {"task.noise": [0.1, 1.0]}, r"the data of task 'noisy' depend on it.*jl\.static"),
    "branch": (branching, {"task.cut": [0.1, 1.0]}, r"branches in Python on it.*jl\.static"),
    "the second of two": (bare(loss=halting), {"task.l2": [0.1], "task.cut": [0.1]}, r"task\.cut decides more than"),
    "unknown": (bare(), {"task.beta": [0.1]}, r"no hyperparameter 'beta'.*def loss\(params, batch, \*, beta=0\.0\)"),
    "a slip": (task(), {"task.label_smothing": [0.1]}, r"Did you mean 'label_smoothing'"),
    "without its prefix": (task(), {"label_smoothing": [0.1]}, r"Did you mean 'task\.label_smoothing'"),
    "no default": (bare(loss=lambda w, x, *, l2: jnp.sum(w)), {"task.l2": [0.1]}, "l2 of task 'bare' needs a default"),
    "unknown of two": (quadratic, {"task.curve": [0.1]}, r"Unknown argument of task 'quadratic': 'curve'.*curvature"),
    "key": (bare(), {"task.key": [0.1]}, "hands to the loss"),
    "flag": (bare(loss=positional), {"task.use_bias": [0, 1]}, r"structural: write 'task\.use_bias': jl\.static"),
    "text": (bare(loss=positional), {"task.activation": [1.0]}, "structural"),
    "static number": (bare(), {"task.l2": jl.static([0.1, 0.2])}, "is numeric"),
}


@pytest.mark.parametrize("case", WRONG_SPACES)
def test_a_space_that_the_task_does_not_take(case):
    made, space, message = WRONG_SPACES[case]
    with pytest.raises((TypeError, ValueError), match=message):
        jl.plan(jl.sgd, made, {"learning_rate": [0.1], **space}, steps=3)


def test_the_state_returned_for_held_out_data_is_ignored(float64):
    def loss(params, batch, *, state, training=False):
        return jnp.mean((batch @ params) ** 2), {"n": state["n"] + 1} if training else None

    made = bare(loss=loss, init=lambda key: (jnp.ones(5), {"n": jnp.int32(0)}), validation=XV)
    assert int(jl.sweep(jl.sgd, made, {"learning_rate": [0.01]}, steps=7).state(0, 0)["n"]) == 7


def test_structural_values_hold_on_held_out_data_too(float64):
    def loss(w, batch, *, square=True):
        return jnp.mean((batch @ w) ** 2) if square else jnp.mean(jnp.abs(batch @ w))

    space = {"learning_rate": [0.0], "task.square": jl.static([True, False])}
    found = jl.sweep(jl.sgd, bare(loss=loss, validation=XV), space, steps=1).dataset
    assert len(np.unique(found["validation_loss"][:, 0, 0])) == 2


def both(l2: float = 0.1):
    return jl.Task("both", lambda key: jnp.ones(5), lambda w, batch, *, l2=l2: jnp.mean((batch @ w) ** 2) + l2, X)


def keeps(state):
    return lambda w, batch, *, state=state: (jnp.mean((batch @ w) ** 2), state)


STATE = {"n": jnp.zeros(3)}
with_state = lambda loss, state=STATE: bare(loss=loss, init=lambda key: (jnp.ones(5), state))
WRONG_TASKS = {
    "no pair": (bare(loss=keeps(None)), r"init must return \(params, state\)"),
    "no state returned": (
        with_state(lambda w, batch, *, state: jnp.mean((batch @ w) ** 2)),
        r"must return \(loss, state\) or \(loss, state, aux\)",
    ),
    "another shape": (
        with_state(lambda w, batch, *, state: (jnp.mean((batch @ w) ** 2), {"n": jnp.zeros(2)})),
        r"whose \['n'\] is float32\[3\] and returned float32\[2\]",
    ),
    "another tree": (
        with_state(lambda w, batch, *, state: (jnp.mean((batch @ w) ** 2), {})),
        "Return the state in the form in which init makes it",
    ),
    "a text in the state": (with_state(keeps(None), {"n": "no"}), "must be a tree of arrays"),
    "no default": (bare(loss=lambda w, batch, *, l2: jnp.sum(w)), "nothing gives it l2: let it have a default"),
    "a metric with a key": (
        bare(validation=XV, metrics={"m": lambda w, batch, *, key: 1.0}),
        "names key, which only the loss may name",
    ),
    "a metric of three": (
        bare(validation=XV, metrics={"m": lambda w, batch, n: 1.0}),
        r"the metric m \(params, batch\) takes \(w, batch, n\), but nothing gives it n",
    ),
    "a metric with a state": (
        bare(validation=XV, metrics={"m": lambda w, batch, *, state: 1.0}),
        "the loss of this task has none",
    ),
    "a loss that needs its key": (
        bare(validation=XV, loss=lambda w, batch, *, key: jax.random.normal(key) * jnp.sum(w)),
        "the loss on validation data.*On held-out data key is None",
    ),
    "another name for the key": (bare(loss=lambda w, x, *, rng=None: jnp.sum(w)), "Did you mean key"),
    "another name for the mode": (bare(loss=lambda w, x, *, train=True: jnp.sum(w)), "Did you mean training"),
    "a pair and no state": (
        bare(init=lambda key: (jnp.ones(5), STATE)),
        r"init returned a pair.*only where the loss names state",
    ),
    "named twice": (both, "could mean either"),
}


@pytest.mark.parametrize("case", WRONG_TASKS)
def test_a_task_whose_functions_do_not_fit(case):
    made, message = WRONG_TASKS[case]
    space = {"learning_rate": [0.1]} | ({"task.l2": [0.1]} if case == "named twice" else {})
    with pytest.raises((TypeError, ValueError), match=message):
        jl.plan(jl.sgd, made, space, steps=3)


def test_a_repeated_trial_has_its_numbers(float64):
    results = jl.sweep(jl.momentum, task(), SPACE, steps=STEPS, seeds=SEEDS)
    again = jl.rerun(results, 6, 3, task=task())
    assert again.largest_difference < 1e-12
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), again.params, results.params(6, 3))
