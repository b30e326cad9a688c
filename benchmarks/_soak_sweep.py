"""The sweep that `soak.py` kills: python _soak_sweep.py FOLDER [CHECKPOINT]"""

import sys

import jaxopt_lab as jl


def sweep(folder: str | None = None, checkpoint: float | None = None) -> jl.Results:
    """Two optimizers on the digits network, halved twice: a dozen seconds on two cores."""
    return jl.sweep(
        [jl.adam, jl.momentum],
        jl.tasks.digits_mlp(width=16),
        {"learning_rate": jl.log(1e-4, 1.0, 64)},
        steps=1600,
        seeds=2,
        record=4,
        evaluate=50,
        stop=jl.halving(4, min_steps=100),
        out=folder,
        checkpoint=checkpoint,
    )


if __name__ == "__main__":
    sweep(sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else None)
