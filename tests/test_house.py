"""Habits of the house that a test can hold."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import jaxopt_lab

PACKAGE = Path(jaxopt_lab.__file__).parent
LAYERS = [
    *("types", "validation", "settings", "caching", "fingerprint", "calling", "direction", "labels", "optimizers"),
    *("tasks", "updating", "trial", "values", "space", "engine", "store", "statistics", "verify", "results"),
    *("task_checks", "checks", "checks_random", "arguments", "planning", "collect", "durable", "sweep", "rerun"),
    *("spec_values", "spec", "runs", "cli"),
]
HEAVY = ("xarray", "zarr", "pandas", "scipy", "sklearn", "matplotlib", "plotly", "ray", "typer", "rich")


def imported(path):
    """What a file imports when it is imported itself."""
    tree = ast.parse(path.read_text())
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def test_importing_it_imports_nothing_heavy():
    code = f"import sys, jaxopt_lab; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # SciPy is JAX's own: it comes with `import jax`.
    assert [m for m in ast.literal_eval(done.stdout) if m != "scipy"] == []


@pytest.mark.parametrize("path", sorted((PACKAGE / "optimizers").glob("*.py")), ids=lambda p: p.stem)
def test_optimizers_know_only_the_types(path):
    for module in imported(path):
        if module.startswith("jaxopt_lab"):
            assert module == "jaxopt_lab.types" or module.startswith("jaxopt_lab.optimizers")
        assert module != "optax"
    assert "jax.jit" not in path.read_text()
    assert "jax.vmap" not in path.read_text()


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_nothing_below_knows_what_is_above(path):
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if room not in LAYERS:
        return
    above = LAYERS[LAYERS.index(room) + 1 :]
    for module in imported(path):
        if module.startswith("jaxopt_lab."):
            assert module.split(".")[1] not in above, f"{room} imports {module}"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_modules_are_short(path):
    assert len(path.read_text().splitlines()) <= 300


def test_the_table_of_benchmarks_is_that_of_their_figures():
    """Else: python benchmarks/table.py."""
    benchmarks = PACKAGE.parent / "benchmarks"
    made = subprocess.run(
        [sys.executable, benchmarks / "table.py", "--print"], capture_output=True, text=True, check=True
    )
    assert made.stdout == (benchmarks / "TABLE.md").read_text()
    assert "| **no** |" in made.stdout  # what fell short is said, and why


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_every_key_names_its_generator(path):
    text = path.read_text()
    assert "PRNGKey(" not in text
    if path.name not in ("types.py", "values.py"):  # which makes them, and asks what form JAX's own have
        assert "random.key(" not in text, "make keys by jaxopt_lab.types.random_key"
