"""What does population-based training cost, over a plain sweep? Run: python benchmarks/speed/population.py

A population of a thousand digits networks (width 32, batch 64), Adam with learning rates of their own, 1,000 steps; at
every hundredth step a quarter of the members continue from the best. The same sweep without the rule is timed in
turns, warm. `rate`: trial-steps/s of the population over those of the plain sweep; 0.85 is the aim.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).parents[1]))  # where `measuring` is

import numpy as np
from measuring import timing
from measuring.compare import ranged, spread
from measuring.handwritten import digits

import jaxopt_lab as jl

WAYS = {"plain": False, "population": True}


def train(trials: int, steps: int, interval: int, evolves: bool) -> None:
    """Train all members, with the rule or without."""
    rule = jl.pbt(interval=interval, perturb="learning_rate") if evolves else None
    jl.sweep(jl.adam, digits(32), {"learning_rate": np.geomspace(1e-4, 1e-1, trials)}, steps=steps, stop=rule)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--interval", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    once = lambda way: timing.once(lambda: train(options.trials, options.steps, options.interval, WAYS[way]))
    first = {way: round(once(way), 2) for way in WAYS}
    turns = [{way: once(way) for way in WAYS} for _ in range(options.repeats)]
    seconds = {way: spread(turn[way] for turn in turns) for way in WAYS}
    rate = spread(turn["plain"] / turn["population"] for turn in turns)
    print(f"{ranged(rate, '.3f')} of the rate of the plain sweep ({ranged(seconds['plain'], '.2f')} s)")
    print(timing.save("population", vars(options) | {"first": first, "seconds": seconds, "rate": rate}))


if __name__ == "__main__":
    main()
