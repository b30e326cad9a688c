"""Strict defaults: mismatched ranks raise, so that no test passes by broadcasting; float32 is exact on a GPU.

On a CPU, most of the suite's time is XLA's, which compiles thousands of small programs. So a session compiles with few
optimisations, unless JAXOPT_LAB_TESTS=optimized, as in the workflow that checks each change.
"""

import functools
import gc
import os
import shutil
import subprocess
import sys
import tempfile
import zlib

os.environ.setdefault("JAXOPT_LAB_CACHE", "off")  # what a test measures is not what an earlier one has left on disk

import jax
import matplotlib
import pytest
from jax._src import compilation_cache, pjit
from jax._src.interpreters import pxla

matplotlib.use("Agg")
SHARED = {  # the processes of a session compile each program once; a later session compiles it anew
    "jax_compilation_cache_dir": "",
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}
QUICK = (  # the first that this version of XLA knows
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false "
    "--xla_llvm_disable_expensive_passes=true --xla_cpu_parallel_codegen_split_count=1",
    # Without its older emitters, as in JAX 0.12, XLA at level 0 treats some float64 as float32.
    "--xla_llvm_disable_expensive_passes=true --xla_cpu_parallel_codegen_split_count=1",
)


def known(flags: str) -> bool:
    """Return whether XLA starts with these flags; it ends the process where it does not know one."""
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", "import jax; jax.devices()"]
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0


OURS = "JAX_COMPILATION_CACHE_DIR" not in os.environ
if OURS and os.environ.get("JAXOPT_LAB_TESTS") != "optimized":  # the processes of a session inherit the flags
    flags = [os.environ["XLA_FLAGS"]] if "XLA_FLAGS" in os.environ else []
    os.environ["XLA_FLAGS"] = " ".join([*flags, next(filter(known, QUICK), "")])
if OURS:
    SHARED["jax_compilation_cache_dir"] = tempfile.mkdtemp(prefix="jaxopt_lab-tests-")
    for setting, value in SHARED.items():
        os.environ[setting.upper()] = str(value)
        jax.config.update(setting, value)
    if not any(getattr(compilation_cache, name, None) for name in ("zstd", "zstandard")):
        # JAX would compress each program with zlib's default level, which takes twice to three times as long.
        compilation_cache.compress_executable = functools.partial(zlib.compress, level=1)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_default_matmul_precision", "highest")  # else a GPU multiplies with ten bits

gc.freeze()  # Python does not look through what is imported, and seldom through the rest: a twentieth of the time
gc.set_threshold(20_000, 20, 20)

LOWERED = [(pjit, "_pjit_lower"), (pxla, "_cached_lowering_to_hlo")]


def pytest_runtest_teardown():
    """Let JAX forget its programs in the form that they had before they were compiled; what is compiled stays.

    It keeps two thousand of them, 1.4 MB each, and beside as many the next one takes twice as long to compile. These
    caches are private, so other versions of JAX may have others.
    """
    for module, name in LOWERED:
        if hasattr(module, name):
            getattr(module, name).cache_clear()


def pytest_unconfigure():
    """Remove the programs; the processes that a session starts inherit the variable, so only its first process does."""
    if OURS:
        shutil.rmtree(SHARED["jax_compilation_cache_dir"], ignore_errors=True)


@pytest.fixture
def no_programs(monkeypatch):
    """Hide the programs that the processes of this session share."""
    from jax.experimental.compilation_cache import compilation_cache

    before = jax.config.jax_compilation_cache_dir
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    jax.config.update("jax_compilation_cache_dir", None)
    compilation_cache.reset_cache()
    yield
    jax.config.update("jax_compilation_cache_dir", before)
    compilation_cache.reset_cache()


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
