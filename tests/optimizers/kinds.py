"""The methods that stand for their kind where a test asks all methods the same question about types or wrappers.

What a method computes is held to records, twins and derivations, one method at a time, in every run. Whether a tensor
of another type or a wrapper of Optax's changes that depends on the parts that methods share, so a default run asks one
method of each kind, and `pytest -m thorough` asks the others.
"""

import pytest

import jaxopt_lab as jl
from jaxopt_lab.verify.optimizers.cases import METHODS

KINDS = frozenset(
    {
        *("sgd", "momentum", "adam", "adamw", "lion", "rmsprop", "rprop", "adafactor", "lamb", "came", "adopt"),
        *("schedule_free_adamw", "prodigy", "polyak_sgd", "lbfgs", "sam", "sophia", "noisy_sgd", "galore"),
        *("muon", "normuon", "dion", "scion", "soap", "shampoo", "psgd_kron", "mars", "adam_mini"),
    }
)
assert set(jl.OPTIMIZERS) >= KINDS, f"there is no {sorted(KINDS - set(jl.OPTIMIZERS))}"


def by_kind(names):
    """Return names of methods as parameters, those that do not stand for a kind marked as thorough."""
    return [name if name in KINDS else pytest.param(name, marks=pytest.mark.thorough) for name in names]


each_kind = pytest.mark.parametrize("name", by_kind(jl.OPTIMIZERS))
each_kinds_row = pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=() if name in KINDS else pytest.mark.thorough, id=name)
        for name, case in METHODS.items()
    ],
)
