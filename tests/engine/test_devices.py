"""Several devices share a chunk's trials: eight virtual ones of a CPU, in a process of their own."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

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
        flags = f"--xla_force_host_platform_device_count={count}"
        environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
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
