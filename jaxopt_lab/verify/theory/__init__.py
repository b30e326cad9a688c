"""Theory and published figures, computed live: each check is one file, with its derivation."""

import time
from collections.abc import Callable, Iterator

import jax

from jaxopt_lab.verify.finding import Finding as Finding
from jaxopt_lab.verify.theory import (
    adam_limits,
    certified,
    counterexample,
    deepobs,
    edge_of_stability,
    generalisation,
    noisy_quadratic,
    quasi_newton,
    rates,
    stability,
    stationary,
    tutorial,
    worst_case,
)

CHECKS: dict[str, Callable[[], list[Finding]]] = {
    "stability": stability.check,
    "rates": rates.check,
    "worst_case": worst_case.check,
    "stationary": stationary.check,
    "noisy_quadratic": noisy_quadratic.check,
    "adam_limits": adam_limits.check,
    "quasi_newton": quasi_newton.check,
    "counterexample": counterexample.check,
    "generalisation": generalisation.check,
    "edge_of_stability": edge_of_stability.check,
    "deepobs": deepobs.check,
    "certified": certified.check,
    "tutorial": tutorial.check,
}
"""The checks by name; each takes optimizers as arguments, so that a test can give it a wrong one."""


def measured(names: list[str]) -> Iterator[tuple[str, list[Finding], float]]:
    """Compute checks one by one, in double precision: yields name, findings and seconds."""
    for name in names:
        began = time.perf_counter()
        with jax.enable_x64(True):
            findings = CHECKS[name]()
        yield name, findings, time.perf_counter() - began
