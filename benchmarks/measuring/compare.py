"""Several ways to train the same model, timed in turns, and the ratio of our rate to each, turn by turn."""

import os
import statistics
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

from measuring import timing

OURS = "jaxopt_lab"

# What sweeps remember on disk starts empty: a first call compiles and measures, and warm ones find what it left.
_fresh = tempfile.TemporaryDirectory(prefix="jaxopt_lab-")
os.environ["JAXOPT_LAB_CACHE"] = _fresh.name


class Way(NamedTuple):
    """One way to train, and how many trial-steps a call of it takes. Ways may take different amounts of work."""

    run: Callable[[], Any]
    trial_steps: int
    first: float | None = None  # seconds of its first call, if that has been already


def compare(
    ways: Mapping[str, Way],
    repeats: int,
    limits: Mapping[str, Callable[[], float]] | None = None,
    own: Collection[str] = (),
) -> dict[str, Any]:
    """Time all ways in turns, one of which is `OURS`.

    Args:
        ways: The ways to time, by name.
        repeats: The number of turns, after each way's first call.
        limits: Limits of the machine, by name: functions that measure trial-steps/s, called once per turn.
        own: Ways that are ours too, and so no peers.

    Returns:
        `ways`: by name, the seconds of the `first` call (which compiles) and of the warm ones, the rate, and `ratio`,
        our rate over this way's in the same turn. `best_peer`: the fastest of the others by its median. `limits`, where
        some are given: by name, its `rate`, and our `share` of it. Warm seconds, rates, ratios, shares are `spread`s.

    """
    limits = limits or {}
    first = {name: timing.once(way.run) for name, way in ways.items()}
    first |= {name: way.first for name, way in ways.items() if way.first is not None}
    turns, allowed, order = [], [], list(ways)
    for _ in range(repeats):
        turns.append({name: timing.once(ways[name].run) for name in order})
        order = [*order[1:], order[0]]  # who comes after the heaviest finds a hot machine: not always the same
        allowed.append({name: limit() for name, limit in limits.items()})
    rates = {name: [way.trial_steps / turn[name] for turn in turns] for name, way in ways.items()}
    rows = {
        name: {
            "trial_steps": way.trial_steps,
            "first": first[name],
            "seconds": spread(turn[name] for turn in turns),
            "trial_steps_per_second": spread(rates[name]),
            "ratio": spread(ours / rate for ours, rate in zip(rates[OURS], rates[name], strict=True)),
        }
        for name, way in ways.items()
    }
    peers = [name for name in ways if name not in (OURS, *own)]
    compared: dict[str, Any] = {"best_peer": max(peers, key=lambda n: statistics.median(rates[n])), "ways": rows}
    if limits:
        shares = {name: [rate / turn[name] for rate, turn in zip(rates[OURS], allowed, strict=True)] for name in limits}
        compared["limits"] = {
            name: {"rate": spread(turn[name] for turn in allowed), "share": spread(shares[name])} for name in limits
        }
    return compared


def spread(values: Iterable[float]) -> dict[str, float]:
    """Return median, least and most, in five digits."""
    values = sorted(values)
    found = {"median": statistics.median(values), "least": values[0], "most": values[-1]}
    return {name: float(f"{value:.5g}") for name, value in found.items()}


def show(label: str, compared: Mapping[str, Any]) -> None:
    """Print one line per way; a star marks the fastest of the others."""
    for name, row in compared["ways"].items():
        star = "*" if name == compared["best_peer"] else " "
        ratio = "" if name == OURS else f", ours {ranged(row['ratio'], '.2f')} times that"
        rate = ranged(row["trial_steps_per_second"], ",.0f")
        print(f"{label} {star} {name}: {rate} trial-steps/s{ratio}; first call {row['first']:.1f} s", flush=True)


def ranged(found: Mapping[str, float], form: str) -> str:
    """Format a spread: 1.52 (1.48 to 1.60)."""
    return f"{found['median']:{form}} ({found['least']:{form}} to {found['most']:{form}})"
