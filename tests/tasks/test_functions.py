"""Built-in tasks of formulas and constructions: values and minima in plain NumPy, and that optimizers reach them.

Tolerances are those of float64 rounding unless a comment says otherwise.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

import jaxopt_lab as jl
from jaxopt_lab.tasks.about import ABOUT
from jaxopt_lab.tasks.beale import beale
from jaxopt_lab.tasks.calls import evaluate, start
from jaxopt_lab.tasks.deep_linear import deep_linear
from jaxopt_lab.tasks.log_quadratic import log_quadratic
from jaxopt_lab.tasks.matrix_factorization import matrix_factorization
from jaxopt_lab.tasks.noisy_quadratic import noisy_quadratic
from jaxopt_lab.tasks.quadratic_deep import quadratic_deep
from jaxopt_lab.tasks.rastrigin import rastrigin
from jaxopt_lab.tasks.reddi import projected, reddi
from jaxopt_lab.tasks.rosenbrock_nd import rosenbrock_nd
from jaxopt_lab.tasks.styblinski_tang import styblinski_tang
from jaxopt_lab.tasks.wilson import wilson

KINDS = {
    log_quadratic: "quadratic",
    quadratic_deep: "quadratic",
    noisy_quadratic: "theory",
    reddi: "theory",
    wilson: "theory",
    rosenbrock_nd: "test function",
    rastrigin: "test function",
    styblinski_tang: "test function",
    beale: "test function",
    matrix_factorization: "matrix",
    deep_linear: "matrix",
}


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_tasks_have_their_names_and_kinds(make):
    assert (make().name, ABOUT[make].kind) == (make.__name__, KINDS[make])


BAD = [
    (log_quadratic, {"dimensions": 1}, "dimensions must be at least 2"),
    (log_quadratic, {"condition": 0.5}, "condition must be >= 1"),
    (quadratic_deep, {"batch_size": 1001}, "larger than the 1000 training"),
    (noisy_quadratic, {"dimensions": 0}, "dimensions must be at least 1"),
    (noisy_quadratic, {"batch_size": 0}, "batch_size must be at least 1"),
    (reddi, {"period": 1}, "period must be at least 2"),
    (reddi, {"large": 1000.0}, "large > small"),
    (reddi, {"small": 0.0}, "small must be > 0"),
    (rosenbrock_nd, {"dimensions": 1}, "dimensions must be at least 2"),
    (rastrigin, {"dimensions": 0}, "dimensions must be at least 1"),
    (styblinski_tang, {"dimensions": 0}, "dimensions must be at least 1"),
    (wilson, {"examples": 0}, "examples must be at least 1"),
    (wilson, {"p": 0.5}, "p must be between"),
    (wilson, {"p": 1.0}, "p must be between"),
    (wilson, {"seed": -1}, "seed must be at least 0"),
    (matrix_factorization, {"rank": 16}, "rank must be at most 15"),
    (matrix_factorization, {"noise": -0.1}, "noise must be >= 0"),
    (matrix_factorization, {"rows": 0}, "rows must be at least 1"),
    (deep_linear, {"width": 0}, "width must be at least 1"),
    (deep_linear, {"depth": 101}, "depth must be at most 100"),
]


@pytest.mark.parametrize(("make", "arguments", "message"), BAD)
def test_arguments_out_of_range_are_refused(make, arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)


@pytest.mark.parametrize("rotation_seed", [None, 3])
def test_log_quadratic_has_its_spectrum(rotation_seed, float64):
    task = log_quadratic(5, 100.0, rotation_seed)
    hessian = jax.hessian(lambda w: task.loss(w, None))(jnp.ones(5))
    np.testing.assert_allclose(np.linalg.eigvalsh(hessian), 10.0 ** np.arange(-2, 0.5, 0.5), rtol=1e-12)
    assert (abs(hessian[0, 1]) > 1e-3) == (rotation_seed is not None)


def test_quadratic_deep_has_the_published_figures(float64):
    task = quadratic_deep()
    stream = np.random.RandomState(42)
    spectrum = np.sort(np.concatenate([stream.uniform(0, 1, 90), stream.uniform(30, 60, 10)]))
    q = np.asarray(jax.jit(jax.hessian(task.loss))(jnp.ones(100), task.train))
    np.testing.assert_allclose(np.linalg.eigvalsh(q), spectrum, rtol=1e-9)
    assert spectrum[-1] == pytest.approx(53.1290, abs=5e-5)

    x = np.random.RandomState(42).normal(0, 0.6, (1000, 100))
    tested = np.random.RandomState(43).normal(0, 0.6, (1000, 100))[:896]
    mean_loss = lambda w, x: np.mean(np.sum((w - x) @ q * (w - x), axis=1)) / 2
    assert task.loss(jnp.ones(100), task.test) == pytest.approx(mean_loss(np.ones(100), tested), rel=1e-12)
    assert task.loss(jnp.ones(100), task.test) == pytest.approx(353.44676, abs=1e-5)
    assert task.loss(jnp.ones(100), task.train[:7]) == pytest.approx(mean_loss(np.ones(100), x[:7]), rel=1e-12)
    assert task.minimum == pytest.approx(mean_loss(x.mean(0), x), rel=1e-12)
    assert task.minimum == pytest.approx(84.7697, abs=5e-5)


def test_sgd_converges_as_published_on_quadratic_deep(float64):
    """Published after 10 and 100 epochs: 92.860 and 87.280. Seeds vary by .1 to .2, and each epoch has a new order."""
    results = jl.sweep(jl.sgd, quadratic_deep(), {"learning_rate": 0.0158489}, steps=700, seeds=5, evaluate=70)
    found = results.dataset.test_loss.mean("seed").isel(config=0)
    np.testing.assert_allclose(found[[0, 1, -1]], [353.447, 92.860, 87.37], atol=0.25)


def expected_loss(learning_rate, steps, dimensions, batch_size):
    """Compute the expected loss of SGD on the noisy quadratic model, by the recursion of Zhang et al. 2019."""
    h = 1 / np.arange(1, dimensions + 1)
    e = np.ones(dimensions)
    for _ in range(steps):
        e = (1 - learning_rate * h) ** 2 * e + learning_rate**2 * h / batch_size
    return h @ e / 2


def test_noisy_quadratic_follows_the_recursion(float64):
    """Tolerance: four standard errors over the seeds, checked to be below 15 % of the expectation."""
    task, batch_size = noisy_quadratic(20, 2), 2
    rates = [0.1, 0.5]
    results = jl.sweep(jl.sgd, task, {"learning_rate": rates}, steps=40, seeds=400, evaluate=40)
    losses = results.dataset.validation_loss.values
    np.testing.assert_allclose(losses[..., 0], np.sum(1 / np.arange(1, 21)) / 2, rtol=1e-12)
    for rate, found in zip(rates, losses[..., -1], strict=True):
        expected, error = expected_loss(rate, 40, 20, batch_size), found.std() / 20
        assert 4 * error < 0.15 * expected
        assert abs(found.mean() - expected) < 4 * error


def test_noise_of_the_noisy_quadratic_has_its_variance(float64):
    task = noisy_quadratic(3, batch_size=4)
    batches = jax.vmap(task.train)(jax.random.split(jax.random.key(0), 4000))
    assert batches.shape == (4000, 4, 3)  # a step counts as four examples
    w = jnp.array([1.0, 2.0, 3.0])
    grads = jax.vmap(jax.grad(task.loss), in_axes=(None, 0))(w, batches)
    np.testing.assert_allclose(grads.var(0), 1 / np.arange(1, 4) / 4, rtol=0.1)  # standard error .022
    np.testing.assert_allclose(grads.mean(0), w / np.arange(1, 4), atol=0.04)  # standard error .008


def test_noisy_quadratic_reaches_its_reference_score(float64):
    found = jl.sweep(
        jl.sgd, noisy_quadratic(), {"learning_rate": [0.02, 0.03]}, steps=5000, seeds=5, evaluate=5000
    ).best()
    assert found.metric == "validation_loss"
    assert found.value <= ABOUT[noisy_quadratic].score
    rates = np.geomspace(0.02, 0.035, 8)
    assert min(expected_loss(rate, 5000, 100, 1) for rate in rates) == pytest.approx(0.0448, abs=1e-4)


def test_reddi_has_the_losses_of_a_period_in_order(float64):
    task = reddi(7.0, 2.0, 3)
    x, state = start(task, jax.random.key(0))
    assert (x, state, state.dtype) == (0, 1, "int32")
    x, found = jnp.array(0.5), []
    step = jax.jit(jax.value_and_grad(lambda x, t: task.loss(x, None, state=t, training=True), has_aux=True))
    for _ in range(6):
        (loss, state), grad = step(x, state)
        assert loss == 0.5 * grad
        found.append(float(grad))
    assert found == [7, -2, -2] * 2
    held_out = lambda x: float(evaluate(task, jnp.array(x), task.validation, state, training=False).loss)
    assert [held_out(x) for x in (-3.0, -1.0, 0.5, 2.0)] == [-1, -1, 0.5, 1]
    assert task.minimum == -1
    assert reddi().minimum == pytest.approx(-10 / 101, rel=1e-12)


def test_adam_goes_to_the_worst_point_and_amsgrad_to_the_best(float64):
    """Reddi et al. 2018 with 1e5 of their 1e6 steps, after which both are within .1 of where they end."""
    falling = lambda c: lambda t: c / jnp.sqrt(t + 1.0)

    def adam(c):
        return projected(jl.adam(falling(c), 0.9, 0.99))

    def amsgrad(c):
        return projected(jl.amsgrad(falling(c), 0.9, 0.99))

    results = jl.sweep([adam, amsgrad], reddi(), {"c": 0.5}, steps=100_000, record=1000, evaluate=50_000)
    assert results.params(0, 0) == pytest.approx(1, abs=0.1)
    assert results.params(1, 0) == pytest.approx(-1, abs=0.1)
    assert results.best().value == pytest.approx(reddi().minimum, rel=0.1)


def test_projection_is_onto_the_box_and_needs_parameters(precision):
    optimizer = projected(jl.sgd(1.0), -0.5, 2.0)
    w, grads = jnp.array([1.0, 0.0, 1.5]), jnp.array([3.0, 0.25, -4.0])
    updates, state = optimizer.update(grads, optimizer.init(w), w)
    np.testing.assert_array_equal(w + updates, [-0.5, -0.25, 2.0])
    assert updates.dtype == precision
    with pytest.raises(ValueError, match="params"):
        optimizer.update(grads, state)


def test_projection_hands_on_what_its_optimizer_asks_for(float64):
    found = jl.sweep(lambda: projected(jl.polyak_sgd(), -0.5, 2.0), log_quadratic(4, 10.0), {}, steps=50)
    w = np.asarray(found.params(0, 0))
    assert (w >= -0.5).all()
    assert (w <= 2).all()


X = np.random.default_rng(0).uniform(-2, 2, (20, 4))
VALUES = [
    (rosenbrock_nd, lambda x: sum(100 * (b - a**2) ** 2 + (1 - a) ** 2 for a, b in itertools.pairwise(x))),
    (rastrigin, lambda x: 10 * len(x) + sum(a**2 - 10 * np.cos(2 * np.pi * a) for a in x)),
    (styblinski_tang, lambda x: sum(a**4 - 16 * a**2 + 5 * a for a in x) / 2),
]


@pytest.mark.parametrize(("make", "formula"), VALUES)
def test_values_are_those_of_the_formula(make, formula, float64):
    found = jax.jit(jax.vmap(lambda x: make(4).loss(x, None)))(X)
    np.testing.assert_allclose(found, [formula(x) for x in X], rtol=1e-12)


def test_values_of_beale_are_those_of_the_formula(float64):
    formula = lambda x, y: sum((c - x * (1 - y**k)) ** 2 for k, c in enumerate((1.5, 2.25, 2.625), 1))
    found = jax.jit(jax.vmap(lambda x: beale().loss(x, None)))(X[:, :2])
    np.testing.assert_allclose(found, [formula(*x) for x in X[:, :2]], rtol=1e-11)


MINIMA = [
    (lambda: rosenbrock_nd(6), [1.0] * 6),
    (lambda: rastrigin(3), [0.0] * 3),
    (lambda: styblinski_tang(3), [-2.903534] * 3),
    (beale, [3.0, 0.5]),
]


@pytest.mark.parametrize(("make", "where"), MINIMA)
def test_minimum_of_a_test_function_is_where_it_should_be(make, where, float64):
    task = make()
    value, gradient, hessian = jax.jit(
        lambda w: (task.loss(w, None), jax.grad(task.loss)(w, None), jax.hessian(task.loss)(w, None))
    )(jnp.array(where))
    assert value == pytest.approx(task.minimum, abs=1e-9)
    np.testing.assert_allclose(gradient, 0, atol=1e-4)  # -2.903534 is rounded
    assert np.linalg.eigvalsh(hessian).min() > 0


def test_rosenbrock_nd_has_another_minimum_from_four_dimensions_on(float64):
    def descend(n):
        value = jax.jit(jax.value_and_grad(rosenbrock_nd(n).loss))
        both = lambda x: [np.asarray(v) for v in value(x, None)]
        return minimize(both, [-1.0] + [1.0] * (n - 1), jac=True)

    assert descend(3).fun < 1e-8
    found = descend(6)
    assert found.fun == pytest.approx(4, abs=0.1)
    assert found.x[0] == pytest.approx(-1, abs=0.02)


BOXES = [(rastrigin, 5.12), (styblinski_tang, 5.0), (lambda _: beale(), 4.5)]


@pytest.mark.parametrize(("make", "side"), BOXES)
def test_starts_are_uniform_in_the_box(make, side):
    starts = np.asarray(jax.vmap(make(2).init)(jax.random.split(jax.random.key(0), 1000)))
    assert 0.99 * side < abs(starts).max() <= side
    np.testing.assert_allclose(starts.mean(0), 0, atol=0.15 * side)  # five standard errors are .09
    np.testing.assert_allclose(starts.std(0), side / 3**0.5, rtol=0.1)


def test_rosenbrock_nd_starts_where_it_should():
    np.testing.assert_array_equal(rosenbrock_nd(5).init(jax.random.key(0)), np.array([-1.2, 1, -1.2, 1, -1.2], "f4"))


def test_probability_of_success_is_the_share_that_reached_the_target(float64):
    """Small steps descend into the nearest minimum: .5157^2 = .266 of all starts. Tolerance: three standard errors."""
    task, space = styblinski_tang(), {"learning_rate": 0.005}
    found = jl.sweep(jl.gradient_descent, task, space, steps=300, seeds=400, target=-78.3).dataset
    assert float((found.status == "reached").mean()) == pytest.approx(0.266, abs=0.066)
    assert float(found.train_loss.min()) == pytest.approx(task.minimum, abs=0.04)


def test_test_functions_are_minimised(float64):
    for task, optimizer, rate, seeds in (
        (rosenbrock_nd(), jl.adam, 0.01, 1),
        (rastrigin(1), jl.gradient_descent, 0.002, 100),  # one in ten starts is in the best basin
        (beale(), jl.adam, 0.1, 10),
    ):
        space = {"learning_rate": rate}
        results = jl.sweep(optimizer, task, space, steps=10_000, seeds=seeds, record=10_000)
        assert float(results.dataset.train_loss.min()) == pytest.approx(0, abs=1e-7)


def test_wilsons_data_are_those_of_the_paper():
    task = wilson(20, 0.6, seed=3)
    x, y = task.train
    assert x.shape == (20, 103)
    for i, (features, label) in enumerate(zip(x, y, strict=True), 1):
        expected = np.zeros(104)  # counted from 1, as in the paper
        expected[1], expected[2], expected[3] = label, 1, 1
        expected[4 + 5 * (i - 1) : 4 + 5 * (i - 1) + int(2 * (1 - label)) + 1] = 1
        np.testing.assert_array_equal(features, expected[1:])
    for x, y in (task.validation, task.test):
        np.testing.assert_array_equal(x[:, 3:], 0)
        np.testing.assert_array_equal(x[:, :3], np.stack([y, 1 + 0 * y, 1 + 0 * y], axis=1))
        assert sorted(y) == [-1] * 80 + [1] * 120
    assert np.mean(wilson(1000, 0.6).train[1] > 0) == pytest.approx(0.6, abs=0.05)  # three standard errors


def test_adaptive_methods_predict_the_majority_class_on_wilsons_data(float64):
    """RMSProp stays at a distance of about its learning rate; the others fit the training data."""
    rates = {"sgd": 0.1, "momentum": 0.03, "adagrad": 0.1, "rmsprop": 0.01, "adam": 0.01}
    space = {name: {"learning_rate": rate} for name, rate in rates.items()}
    space["adagrad"]["initial_accumulator_value"] = 0.0
    results = jl.sweep(list(rates), wilson(), space, steps=1000, record=1000, evaluate=1000)
    assert results.best().metric == "validation_accuracy"
    assert results.best().value == ABOUT[wilson].score == 1
    for name in rates:
        accuracy = 1 if name in ("sgd", "momentum") else 0.7
        assert results.best("validation_accuracy", name).value == pytest.approx(accuracy)
        assert results.best("test_accuracy", name).value == pytest.approx(accuracy)
        assert results.best("train_loss", name).value < (1e-2 if name == "rmsprop" else 1e-4)


def test_matrix_factorization_has_the_minimum_of_its_singular_values(float64):
    task = matrix_factorization(8, 6, rank=2, seed=1, noise=0.3)
    zero = {"U": jnp.zeros((8, 2)), "V": jnp.zeros((6, 2))}
    slopes = jax.jit(jax.vmap(lambda u: jax.grad(task.loss)({**zero, "U": u}, None)["V"][:, 0]))
    m = -24 * np.asarray(slopes(np.eye(8)[:, :, None] * np.array([[[1.0, 0.0]]])))  # at V = 0: -2 M' U / 48
    assert task.loss(zero, None) == pytest.approx(np.mean(m**2), rel=1e-12)
    u, s, vt = np.linalg.svd(m)
    best = {"U": jnp.array(u[:, :2] * s[:2]), "V": jnp.array(vt[:2].T)}
    assert task.minimum == pytest.approx(float(task.loss(best, None)), rel=1e-12)
    assert task.minimum > 0.01


def test_matrix_factorization_reaches_its_minimum(float64):
    task = matrix_factorization()
    assert task.minimum == 0
    results = jl.sweep(jl.momentum, task, {"learning_rate": [1.0, 3.0]}, steps=2000, record=2000, seeds=2)
    assert results.best("train_loss").value == pytest.approx(0, abs=1e-12)


def deep_linear_minimum(x, y, width):
    """Compute the smallest mean squared error of a map of limited rank, for inputs of any covariance.

    By the truncated singular values of the least-squares predictions (reduced-rank regression, Izenman 1975).
    """
    predictions = x @ np.linalg.lstsq(x, y, rcond=None)[0]
    directions = np.linalg.svd(predictions)[2][:width]
    return np.mean((predictions @ directions.T @ directions - y) ** 2)


@pytest.mark.parametrize(("width", "depth"), [(10, 3), (4, 2), (30, 2), (4, 1)])
def test_deep_linear_has_the_minimum_of_least_squares(width, depth):
    task = deep_linear(width, depth)
    x, y = task.train
    np.testing.assert_allclose(x.T @ x / len(x), np.eye(10), atol=1e-12)
    assert task.minimum == pytest.approx(deep_linear_minimum(x, y, width if depth > 1 else 10), rel=1e-12)
    sizes = [w.shape for w in jax.eval_shape(task.init, jax.random.key(0))]
    assert sizes == [(10, 10)] if depth == 1 else [(10, width), *[(width, width)] * (depth - 2), (width, 10)]


def test_deep_linear_predicts_layer_by_layer(float64):
    task = deep_linear(7, 4)
    stream = np.random.default_rng(1)
    params = [stream.normal(size=shape) for shape in ((10, 7), (7, 7), (7, 7), (7, 10))]
    x, y = task.train
    outputs = x
    for weights in params:
        outputs = outputs @ weights
    assert task.loss(params, (x, y)) == pytest.approx(np.mean((outputs - y) ** 2), rel=1e-12)


def test_deep_linear_reaches_its_minimum(float64):
    task = deep_linear()
    results = jl.sweep(jl.momentum, task, {"learning_rate": [0.1, 0.2]}, steps=2000, record=2000, seeds=2)
    assert results.best("train_loss").value == pytest.approx(task.minimum, rel=1e-9)
