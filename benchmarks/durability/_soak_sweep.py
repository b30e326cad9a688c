"""The sweep that `soak.py` kills: python _soak_sweep.py FOLDER CHECKPOINT PROGRESS, each after the folder or "-"."""

import sys

import jaxopt_lab as jl

RUNGS = (100, 400, 1600)  # where its stages end
TRIALS = (16, 16, 8)  # of a chunk, stage by stage
CHUNKS_AT_ONCE, SEGMENT = 2, 50


def sweep(folder: str | None = None, checkpoint: float | None = None, progress: str | None = None) -> jl.Results:
    """Two optimizers on the digits network, halved twice.

    Args:
        folder: Its run folder.
        checkpoint: As `jl.sweep` takes it.
        progress: A file that is told, line by line, how many trial-steps have been made.

    """
    lines = open(progress, "w", buffering=1) if progress else None  # noqa: SIM115  # as long as the process lives
    return jl.sweep(
        [jl.adam, jl.momentum],
        jl.tasks.digits_mlp(width=16),
        {"learning_rate": jl.log(1e-4, 1.0, 64)},
        steps=RUNGS[-1],
        seeds=2,
        record=4,
        evaluate=SEGMENT,
        stop=jl.halving(4, min_steps=RUNGS[0]),
        chunk=TRIALS[0],
        out=folder,
        checkpoint=checkpoint,
        progress=(lambda p: print(p.trial_steps, file=lines)) if lines else False,
    )


if __name__ == "__main__":
    sweep(sys.argv[1], None if sys.argv[2] == "-" else float(sys.argv[2]), sys.argv[3])
