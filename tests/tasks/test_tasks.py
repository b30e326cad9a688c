"""The built-in tasks: data, certified minima, and that optimizers reach them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

import jaxopt_lab as jl
from jaxopt_lab.tasks import _data
from jaxopt_lab.tasks.about import ABOUT
from jaxopt_lab.tasks.calls import evaluate, start
from jaxopt_lab.tasks.seeding import batch_key

# Published figures for all of the data: (task, figure, decimals given).
CERTIFIED = [
    (lambda: jl.tasks.breast_cancer(l2=1e-2), 0.102416565756, 12),
    (lambda: jl.tasks.breast_cancer(l2=1e-3), 0.059839774542, 12),
    (lambda: jl.tasks.digits_softmax(l2=1e-2), 0.7414620874, 10),
    (jl.tasks.diabetes, 2859.6963475868, 10),
]


@pytest.mark.parametrize(("make", "figure", "decimals"), CERTIFIED)
def test_minimum_is_the_certified_one(make, figure, decimals):
    assert make().minimum == pytest.approx(figure, abs=0.5 * 10**-decimals, rel=1e-12)


@pytest.mark.parametrize("l2", [1e-1, 1e-2])
def test_logistic_minimum_is_scikit_learns(l2):
    x, y = jl.tasks.breast_cancer(l2=l2).train
    model = LogisticRegression(C=1 / (len(x) * l2), fit_intercept=False, solver="newton-cholesky", tol=1e-12).fit(x, y)
    w = model.coef_[0]
    loss = np.mean(np.logaddexp(0, -np.where(y == 1, 1, -1) * (x @ w))) + l2 / 2 * w @ w
    assert jl.tasks.breast_cancer(l2=l2).minimum == pytest.approx(loss, abs=1e-12)


def test_least_squares_minimum_is_scikit_learns():
    x, y = jl.tasks.diabetes().train
    model = LinearRegression().fit(x, y)
    assert jl.tasks.diabetes().minimum == pytest.approx(np.mean((model.predict(x) - y) ** 2), rel=1e-13)
    assert model.score(x, y) == pytest.approx(0.5177484222, abs=5e-11)


def test_linear_regression_is_the_tutorials():
    np_stream = np.random.RandomState(0)
    x = np_stream.rand(100)
    y = 3 * x + np_stream.rand(100)
    for intercept in (False, True):
        task = jl.tasks.linear_regression(intercept=intercept)
        np.testing.assert_array_equal(task.train, (x, y))
    slope = x @ y / (x @ x)
    assert jl.tasks.linear_regression(intercept=False).minimum == pytest.approx(
        np.mean((slope * x - y) ** 2), rel=1e-13
    )
    residual = np.polyval(np.polyfit(x, y, 1), x) - y
    assert jl.tasks.linear_regression().minimum == pytest.approx(np.mean(residual**2), rel=1e-12)
    assert jl.tasks.linear_regression().minimum < jl.tasks.linear_regression(intercept=False).minimum


# (task, optimizer, learning rates, steps). In float64 a linearly convergent method ends at rounding; 1e-9 of the
# minimum (or 1e-9 where that is 0) is far below what float32 training sees.
REACHED = [
    (lambda: jl.tasks.linear_regression(intercept=False), jl.gradient_descent, [0.5, 1.0], 200),
    (jl.tasks.linear_regression, jl.momentum, [0.1, 0.3], 500),
    (jl.tasks.quadratic, jl.momentum, [0.3, 1.0], 1500),
    (lambda: jl.tasks.quadratic((1.0, 0.1), rotation_seed=3), jl.gradient_descent, [1.8], 500),
    (jl.tasks.rosenbrock, jl.adam, [0.01, 0.03], 5000),
    (jl.tasks.breast_cancer, jl.momentum, [0.1, 0.3], 3000),
    (jl.tasks.diabetes, jl.momentum, [0.03, 0.1], 8000),
    (jl.tasks.digits_softmax, jl.momentum, [0.3, 1.0], 1500),
]


@pytest.mark.parametrize(("make", "optimizer", "rates", "steps"), REACHED)
def test_optimizers_reach_the_minimum(make, optimizer, rates, steps, float64):
    task = make()
    results = jl.sweep(optimizer, task, {"learning_rate": rates}, steps=steps, record=steps)
    gap = results.best("train_loss").value - task.minimum
    scale = task.minimum or 1.0
    assert -1e-12 * scale <= gap <= 1e-9 * scale


def test_every_task_is_registered_under_its_function_name():
    for name, make in jl.TASKS.items():
        assert make is getattr(jl.tasks, name)
        task = make()
        assert isinstance(task, jl.Task)
        assert task.factory is make
        assert task.name.startswith(name)
        assert ABOUT[make].score is not None or task.minimum is not None  # something is known of each


@pytest.mark.parametrize("name", list(jl.TASKS))
def test_tasks_train_in_both_precisions(name, precision):
    task = jl.TASKS[name]()
    key = jax.random.key(0)
    (params, state), batch = start(task, key), task.batch(task.data[0], batch_key(key), jnp.int32(0))
    loss_of = lambda params: evaluate(task, params, batch, state, key).loss
    loss, grads = jax.jit(jax.value_and_grad(loss_of))(params)
    assert loss.dtype == precision
    assert jnp.isfinite(loss)
    for leaf in jax.tree.leaves(grads):
        assert leaf.dtype == precision
        assert bool(jnp.isfinite(leaf).all())
        assert bool((leaf != 0).any())


@pytest.mark.parametrize("name", ["breast_cancer", "diabetes", "digits"])
def test_data_are_those_of_scikit_learn(name):
    datasets = pytest.importorskip("sklearn.datasets")
    for found, expected in zip(_data.load(name), getattr(datasets, f"load_{name}")(return_X_y=True), strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


def test_splits_are_disjoint_and_complete():
    pixels, labels = _data.load("digits")
    task = jl.tasks.digits_mlp()
    sizes = [len(s[1]) for s in (task.train, task.validation, task.test)]
    assert sizes == [1257, 270, 270]
    held = np.concatenate([np.column_stack([x * 16, y]) for x, y in (task.train, task.validation, task.test)])
    assert sorted(map(tuple, held)) == sorted(map(tuple, np.column_stack([pixels, labels])))


def test_holdout_standardises_by_training_data_only():
    task = jl.tasks.breast_cancer(holdout=True)
    np.testing.assert_allclose(task.train[0].mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(task.train[0].std(0), 1, atol=1e-12)
    assert abs(task.test[0].mean(0)).max() > 1e-3
    assert task.minimum != jl.tasks.breast_cancer().minimum


def test_arguments_make_the_same_task_once_and_another_by_replace():
    assert jl.tasks.digits_mlp() is jl.tasks.digits_mlp(32, depth=1)
    wider = jl.tasks.digits_mlp(depth=2).replace(width=8)
    assert [x.shape for x in jax.tree.leaves(wider.init(jax.random.key(0)))] == [
        (8,),
        (64, 8),
        (8,),
        (8, 8),
        (10,),
        (8, 10),
    ]
    assert wider.batch_size == 64
    spectrum = np.array([2.0, 1.0])  # arrays cannot be hashed
    assert jl.tasks.quadratic(spectrum).loss(jnp.ones(2), None) == pytest.approx(1.5)


def test_rotation_keeps_the_spectrum(float64):
    spectrum = (5.0, 2.0, 0.5)
    task = jl.tasks.quadratic(spectrum, rotation_seed=0)
    hessian = jax.hessian(lambda w: task.loss(w, None))(jnp.zeros(3))
    np.testing.assert_allclose(np.linalg.eigvalsh(hessian), sorted(spectrum), rtol=1e-12)
    assert abs(hessian[0, 1]) > 1e-3


def test_rosenbrock_has_its_minimum_where_it_should():
    task = jl.tasks.rosenbrock(a=2.0, b=50.0)
    assert task.loss(jnp.array([2.0, 4.0]), None) == 0
    assert task.loss(jnp.array([-1.2, 1.0]), None) == pytest.approx((2 + 1.2) ** 2 + 50 * (1 - 1.44) ** 2)
