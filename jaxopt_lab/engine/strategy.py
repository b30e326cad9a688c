"""Strategies: how the trials of one structure run: the loop, the size of chunks, the number of cores."""

import dataclasses
from collections.abc import Mapping
from typing import Any

LOOPS = ("scan", "steps")
STRATEGIES = ("scan", "steps", "scan_each", "steps_each")


@dataclasses.dataclass(frozen=True)
class Strategy:
    """How the trials of one structure run.

    Attributes:
        loop: "scan": a segment is one compiled loop; "steps": the host calls a compiled step repeatedly, which costs
            one call per step, and pays where the compiler optimises a loop's body less well than the same code alone.
        seeds: The seeds of a chunk.
        configs: The configurations of a chunk. With one seed and one configuration, each trial runs alone.
        own: Whether every trial multiplies its own copy of the batch by its parameters. Otherwise a seed's
            configurations share one batch: a single large product, whose results have another layout than parameters.
        one_core: Whether a chunk uses only one core of the CPU, since there are enough chunks for all cores.
        rewrite: Whether the loss is rewritten to operations that this machine runs faster: see `jaxopt_lab.rewrite`.
        evaluated, examples: How many trials are evaluated at once, on how many held-out examples at once; 0: all.

    """

    loop: str
    seeds: int
    configs: int
    own: bool = False
    one_core: bool = False
    rewrite: bool = False
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
            return f"{self.loop}, each trial alone" + (", rewritten" if self.rewrite else "")
        ways = (", own batches" if self.own else "") + (", rewritten" if self.rewrite else "")
        return f"{self.loop} of {self.seeds} x {self.configs}{ways}"


def stored_strategy(table: Mapping[str, Any]) -> Strategy | None:
    """Read a strategy from a table that `dataclasses.asdict` made, from an untrusted file; None where it is invalid."""
    match table:
        case {
            "loop": str(loop),
            "seeds": int(seeds),
            "configs": int(configs),
            "own": bool(own),
            "one_core": bool(core),
            "rewrite": bool(rewrite),
            "evaluated": int(evaluated),
            "examples": int(examples),
        }:
            counts = 0 < seeds < 2**24, 0 < configs < 2**24, 0 <= evaluated < 2**48, 0 <= examples < 2**48
            if loop in LOOPS and all(counts) and len(table) == 8:
                return Strategy(loop, seeds, configs, own, core, rewrite, evaluated, examples)
    return None
