"""What `searches.py` kills: python _soak_search.py KIND FOLDER."""

import sys

import jaxopt_lab as jl

SPACE = {"learning_rate": jl.log(1e-4, 1.0), "b1": jl.one_minus(0.5, 0.99)}
KINDS = ("search", "population")


def run(kind: str, folder: str | None = None) -> jl.Results:
    """Search with TPE in eight rounds, or train a population whose worst quarter starts again eight times."""
    task = jl.tasks.digits_mlp(width=16)
    more = {"steps": 800, "seeds": 2, "record": 4, "evaluate": 50, "progress": False}
    if folder is not None:
        more |= {"out": folder, "checkpoint": 0.0}
    if kind == "search":
        return jl.search(jl.adam, task, SPACE, method=jl.optuna("tpe", seed=0), budget=64, batch=8, **more)
    rule = jl.pbt(interval=100, perturb=list(SPACE))
    return jl.sweep(jl.adam, task, jl.random(SPACE, 64, key=0), stop=rule, **more)


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2])
