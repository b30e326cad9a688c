"""The machine's limits (matrix products, memory bandwidth), and what a training step requires of it."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from measuring import timing
from measuring.handwritten import batch_size

import jaxopt_lab as jl
from jaxopt_lab.tasks.calls import evaluate, shapes

ADAM_PASSES = 7  # over memory: it reads w, m, v and g, and writes w, m and v


def matmul_rate(size: int = 2000) -> float:
    """Measure the FLOP/s of one float32 product of two `size` x `size` matrices: 2 size^3 operations, JAX's precision.

    It makes one measurement, warm from the first call on, so that callers can alternate it with other timings. A fast
    GPU needs a larger size, because the call itself takes tens of microseconds.
    """
    product, matrix = _product(size)
    return 2 * size**3 / timing.once(lambda: product(matrix, matrix))


def copy_bandwidth(bytes: int = 2**28) -> float:
    """Measure the bytes/s of `x + 1` in place on a float32 array, each byte counted twice: once read, once written.

    The array is donated, so memory bandwidth is measured, not the allocation of pages. It makes one measurement, warm
    from the first call on.
    """
    array = jax.block_until_ready(_add_one(jnp.zeros(bytes // 4, jnp.float32)))
    return 2 * array.nbytes / timing.once(lambda: _add_one(array))


def flops_per_step(task: jl.Task) -> int:
    """Count the operations of a step in matrix products: 6 for each example and weight, as is usual.

    Two forward, two for the gradient of the weights, two for that of the layer's input (also counted for the first
    layer, where it is not computed).
    """
    return 6 * batch_size(task) * sum(w.size for w in _params(task) if len(w.shape) > 1)


def product_flops_per_step(task: jl.Task) -> int:
    """Count the operations of a step's matrix products and convolutions: two for each number that is multiplied."""
    params, batch, state = shapes(task)
    loss = lambda params: evaluate(task, params, batch_of(batch), state_of(state), jax.random.key(0)).loss
    batch_of = state_of = lambda tree: jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), tree)
    return _flops(jax.make_jaxpr(jax.grad(loss))(params).jaxpr)


def _flops(program: Any) -> int:
    found = 0
    for equation in program.eqns:
        name, p = equation.primitive.name, equation.params
        if name == "dot_general":
            a = equation.invars[0].aval.shape
            found += (
                2 * math.prod(equation.outvars[0].aval.shape) * math.prod(a[i] for i in p["dimension_numbers"][0][0])
            )
        elif name == "conv_general_dilated":
            filters, numbers = equation.invars[1].aval.shape, p["dimension_numbers"]
            each = math.prod(filters) // filters[numbers.rhs_spec[0]]
            found += 2 * math.prod(equation.outvars[0].aval.shape) * each
        inner = [getattr(x, "jaxpr", x) for x in jax.tree.leaves([*p.values()], is_leaf=lambda x: hasattr(x, "eqns"))]
        found += p.get("length", 1) * sum(_flops(x) for x in inner if hasattr(x, "eqns"))
    return found


def adam_bytes_per_step(task: jl.Task) -> int:
    """Count the bytes that Adam's update moves where parameters, moments and gradients are in memory."""
    return ADAM_PASSES * sum(w.size * w.dtype.itemsize for w in _params(task))


def _params(task: jl.Task) -> list[jax.ShapeDtypeStruct]:
    return jax.tree.leaves(jax.eval_shape(task.init, jax.random.key(0)))


@functools.cache
def _product(size: int):
    """A compiled product and a matrix for it."""
    product, matrix = jax.jit(jnp.matmul), jax.random.normal(jax.random.key(0), (size, size), jnp.float32)
    jax.block_until_ready(product(matrix, matrix))
    return product, matrix


@functools.partial(jax.jit, donate_argnums=0)
def _add_one(x: jax.Array) -> jax.Array:
    return x + 1
