"""Search spaces: which hyperparameters to vary, and the resulting table of configurations.

A space is a mapping from hyperparameter names to numbers, lists, arrays, ranges or `static` values; by itself it means
the product of all its values. `zipped`, `random` and `sobol` combine the same mapping in other ways.
"""

import itertools
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxopt_lab.checking import MOST, check_count, quoted
from jaxopt_lab.engine.configurations import Configurations
from jaxopt_lab.errors import ArgumentTypeError, ArgumentValueError, Code
from jaxopt_lab.labels import label, same
from jaxopt_lab.sweep.hyperparameter import Static, described, values_of
from jaxopt_lab.sweep.search_space import SearchSpace
from jaxopt_lab.sweep.values import check_mapping, is_key
from jaxopt_lab.types import Key, random_key

Space = Mapping[str, Any] | Configurations


def zipped(space: Mapping[str, Any]) -> Configurations:
    """Combine the i-th values of all hyperparameters into configuration i; a single value applies to all.

    Raises:
        ValueError: The lists differ in length.

    """
    check_mapping("jl.zipped", space)
    lists = {name: values_of(name, value) for name, value in space.items()}
    lengths = {name: len(values) for name, values in lists.items() if len(values) > 1}
    if len(set(lengths.values())) > 1:
        raise ArgumentValueError(Code("jl.zipped", "zipped"), f" needs lists of one length, got {lengths}.")
    count = max(lengths.values(), default=1)
    columns = {name: values * count if len(values) == 1 else values for name, values in lists.items()}
    return _table(space, columns, "zipped")


def random(space: Mapping[str, Any], n: int, key: Key | int) -> Configurations:
    """Draw `n` random configurations: uniform in a `linear` range, log-uniform in a `log` range, one item of a list.

    Args:
        space: As for a product; ranges need no count.
        n: The number of configurations, >= 1.
        key: A JAX random key, or an integer to make one from.

    """
    check_mapping("jl.random", space)
    n = check_count("n of jl.random", n, most=MOST)
    key = key if is_key(key) else random_key(check_count("key of jl.random", key, least=0))
    found = SearchSpace(space)
    return _drawn(found, np.asarray(jax.random.uniform(key, (n, len(found))), float), "random")


def sobol(space: Mapping[str, Any], n: int, key: int = 0) -> Configurations:
    """Draw `n` configurations from a scrambled Sobol sequence, which fills the space more evenly than random draws.

    A power of two is best. Uses SciPy's `scipy.stats.qmc.Sobol` (Owen scrambling,
    https://doi.org/10.1137/S0036142997327846).

    Args:
        space: As for a product; ranges need no count.
        n: The number of configurations, >= 1.
        key: The random key of the scrambling, an integer >= 0.

    """
    check_mapping("jl.sobol", space)
    n, key = check_count("n of jl.sobol", n, most=MOST), check_count("key of jl.sobol", key, least=0)
    from scipy.stats import qmc

    found = SearchSpace(space)
    points = qmc.Sobol(max(len(found), 1), rng=np.random.default_rng(key)).random_base2(math.ceil(math.log2(n)))
    return _drawn(found, points[:n], "sobol")


def configurations(space: Space) -> Configurations:
    """Return the table of a space: the product of its values, the last name varying fastest.

    A table is returned unchanged. A repeated value counts once, with a warning.

    Raises:
        TypeError: The space is not a mapping, or a value is not a number where one is needed.
        ValueError: A list is empty, a number is not finite, or there would be more than 4,194,304 configurations.

    """
    if isinstance(space, Configurations):
        return space
    if not isinstance(space, Mapping):
        raise ArgumentTypeError(
            f"A space is a dict of hyperparameters, or jl.zipped, jl.random or jl.sobol; got {quoted(space)}."
        )
    lists = {name: _once(name, value) for name, value in space.items()}
    if (count := math.prod(map(len, lists.values()))) > MOST:
        raise ArgumentValueError(
            f"The space has {count:,} configurations, more than {MOST:,}. Sample it, or sweep it in parts."
        )
    rows = list(itertools.product(*lists.values()))
    return _table(space, {name: [row[i] for row in rows] for i, name in enumerate(lists)}, "product")


def _once(name: str, value: Any) -> list[Any]:
    """Return a hyperparameter's values without repetitions, which would repeat trials; warns of them."""
    values, once, repeated = values_of(name, value), [], []
    if not isinstance(value, Static):
        once = list(dict.fromkeys(values))
        repeated = [number for number in once if values.count(number) > 1] if len(once) < len(values) else []
    else:
        for structural in values:
            known = any(same(structural, other) for other in once)
            (repeated if known else once).append(structural)
    if repeated:
        listed = ", ".join(dict.fromkeys(map(label, repeated[:8]))) + (", ..." if len(repeated) > 8 else "")
        warnings.warn(f"{name} has {listed} more than once: each value is run once.", UserWarning, stacklevel=2)
    return once


def _table(space: Mapping[str, Any], columns: Mapping[str, Sequence[Any]], kind: str) -> Configurations:
    names = frozenset(name for name, value in space.items() if isinstance(value, Static))
    return Configurations(dict(columns), names, kind, {name: described(name, v) for name, v in space.items()})


def _drawn(space: SearchSpace, unit: np.ndarray, kind: str) -> Configurations:
    if not len(space):
        raise ArgumentValueError(Code(f"jl.{kind}", kind), " has nothing to draw from: the space is empty.")
    return Configurations(space.columns(unit), space.static, kind, space.described)
