"""How the trials of one structure run: by which loop, how many at once, on how much of the machine."""

import dataclasses
from collections.abc import Mapping
from typing import Any

LOOPS = ("scan", "steps")
STRATEGIES = ("scan", "steps", "scan_each", "steps_each")


@dataclasses.dataclass(frozen=True)
class Strategy:
    """How the trials of one structure run.

    Attributes:
        loop: "scan": a segment is one compiled loop; "steps": the host calls a compiled step again and again, which
            costs a call a step, and pays where the compiler makes less of a loop's body than of the same code alone.
        seeds: Of a chunk.
        configs: Of a chunk. One seed and one configuration: each trial runs alone.
        own: Whether every trial takes a copy of its batch, and multiplies it by its own parameters. Otherwise a seed's
            configurations share one: a single large product, whose results lie apart from where parameters do.
        one_core: Whether a chunk keeps to one core of the CPU, since there are chunks enough for all of them.
        evaluated, examples: How many trials are evaluated at once, on how many held-out examples at once; 0: all.

    """

    loop: str
    seeds: int
    configs: int
    own: bool = False
    one_core: bool = False
    evaluated: int = 0
    examples: int = 0

    @property
    def shape(self) -> tuple[int, int]:
        return self.seeds, self.configs

    @property
    def trials(self) -> int:
        return self.seeds * self.configs

    def __str__(self) -> str:
        if self.trials == 1:
            return f"{self.loop}, each trial alone"
        return f"{self.loop} of {self.seeds} x {self.configs}" + (", own batches" if self.own else "")


def stored_strategy(table: Mapping[str, Any]) -> Strategy | None:
    """The strategy that `dataclasses.asdict` made the table of, in a file of whatever origin; None where it is none."""
    match table:
        case {
            "loop": str(loop),
            "seeds": int(seeds),
            "configs": int(configs),
            "own": bool(own),
            "one_core": bool(core),
            "evaluated": int(evaluated),
            "examples": int(examples),
        }:
            counts = 0 < seeds < 2**24, 0 < configs < 2**24, 0 <= evaluated < 2**48, 0 <= examples < 2**48
            if loop in LOOPS and all(counts) and len(table) == 7:
                return Strategy(loop, seeds, configs, own, core, evaluated, examples)
    return None
