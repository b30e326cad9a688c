"""Optuna's samplers as methods of search, by its ask-and-tell interface (Optuna 5).

Each configuration is a trial of a study that minimises. A batch is asked for trial by trial before any is told, which
samplers count in: TPE takes running trials for bad ones ("constant liar"), and a generation of CMA-ES has the size of a
batch. A diverged trial is told as infinite, one that a rule ended as pruned at its last value.
"""

import copy
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxopt_lab.checking import check_count, check_known, quoted
from jaxopt_lab.errors import ArgumentTypeError
from jaxopt_lab.labels import label
from jaxopt_lab.search.methods import SearchMethod
from jaxopt_lab.sweep.ranges import Range
from jaxopt_lab.sweep.search_space import Dimension, SearchSpace

SAMPLERS = ("tpe", "cmaes", "qmc", "gp")


class Optuna(SearchMethod):
    """See `optuna`."""

    def __init__(self, sampler: Any, seed: int, storage: Any):
        self._sampler, self._seed, self._storage = sampler, seed, storage

    def __deepcopy__(self, memo: dict[int, Any]) -> "Optuna":
        return Optuna(copy.deepcopy(self._sampler, memo), self._seed, self._storage)  # the storage is shared

    def start(self, space: SearchSpace, seed: int) -> None:
        self._space, self._study, self._trials = space, None, []
        self._drawn = int(np.random.SeedSequence([self._seed, seed]).generate_state(1)[0])
        self._names = [_named(space, at) for at in range(len(space))]

    def ask(self, n: int) -> list[dict[str, Any]]:
        if self._study is None:
            self._study = _study(self._made(n), self._storage)
        self._trials, found = [], []
        for _ in range(n):
            self._trials.append(self._study.ask())
            found.append(self._suggested(self._trials[-1]))
        return found

    def tell(self, configurations: Sequence[Mapping[str, Any]], losses: np.ndarray, statuses: Sequence[str]) -> None:
        from optuna.trial import TrialState  # pyright: ignore[reportMissingImports]

        assert self._study is not None
        for trial, loss, status in zip(self._trials, losses.tolist(), statuses, strict=True):
            if status == "stopped":
                trial.report(loss, 1)
                self._study.tell(trial, state=TrialState.PRUNED)
            else:
                self._study.tell(trial, loss)

    def _made(self, batch: int) -> Any:
        """Return the sampler, made for batches of this size where it was given by name."""
        from optuna import samplers  # pyright: ignore[reportMissingImports]

        options: dict[str, Any]
        seed, conditional = self._drawn, any(one.branch is not None for one in self._space.dimensions)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of options that Optuna calls experimental
            match self._sampler:
                case "tpe":
                    options = {"multivariate": True, "constant_liar": True, "group": conditional}
                    return samplers.TPESampler(seed=seed, **options)
                case "cmaes":
                    least = 4 + math.floor(3 * math.log(max(1, len(self._space))))  # Hansen's default
                    return samplers.CmaEsSampler(seed=seed, popsize=max(batch, least), warn_independent_sampling=False)
                case "qmc":
                    options = {"warn_independent_sampling": False, "warn_asynchronous_seeding": False}
                    return samplers.QMCSampler(seed=seed, scramble=True, **options)
                case "gp":
                    return samplers.GPSampler(seed=seed)
        return self._sampler

    def _suggested(self, trial: Any) -> dict[str, Any]:
        """Let Optuna suggest each hyperparameter that the choices before leave."""
        found: dict[str, Any] = {}
        chosen: list[int] = []
        for called, one in zip(self._names, self._space.dimensions, strict=True):
            there = one.branch is None or chosen[one.branch[0]] == one.branch[1]
            chosen.append(-1)
            if not there:
                continue
            if isinstance(one.values, Range):
                found[one.name] = _number(trial, called, one.values)
            else:
                several = len(one.values) > 1
                chosen[-1] = trial.suggest_categorical(called, list(range(len(one.values)))) if several else 0
                found[one.name] = one.values[chosen[-1]]
        return found


def optuna(sampler: Any = "tpe", seed: int = 0, *, storage: Any = None) -> Optuna:
    """Let one of Optuna's samplers suggest the configurations of `jl.search`.

        results = jl.search(jl.adam, task, jl.prior(jl.adam), method=jl.optuna("tpe"), steps=1000)

    Args:
        sampler: "tpe" (multivariate, with constant liar), "cmaes" (needs the package cmaes; it draws choices and
            spaces of one hyperparameter at random), "qmc", "gp" (needs PyTorch), or a sampler object of Optuna, which
            keeps its own seed.
        seed: The seed of a sampler that is given by name, beside the key of the search.
        storage: Where Optuna keeps the study, for its dashboard: as for `optuna.create_study`. By default in memory.
            Each call of `jl.search` makes a new study for each optimizer; a search resumes from its run folder, not
            from the storage.

    Raises:
        TypeError, ValueError: It is not a sampler.
        ImportError: Optuna is not installed.

    """
    try:
        with warnings.catch_warnings():
            # In a notebook without ipywidgets, tqdm warns that Optuna's progress bar, which is not used, has no widget.
            warnings.filterwarnings("ignore", message="IProgress not found")
            from optuna.samplers import BaseSampler  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ImportError("jl.optuna needs Optuna: python -m pip install 'jaxopt_lab[optuna]'.") from None
    if isinstance(sampler, str):
        check_known("sampler of Optuna:", sampler, SAMPLERS)
    elif not isinstance(sampler, BaseSampler):
        names = ", ".join(map(repr, SAMPLERS))
        raise ArgumentTypeError(f"jl.optuna takes {names} or a sampler object of Optuna, got {quoted(sampler)}.")
    return Optuna(sampler, check_count("seed", seed, least=0), storage)


def _study(sampler: Any, storage: Any) -> Any:
    import optuna  # pyright: ignore[reportMissingImports]

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it would report the new study
    try:
        return optuna.create_study(sampler=sampler, storage=storage, direction="minimize")
    finally:
        optuna.logging.set_verbosity(before)


def _named(space: SearchSpace, at: int) -> str:
    """Return what Optuna calls a dimension; one that several branches have is named by its branch too."""
    one = space.dimensions[at]
    if one.branch is None or sum(other.name == one.name for other in space.dimensions) == 1:
        return one.name
    choice: Dimension = space.dimensions[one.branch[0]]
    assert not isinstance(choice.values, Range)
    return f"{one.name} ({_named(space, one.branch[0])}={label(choice.values[one.branch[1]])})"


def _number(trial: Any, called: str, values: Range) -> float:
    """Let Optuna suggest a number of a range in the range's own spacing."""
    low, high, log = values.low, values.high, values.spacing == "log"
    if low == high:
        return low
    if values.integer:
        return float(trial.suggest_int(called, int(low), int(high), log=log))
    if values.spacing == "one_minus":
        return min(max(1 - trial.suggest_float(f"1 - {called}", 1 - high, 1 - low, log=True), low), high)
    return trial.suggest_float(called, low, high, log=log)
