"""Strict defaults: mismatched ranks raise, so that no test passes by broadcasting; float32 is exact on a GPU."""

import os

os.environ.setdefault("JAXOPT_LAB_CACHE", "off")  # what a test measures is not what an earlier one has left on disk

import jax
import matplotlib
import pytest

matplotlib.use("Agg")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_default_matmul_precision", "highest")  # else a GPU multiplies with ten bits


@pytest.fixture(params=["float32", "float64"])
def precision(request):
    """Run a test in both precisions, whatever JAX's own setting."""
    with jax.enable_x64(request.param == "float64"):
        yield request.param


@pytest.fixture
def on_a_cpu():
    """Skip on other platforms: the test is about a CPU."""
    if jax.default_backend() != "cpu":
        pytest.skip(f"not on a {jax.default_backend()}")


@pytest.fixture
def float32():
    """Run a test in float32."""
    with jax.enable_x64(False):
        yield


@pytest.fixture
def float64():
    """Run a test in float64."""
    with jax.enable_x64(True):
        yield
