"""Several devices share a chunk's trials: eight virtual devices of a CPU, in a separate process."""

import json
import math
import os
import re
import subprocess
import sys

import jax
import numpy as np
import pytest

from jaxopt_lab.engine.compile.axes import Axes, Trials

CODE = """
import json, sys
import jax, numpy as np
import jaxopt_lab as jl
jax.config.update("jax_enable_x64", True)
assert len(jax.local_devices()) == {count}
task = jl.tasks.breast_cancer(holdout=True, batch_size=32)
found = {{}}
for name, rates, seeds, more in (
    ("configs", 21, 3, {{}}),
    ("seeds", 2, 11, {{}}),
    ("steps", 21, 3, {{"strategy": "steps"}}),
    ("halving", 21, 3, {{"stop": jl.halving(4, min_steps=8)}}),
):
    space = {{"learning_rate": jl.log(1e-3, 1.0, rates)}}
    dataset = jl.sweep(jl.adam, task, space, steps=40, seeds=seeds, record=1, **more).dataset
    found[name] = [np.nan_to_num(dataset[v].values, nan=-1).tolist() for v in ("train_loss", "validation_loss")]
    found[name + " where"] = [dataset.attrs["device"], dataset.attrs["strategies"]]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found():
    """The same sweeps on one device and on eight."""
    results = {}
    for count in (1, 8):
        flags = [os.environ.get("XLA_FLAGS", ""), f"--xla_force_host_platform_device_count={count}"]
        environment = os.environ | {"XLA_FLAGS": " ".join(flags), "JAX_PLATFORMS": "cpu"}
        done = subprocess.run(
            [sys.executable, "-c", CODE.format(count=count)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        results[count] = json.loads(done.stdout)
    return results


@pytest.mark.parametrize("name", ["configs", "seeds", "steps", "halving"])
def test_eight_devices_train_the_same_trials(found, name):
    for eight, one in zip(found[8][name], found[1][name], strict=True):
        np.testing.assert_allclose(eight, one, rtol=1e-8)


def test_the_trials_axis_is_split_over_all_of_them(found):
    device, strategies = found[8]["configs where"]
    assert device.startswith("8 x cpu")
    (strategy,) = json.loads(strategies)
    assert strategy["configs"] == 24  # of 21, padded to a multiple of eight
    (strategy,) = json.loads(found[8]["seeds where"][1])
    assert (strategy["seeds"], strategy["configs"]) == (16, 2)


@pytest.mark.parametrize(("seeds", "configs"), [(1, 1), (1, 3), (2, 1), (2, 3)])
def test_a_single_seed_or_configuration_has_no_axis_inside(seeds, configs):
    """An axis of length 1 costs XLA a tenth on a CPU; arguments and results still have both axes."""
    one = lambda state, value, seed, number: jax.lax.sort(-state * value + seed + number)
    shapes = [(seeds, configs, 2), (configs,), (seeds,), ()]
    arguments = [1 + np.arange(math.prod(shape), dtype=np.float32).reshape(shape) for shape in shapes]
    over = Trials(seeds, configs, tuple(jax.devices()[:1]))
    program = over.compile(
        one,
        (Axes.TRIAL, Axes.CONFIG, Axes.SEED, Axes.NONE),
        tuple(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in arguments),
    )
    state, value, seed, number = arguments
    expected = np.sort(-state * value[:, None] + seed[:, None, None] + number, axis=-1)
    np.testing.assert_array_equal(program(*arguments), expected)
    (sorted_as,) = re.findall(r"f32\[([\d,]+)\]\S* sort\(", program.as_text())
    assert [int(n) for n in sorted_as.split(",")] == [n for n in (seeds, configs) if n > 1] + [2]
