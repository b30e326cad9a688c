"""What ends each command's `--help`: examples of its use, and the exit statuses."""

import textwrap

from jaxopt_lab.cli.failing import STATUSES

WIDTH = 76  # of a terminal with 80 columns

EXAMPLES = {
    "": (
        "jaxopt-lab run",
        "jaxopt-lab init sweep.toml",
        "jaxopt-lab run sweep.toml --out runs/first",
        "jaxopt-lab compare adam momentum --task digits_mlp",
    ),
    "init": (
        "jaxopt-lab init",
        "jaxopt-lab init mine.toml --optimizer lion --task digits_cnn",
    ),
    "run": (
        "jaxopt-lab run --open",
        "jaxopt-lab run sweep.toml --plan",
        "jaxopt-lab run sweep.toml --steps 200 --seeds 3 --out runs/first",
    ),
    "resume": ("jaxopt-lab resume runs/first",),
    "extend": ("jaxopt-lab extend runs/first --seeds 10", "jaxopt-lab extend runs/first --steps 2000"),
    "watch": ("jaxopt-lab watch runs/first", "jaxopt-lab watch runs/first --once"),
    "show": ("jaxopt-lab show runs/first", "jaxopt-lab show runs/first/digits_mlp/results.zarr --json"),
    "report": ("jaxopt-lab report runs/first --out first.html",),
    "compare": (
        "jaxopt-lab compare adam momentum --task digits_mlp",
        "jaxopt-lab compare adam optax:lion --task digits_mlp --out runs/duel",
        "jaxopt-lab compare sgd adam --task quadratic --task rosenbrock --json",
    ),
    "judge": (
        "jaxopt-lab judge scores.csv --lower-is-better",
        "jaxopt-lab judge scores.csv --higher-is-better --reference adamw --json",
    ),
    "list": ("jaxopt-lab list optimizers --priors", "jaxopt-lab list tasks --json"),
    "verify": ("jaxopt-lab verify optimizers adam", "jaxopt-lab verify theory"),
    "verify optimizers": ("jaxopt-lab verify optimizers", "jaxopt-lab verify optimizers adam lion --out table.md"),
    "verify theory": ("jaxopt-lab verify theory worst_case", "jaxopt-lab verify theory --json"),
    "verify published": ("jaxopt-lab verify published", "jaxopt-lab verify published --json"),
}
"""Command lines by command; "" is the program itself."""


def epilog(command: str) -> str:
    """Return the end of a command's help, a line for each example, and for the program one for each exit status."""
    lines = ["", "Examples:", *(f"  {line}" for line in EXAMPLES[command])]  # without the first, indents are lost
    if not command:
        lines += ["", "Exit status:"]
        for status, meaning in STATUSES.items():
            lines += textwrap.wrap(meaning, WIDTH, initial_indent=f"  {status:<3}  ", subsequent_indent=" " * 7)
    return "\n".join(lines)
