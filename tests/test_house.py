"""Rules of this code base that a test can check."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import jaxopt_lab

PACKAGE = Path(jaxopt_lab.__file__).parent
# From the bottom up: a room, or a module beside the rooms, imports none that comes after it.
ROOMS = [
    *(
        "types",
        "errors",
        "checking",
        "formats",
        "cache_folder",
        "tracing",
        "rewrite",
        "labels",
        "schedules",
        "optimizers",
        "tasks",
        "sharpness",
        "diagnostics",
        "updating",
        "trial",
        "engine",
    ),
    *("store", "statistics", "results", "cluster", "sweep", "compare", "search", "verify", "report", "cli"),
]
ENGINE = ("compile", "tuning", "run")  # the engine's own, likewise
HEAVY = (
    *("xarray", "zarr", "pandas", "scipy", "sklearn", "matplotlib", "plotly", "ray", "typer", "rich"),
    *("altair", "opda", "vl_convert", "flax", "equinox", "optuna"),
)


def module_of(path):
    parts = (PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports(path):
    """Yield the package's own modules that a file imports, also in functions and for type checkers, with the node."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names] + [node.module]
        else:
            continue
        found = [name for name in names if name in MODULES and name != PACKAGE.name]
        # `from package import module` imports the module, not what the package's own file imports.
        yield from ((name, node) for name in found if not any(other.startswith(f"{name}.") for other in found))


def imported(path):
    """Yield the modules that a file imports when it is imported itself."""
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
    if path.stem != "_amortised":  # it says how its own condition is mapped
        assert "jax.vmap" not in path.read_text()


def test_every_room_has_its_place():
    rooms = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in MODULES.values()}
    assert rooms - {"__init__"} == set(ROOMS)
    assert {path.relative_to(PACKAGE / "engine").parts[0] for path in (PACKAGE / "engine").glob("*/*.py")} == {*ENGINE}


def test_nothing_below_knows_what_is_above():
    wrong = []
    for module, path in MODULES.items():
        for name, _ in imports(path):
            (room, *inner), (other, *others) = (m.split(".")[1:3] for m in (f"{module}.x.x", f"{name}.x.x"))
            if module == PACKAGE.name:
                continue
            if ROOMS.index(other) > ROOMS.index(room):
                wrong.append(f"{module} imports {name}")
            if room == other == "engine" and others[0] in ENGINE:
                below = inner[0] not in ENGINE or ENGINE.index(others[0]) > ENGINE.index(inner[0])
                wrong += [f"{module} imports {name}"] if below else []
    assert wrong == []


def test_modules_do_not_go_round_in_circles():
    known = {module: {name for name, _ in imports(path)} for module, path in MODULES.items()}
    while free := [module for module, needed in known.items() if not needed & known.keys()]:
        for module in free:
            del known[module]
    assert known == {}


def test_the_packages_own_modules_are_imported_at_the_top():
    """An import inside a function hides a dependency; only heavy libraries may be imported there."""
    at_the_top = {path: ast.parse(path.read_text()).body for path in MODULES.values()}
    lines = {path: {node.lineno for node in body} for path, body in at_the_top.items()}
    lazy = [
        f"{m}:{node.lineno}"
        for m, path in MODULES.items()
        for _, node in imports(path)
        if node.lineno not in lines[path]
    ]
    assert [
        place for place in lazy if not place.startswith(f"{PACKAGE.name}:")
    ] == []  # the facade's, for type checkers


def test_modules_are_short():
    lines = {module: len(path.read_text().splitlines()) for module, path in MODULES.items()}
    assert {module: count for module, count in lines.items() if count > 300} == {}


def test_the_table_of_benchmarks_is_that_of_their_figures():
    """If it fails, run: python benchmarks/table.py."""
    benchmarks = PACKAGE.parent / "benchmarks"
    made = subprocess.run(
        [sys.executable, benchmarks / "table.py", "--print"], capture_output=True, text=True, check=True
    )
    assert made.stdout == (benchmarks / "TABLE.md").read_text()


def test_every_key_names_its_generator():
    makers = ("jaxopt_lab.types", "jaxopt_lab.sweep.values")  # which make keys, and ask what form JAX's own have
    texts = {module: path.read_text() for module, path in MODULES.items()}
    assert [module for module, text in texts.items() if "PRNGKey(" in text] == []
    keys = [module for module, text in texts.items() if "random.key(" in text and module not in makers]
    assert keys == [], "make keys by jaxopt_lab.types.random_key"
