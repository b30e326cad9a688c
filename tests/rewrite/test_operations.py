"""Each rule of `jaxopt_lab.rewrite` against the operation as written: values and gradients, in float64 to rounding."""

import collections
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_lab.rewrite import rewriting

ROUNDING = 1e-12  # of float64: sums may be in another order
SINGLE = 2e-5  # of float32, relative to the largest number of a result


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def applied(function, *arguments):
    """Count how many operations each rule rewrites."""
    counts = collections.Counter()
    jax.eval_shape(rewriting(function, lambda name: counts.update([name])), *arguments)
    return counts


def agrees(function, *arguments, bound=ROUNDING):
    """Compare values and gradients of a random linear form of the function with those as written."""
    shape = jax.eval_shape(function, *arguments)
    weights = normal(*shape.shape, seed=1).astype(shape.dtype)
    both = lambda f: jax.jit(jax.value_and_grad(lambda *a: jnp.sum(weights * f(*a)), tuple(range(len(arguments)))))
    for name, f in {"values": lambda f: jax.jit(f), "gradients": both}.items():
        for ours, theirs in zip(
            *(jax.tree.leaves(f(g)(*arguments)) for g in (rewriting(function), function)), strict=True
        ):
            assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
            scale = float(jnp.max(jnp.abs(theirs))) or 1.0
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=bound * scale, err_msg=name)


def convolution(x, w, layout="NHWC HWIO NHWC", strides=(1, 1), padding="SAME", **more):
    return jax.lax.conv_general_dilated(x, w, strides, padding, dimension_numbers=tuple(layout.split()), **more)


CONVOLUTIONS = {
    "plain": {},
    "strides": {"strides": (2, 3), "padding": "VALID"},
    "channels first": {"layout": "NCHW OIHW NCHW"},
    "other layouts": {"layout": "HWNC IOHW CNHW"},
    "dilated filter": {"rhs_dilation": (2, 1)},
    "dilated image": {"lhs_dilation": (1, 3), "padding": [(1, 2), (0, 3)]},
    "uneven padding": {"padding": [(2, 0), (0, 1)]},
    "cropped": {"padding": [(-1, 1), (2, -2)]},
    "cropped and dilated": {
        "strides": (2, 1),
        "padding": [(-1, 3), (2, -2)],
        "lhs_dilation": (2, 1),
        "rhs_dilation": (1, 2),
    },
    "two groups": {"feature_group_count": 2},
    "depth-wise": {"feature_group_count": 4},
    "depth-wise, two results a channel": {"feature_group_count": 4, "results": 8},
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(name, float64):
    options = dict(CONVOLUTIONS[name])
    groups, layout = options.get("feature_group_count", 1), options.get("layout", "NHWC HWIO NHWC").split()
    results = options.pop("results", 4)
    image = {"N": 3, "H": 7, "W": 6, "C": 4}
    filters = {"H": 3, "W": 2, "I": 4 // groups, "O": results}
    x, w = normal(*(image[axis] for axis in layout[0])), normal(*(filters[axis] for axis in layout[1]), seed=2)
    convolve = lambda x, w: convolution(x, w, **options)
    assert applied(convolve, x, w) == {"convolutions as patches": 1}
    agrees(convolve, x, w)
    agrees(jax.vmap(convolve, (None, 0)), x, jnp.stack([w, -w]))  # as trials do: batches shared, filters of their own


def test_one_dimension_and_transposed(float64):
    x, w = normal(2, 9, 3), normal(4, 3, 5, seed=2)
    agrees(lambda x, w: convolution(x, w, "NWC WIO NWC", (2,)), x, w)
    agrees(lambda x, w: jax.lax.conv_transpose(x, w, (2,), "SAME", dimension_numbers=("NWC", "WIO", "NWC")), x, w)


def test_convolutions_twice_differentiated(float64):
    x, w = normal(2, 5, 5, 2), normal(3, 3, 2, 3, seed=2)
    loss = lambda f: lambda w: jnp.sum(jnp.tanh(f(x, w)) ** 2)
    turned = lambda f: jax.jit(lambda w: jax.jvp(jax.grad(loss(f)), (w,), (jnp.ones_like(w),))[1])(w)
    np.testing.assert_allclose(turned(rewriting(convolution)), turned(convolution), rtol=1e-10)


@pytest.mark.parametrize(
    ("image", "filters"),
    [((64, 64, 64, 16), (3, 3, 16, 8)), ((2, 20, 20, 1), (9, 9, 1, 1)), ((0, 8, 8, 1), (3, 3, 1, 2))],
    ids=["large images", "large filters", "no example"],
)
def test_convolutions_that_stay(image, filters):
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in (image, filters)]
    assert not applied(convolution, *shapes)


def pooled(x, init, operation, window, strides=None, padding="VALID"):
    return jax.lax.reduce_window(x, init, operation, window, strides or window, padding)


@pytest.mark.parametrize("window", [(1, 2, 2, 1), (1, 3, 2, 1), (2, 1, 1, 3)])
@pytest.mark.parametrize(("init", "operation"), [(-jnp.inf, jax.lax.max), (0.0, jax.lax.add)], ids=["maximum", "sum"])
def test_pooling(window, init, operation, float64):
    """With ties and NaN: XLA's gradient goes to the first of equal maxima."""
    pool = lambda x: pooled(x, init, operation, window)
    x = jnp.asarray(np.random.default_rng(0).integers(0, 3, (4, 7, 6, 3)).astype(float))
    assert applied(pool, x) == {"pooling by slices": 1}
    agrees(pool, x)
    x = x.at[1, 2, 3].set(jnp.nan)
    np.testing.assert_array_equal(rewriting(pool)(x), pool(x))


def test_pooling_that_stays():
    x = jax.ShapeDtypeStruct((4, 6, 6, 3), jnp.float32)
    for options in ({"strides": (1, 1, 1, 1)}, {"padding": "SAME", "window": (1, 4, 4, 1)}):
        window = options.pop("window", (1, 2, 2, 1))
        assert not applied(lambda x, o=options, w=window: pooled(x, -jnp.inf, jax.lax.max, w, **o), x)
    assert not applied(lambda x: pooled(x, 0, jax.lax.max, (1, 2, 2, 1)), jax.ShapeDtypeStruct(x.shape, jnp.int32))


PRODUCTS = {
    "sequences": ("btd,de->bte", 1),
    "turned weights": ("btd,ed->bte", 1),
    "weights first": ("de,btd->ebt", 1),
    "two contracted": ("btd,btf->df", 1),
    "four axes": ("abtd,de->abte", 1),
    "joined": ("bthd,hde->bte", 1),
    "attention": ("bthd,bshd->bhts", 0),
    "matrices": ("td,de->te", 0),
    "not adjacent": ("btd,bf->tdf", 1),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products(name, float64):
    """Merged axes are names only, so even sums are in the same order; and one of two axes that are apart stays."""
    form, count = PRODUCTS[name]
    sizes = dict(zip("abdefhst", (2, 3, 5, 4, 6, 2, 7, 7), strict=True))
    first, second = ([sizes[axis] for axis in axes] for axes in form.split("->")[0].split(","))
    multiply = lambda a, b: jnp.einsum(form, a, b)
    a, b = normal(*first), normal(*second, seed=2)
    assert applied(multiply, a, b).total() == count
    agrees(multiply, a, b)


def test_tall_weights_are_multiplied_as_a_transposed_copy(float64):
    x, w = normal(5, 8, 16), normal(16, 3, seed=2)
    multiply = lambda x, w: x @ w
    agrees(multiply, x, w)
    agrees(jax.vmap(multiply, (None, 0)), x, jnp.stack([w, 2 * w]))
    gradients = jax.make_jaxpr(jax.grad(lambda w: jnp.sum(rewriting(multiply)(x, w))))(w)
    products = [e for e in gradients.eqns if e.primitive.name == "dot_general"]
    assert products[-1].outvars[0].aval.shape == (3, 16)  # wide


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_types_and_precision_are_kept(kind):
    x, w = normal(2, 6, 6, 3).astype(kind), normal(3, 3, 3, 4, seed=2).astype(kind)
    for more in ({}, {"preferred_element_type": jnp.float32}):
        bound = SINGLE if kind == "float32" else 0.02  # bfloat16 has three digits
        agrees(lambda x, w, more=more: convolution(x, w, precision="highest", **more), x, w, bound=bound)
    traced = jax.make_jaxpr(rewriting(lambda x, w: jnp.matmul(x, w, precision="highest")))(
        normal(2, 3, 4), normal(4, 5)
    )
    (product,) = [e for e in traced.eqns if e.primitive.name == "dot_general"]
    assert {str(p) for p in product.params["precision"]} == {"HIGHEST"}


def test_what_patches_take_is_what_the_limit_counts():
    """So that a convolution that stays within it makes no larger array."""
    x, w = normal(2, 8, 8, 3), normal(3, 3, 3, 4)
    traced = jax.make_jaxpr(rewriting(convolution))(x, w)
    largest = max(math.prod(v.aval.shape) for e in traced.eqns for v in e.outvars)
    assert largest == 2 * 8 * 8 * 3 * 9
