"""A sweep of the digits network with another checkout's package, for models.py: a line of input is one, timed.

Arguments: the checkout, trials, seeds, steps. PYTHONPATH names the checkout, so that its package is imported.
"""

import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).parents[1]))  # where `measuring` is

import numpy as np
from measuring import timing
from measuring.handwritten import digits

import jaxopt_lab as jl

WIDTH = 32


def main() -> None:
    checkout, *numbers = sys.argv[1:]
    if Path(checkout).resolve() not in Path(jl.__file__).resolve().parents:
        raise RuntimeError(f"jaxopt_lab was imported from {jl.__file__}, not from {checkout}")
    trials, seeds, steps = map(int, numbers)
    space = {"learning_rate": np.geomspace(1e-4, 1e-1, trials // seeds).astype("float32")}
    for _ in sys.stdin:
        print(
            timing.once(lambda: jl.sweep(jl.adam, digits(WIDTH), space, steps=steps, seeds=seeds) and None), flush=True
        )


if __name__ == "__main__":
    main()
