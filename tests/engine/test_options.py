"""XLA's options for a training step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxopt_lab as jl
from jaxopt_lab.engine.compile.options import accepted, seldom_options
from jaxopt_lab.tasks.seeding import draws, initial
from jaxopt_lab.types import random_key

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


def test_what_runs_seldom_has_the_same_bits_however_it_is_compiled(on_a_cpu, monkeypatch):
    monkeypatch.delenv("XLA_FLAGS")  # tests run with other options than users do
    defaults = {"xla_backend_optimization_level": 3, "xla_cpu_use_fusion_emitters": True}
    defaults = {name: value for name, value in defaults.items() if accepted({name: value})}
    task, seeds = jl.tasks.digits_mlp(width=8), np.arange(3, dtype=np.int32)
    raw = lambda x: jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x
    for once, run in (
        (True, lambda seed: initial(task, random_key(seed))),
        (False, lambda seed: draws(task, random_key(seed), 0, 5)),
    ):
        options = seldom_options.__wrapped__("cpu", once)
        assert {*options} == {*list(defaults)[: 1 + once]}, "not what it was tested for"
        ways = defaults, defaults | options
        plain, fast = (jax.jit(jax.vmap(run), compiler_options=way)(seeds) for way in ways)
        jax.tree.map(lambda a, b: np.testing.assert_array_equal(raw(a), raw(b)), plain, fast)


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
