"""The blocks of docs/recipes.md run unchanged, and their results are those of plain loops over Optax."""

import functools
import itertools
import re
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax

TEXT = (Path(__file__).parent.parent / "docs" / "recipes.md").read_text()
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
STEPS = 12


def run(title):
    """Run the first block and the one under a heading; return all that they define."""
    introduction, *sections = re.split(r"^## ", TEXT, flags=re.MULTILINE)
    (section,) = (section for section in sections if section.startswith(f"{title}\n"))
    defined = {}
    for block in (*BLOCK.findall(introduction), *BLOCK.findall(section)):
        exec(block, defined)
    return SimpleNamespace(**defined)


def start(recipe):
    return recipe.task.init(jax.random.fold_in(jax.random.key(0), 0))


def gradients(recipe):
    """The gradient of step t, as a function of the parameters and t."""
    task, key = recipe.task, jax.random.fold_in(jax.random.key(0), 1)
    return lambda w, t: jax.grad(task.loss)(w, task.batch(task.data[0], key, t))


def way(optimizer, gradient, w, steps=STEPS):
    """The parameters after each step of an optimizer of Optax's, stacked."""

    def step(carry, t):
        w, state = carry
        updates, state = optimizer.update(gradient(w, t), state, w)
        w = optax.apply_updates(w, updates)
        return (w, state), w

    return jax.jit(lambda w: jax.lax.scan(step, (w, optimizer.init(w)), jnp.arange(steps))[1])(w)


def last(way):
    return jax.tree.map(lambda w: np.asarray(w)[-1], way)


def assert_are(results, expected, rtol=1e-10):
    """Final parameters of every configuration, in order: to rounding in float64, of a dozen steps."""
    assert len(results.dataset.config) == len(expected)
    for config, w in enumerate(expected):
        found = results.params(config, 0)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol / 100), found, w)


def test_parameter_groups(float64):
    recipe = run("Parameter groups")
    gradient, expected = gradients(recipe), []
    for factor in (0.1, 1.0):
        parts = {"hidden": optax.adamw(0.03), "out": optax.adam(factor * 0.03)}

        def update(grads, states, w, parts=parts):
            stepped = {name: part.update(grads[name], states[name], w[name]) for name, part in parts.items()}
            return tuple({name: step[i] for name, step in stepped.items()} for i in range(2))

        init = lambda w, parts=parts: {name: part.init(w[name]) for name, part in parts.items()}
        expected.append(last(way(optax.GradientTransformation(init, update), gradient, start(recipe))))
    assert_are(recipe.results, expected)


def test_freezing(float64):
    recipe = run("Freezing")
    w, gradient = start(recipe), gradients(recipe)
    of_head = lambda out, t: gradient({"hidden": w["hidden"], "out": out}, t)["out"]
    heads = [last(way(optax.adam(rate), of_head, w["out"])) for rate in (0.01, 0.1)]
    assert_are(recipe.results, [{"hidden": w["hidden"], "out": head} for head in heads])
    for config in range(2):
        np.testing.assert_array_equal(recipe.results.params(config, 0)["hidden"], w["hidden"])


def test_clipping(float64):
    recipe = run("Clipping")
    gradient, sgd, w = gradients(recipe), optax.sgd(0.1, 0.9), start(recipe)

    def shorter(w, t, norm):
        g = gradient(w, t)
        length = jnp.sqrt(sum(jnp.sum(x**2) for x in g.values()))
        return jax.tree.map(lambda x: x * jnp.minimum(1.0, norm / length), g)

    ways = [way(sgd, functools.partial(shorter, norm=norm), w) for norm in (0.05, 0.3)]
    assert_are(recipe.results, [*map(last, ways), last(way(sgd, gradient, w))])  # the last norm clips nothing


def test_gradient_accumulation_is_a_larger_batch(float64):
    recipe = run("Gradient accumulation")
    task, key = recipe.task, jax.random.fold_in(jax.random.key(0), 1)
    expected = []
    for every in (1, 4):

        def of_larger_batch(w, t, every=every):
            parts = [task.batch(task.data[0], key, every * t + i) for i in range(every)]
            return jax.grad(task.loss)(w, jax.tree.map(lambda *x: jnp.concatenate(x), *parts))

        falling = optax.cosine_decay_schedule(0.3, STEPS // every)
        sgd = optax.sgd(lambda t, of=falling: of(jnp.asarray(t, float)), 0.9)
        expected.append(last(way(sgd, of_larger_batch, start(recipe), STEPS // every)))
    assert_are(recipe.results, expected, rtol=1e-6)  # Optax accumulates in float32


def test_a_schedule_as_long_as_the_trial(float64):
    recipe = run("A schedule as long as the trial")
    expected, gradient = [], gradients(recipe)
    for row, (rate, warmup) in enumerate(itertools.product([0.03, 0.1], [0, 3])):
        theirs = optax.warmup_cosine_decay_schedule(0.0, rate, warmup, STEPS, 0.1 * rate)
        adamw = optax.adamw(lambda t, of=theirs: of(jnp.asarray(t, float)), weight_decay=0.01)
        expected.append(last(way(adamw, gradient, start(recipe))))
        in_force = [theirs(jnp.asarray(t, float)) for t in range(STEPS + 1)]
        np.testing.assert_allclose(recipe.rates[row, 0], in_force, rtol=1e-12, atol=1e-15)
    assert_are(recipe.results, expected)


def test_averaged_weights(float64):
    recipe = run("Averaged weights")
    after, expected = way(optax.adam(0.1), gradients(recipe), start(recipe)), []
    for row, decay in enumerate((0.0, 0.8, 0.9)):
        average = start(recipe)
        for t in range(STEPS):
            average = {name: decay * average[name] + (1 - decay) * after[name][t] for name in average}
        expected.append(average)
        at_average = recipe.task.loss(average, recipe.task.data[1])
        np.testing.assert_allclose(recipe.results.dataset.validation_loss[row, 0, -1], at_average, rtol=1e-10)
    assert_are(recipe.results, expected)


def test_every_recipe_is_compared():
    titles = re.findall(r"^## (.*)$", TEXT, re.MULTILINE)
    compared = re.findall(r'run\("(.*)"\)', Path(__file__).read_text())
    assert titles == compared
