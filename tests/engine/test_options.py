"""XLA's options for a training step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxopt_lab as jl
from jaxopt_lab.engine.compile.options import accepted

SIZE = 2**16


def compiled(optimizer, options):
    """One step from parameters of SIZE elements, parameters and state donated, and what it takes."""
    w, g = jnp.linspace(-1, 1, SIZE), jnp.cos(jnp.arange(SIZE))

    def step(w, state, g):
        updates, state = optimizer.update(g, state, w)
        return optax.apply_updates(w, updates), state

    arguments = (w, optimizer.init(w), g)
    return jax.jit(step, donate_argnums=(0, 1), compiler_options=options).lower(*arguments).compile(), arguments


@pytest.mark.parametrize("name", ["lion", "adopt", "acprop", "adan", "rprop"])
def test_state_that_is_read_beside_its_successor_is_not_copied(name, on_a_cpu):
    plain, arguments = compiled(jl.OPTIMIZERS[name](0.01), None)
    told, again = compiled(jl.OPTIMIZERS[name](0.01), jl.compiler_options("cpu"))
    assert plain.memory_analysis().temp_size_in_bytes >= 4 * SIZE, "XLA has learnt it: the option is of no use any more"
    assert told.memory_analysis().temp_size_in_bytes < SIZE
    jax.tree.map(np.testing.assert_array_equal, plain(*arguments), told(*again))


def test_adabelief_is_not_copied_without_being_told(on_a_cpu):
    """Its s is read as it is written, since its last operation takes two arrays: XLA makes it but once."""
    program, _ = compiled(jl.adabelief(0.01), None)
    assert program.memory_analysis().temp_size_in_bytes < SIZE


def test_options_are_known_and_belong_to_their_platform():
    here = jl.compiler_options()
    assert here == jl.compiler_options(jax.default_backend())
    assert accepted(here)
    assert all(name.startswith("xla_cpu_") for name in jl.compiler_options("cpu"))
    assert all(name.startswith("xla_gpu_") for name in jl.compiler_options("gpu"))
    assert jl.compiler_options("tpu") == {}
    here["xla_nonsense"] = True
    assert jl.compiler_options() != here, "what a caller adds is the caller's"
    assert not accepted({"xla_no_option_of_this_name": True})
