"""The sweep of these tests, in its own module, so that a process to be killed starts quickly."""

import jaxopt_lab as jl

SPACE = {"learning_rate": jl.log(1e-3, 1.0, 16)}
OPTIONS = {"steps": 2048, "seeds": 3, "record": 8, "evaluate": 64, "chunk": 12}
TASK = {"holdout": True, "batch_size": 8}


def sweep(out=None, optimizers=(jl.sgd, jl.momentum), **changes):
    return jl.sweep(list(optimizers), jl.tasks.breast_cancer(**TASK), SPACE, out=out, **(OPTIONS | changes))
