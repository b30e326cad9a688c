"""Spec files: a run of several optimizers on several tasks, as TOML.

    name = "first-look"            # the run's name; by default the file's
    steps = 500                    # the budget of each trial; or { epochs = 10 } or { examples = 50_000 }
    seeds = 5                      # a count, or a list; by default 1
    target = 0.01                  # likewise tolerance, record, evaluate and the other options of `sweep`
    stop = { halving = { min_steps = 50 } }  # or hyperband, median_stop or plateau, with their arguments
    confirm = { seeds = 20, top = 3 }  # a verdict on the best three optimizers, by 20 fresh seeds; top may be left out

    [search]                       # search the spaces in rounds, instead of sweeping their product
    method = "optuna:tpe"          # or random, sobol, optuna:cmaes, ...
    budget = 256                   # configurations of each optimizer
    batch = 32                     # of a round

    [tasks.linear_regression]      # a table for each task, with arguments of its function, or empty
    batch_size = 10
    [tasks.digits_mlp]

    [space]                        # hyperparameters of every optimizer
    learning_rate = { log = [1e-5, 10.0, 32] }

    [optimizers.adam]              # a table for each optimizer: its own hyperparameters, which override the space's
    b1 = [0.9, 0.95]
    [optimizers.momentum]
    nesterov = { static = [true, false] }
    [optimizers."optax:adabelief"] # one of Optax's, or "package.module:function", which returns an (init, update) pair

A hyperparameter is a number, a list, `{ log = [low, high, count] }`, `{ linear = ... }`, `{ one_minus = ... }`, or
`{ static = [...] }` for structural values; `{ log = [1, 100], integer = true }` has whole numbers; "task.NAME" is an
argument of the task. TOML has no null: in static values and in arguments of tasks, the string "none" stands for None.
Configurations are the product of all values. At the top level, `combine = "zipped"` combines the i-th values instead;
`sample = { random = 100, key = 0 }` or `{ sobol = 64, key = 0 }` draws that many, and ranges then need no count, as
for a search. Where values are drawn, a choice may have hyperparameters of its own:
`nesterov = { choice = [{ value = true, momentum = { linear = [0.5, 0.99] } }, { value = false }] }`.
"""

import contextlib
import dataclasses
import functools
import re
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any, NoReturn

from jaxopt_lab.checking import check_count, check_known
from jaxopt_lab.cli.toml import key_lines, loaded
from jaxopt_lab.cli.values import budget, checked_argument, hyperparameter, of_a_stranger, plain, stop_rule
from jaxopt_lab.engine.configurations import Configurations
from jaxopt_lab.errors import ArgumentError
from jaxopt_lab.search.request import OWN, SearchRequest
from jaxopt_lab.sweep import space
from jaxopt_lab.sweep.arguments import addressed
from jaxopt_lab.sweep.checks import check_hyperparameters
from jaxopt_lab.sweep.options import options
from jaxopt_lab.sweep.planning import planned
from jaxopt_lab.sweep.request import Request
from jaxopt_lab.sweep.space import configurations
from jaxopt_lab.tasks import TASKS
from jaxopt_lab.tasks.names import TASK_PREFIX
from jaxopt_lab.tasks.task import Task, remake

REQUIRED = ("steps", "tasks", "optimizers")
OPTIONS = {name: option for name, option in options(Request).items() if option.in_spec}
# Conversions of values that the file writes differently from Python.
READ: Mapping[str, Callable[[Any], Any]] = {"steps": budget, "stop": stop_rule, "diverged_above": plain}
KEYS = ("name", *OPTIONS, "confirm", "search", "tasks", "space", "optimizers", "sample", "combine")
MOST_SAID = 4000  # characters of an error, which may quote the spec
MISTAKES = (TypeError, ValueError, OverflowError)  # the last where an integer of the file is larger than any float


class SpecError(ValueError):
    """An error in a spec, with its file and line."""


@dataclasses.dataclass(frozen=True)
class Spec:
    """A spec whose names and values have all been checked."""

    name: str  # of the run
    text: str  # the TOML text
    tasks: Mapping[str, Task]  # by name
    spaces: Mapping[str, Any]  # by optimizer: tables of configurations, or what a search draws from
    tables: Mapping[str, Configurations]  # likewise, of a search as many even draws as its first round has
    options: Mapping[str, Any]  # further arguments of `sweep`: steps, seeds, ...
    source: str  # where the text was read from, for errors
    given: Mapping[str, Any]  # the options that replace the spec's
    confirm: Mapping[str, int] | None = None  # arguments of `results.confirm`
    search: Mapping[str, Any] | None = None  # the options of a search that a sweep does not have


def parse(text: str, source: str, given: Mapping[str, Any] | None = None, imports: bool = True) -> Spec:
    """Read a spec and check all of it, so that no error in it appears only after programs have compiled.

    Args:
        text: TOML.
        source: What errors call it, for example the file's path.
        given: Further arguments of `sweep`, already checked, that replace the spec's.
        imports: Whether "package.module:function" may be imported; not where the text may not be the user's own.

    Raises:
        SpecError: The text is not TOML, or a name, type or value in it is wrong.

    """
    try:
        document = loaded(text)
    except ValueError as error:
        found = re.search(r"\s*\(at (?:line (\d+), column \d+|end of document)\)$", str(error))
        line = found[1] if found and found[1] else text.count("\n") + 1
        raise SpecError(f"{source}:{line}: {str(error)[: found.start()] if found else error}.") from None
    return _Reader(text, source, document, given or {}, imports).spec()


class _Reader:
    """Reads one document; knows the line of each of its keys."""

    def __init__(
        self, text: str, source: str, document: dict[str, Any], given: Mapping[str, Any], imports: bool = True
    ):
        self.text, self.source, self.document, self.given = text, source, document, given
        self.addressed = addressed if imports else of_a_stranger
        self.lines = key_lines(text)
        self.searched: dict[str, dict[str, Any]] = {}  # by optimizer, what a search draws from

    def spec(self) -> Spec:
        document, chosen, arguments = self.document, {}, {}
        for key in document:
            with self.at(key):
                check_known("key", key, KEYS)
        if missing := [key for key in REQUIRED if key not in document]:
            self.fail((), f"{missing[0]} is missing. A spec needs {', '.join(REQUIRED)}.")
        name = document.get("name", PurePath(self.source).stem)
        if not isinstance(name, str) or not name.isprintable() or not re.fullmatch(r"[^/\\.][^/\\]*", name):
            self.fail(("name",), f"name must be a string that can name a folder, got {name!r}.")
        for key in [key for key in OPTIONS if key in document]:
            with self.at(key):
                chosen[key] = OPTIONS[key].check(READ.get(key, lambda raw: raw)(document[key]))
        for task, table in self.tables("tasks", functools.partial(check_known, "task", known=TASKS)).items():
            arguments[task] = {}
            for argument, raw in table.items():
                with self.at("tasks", task, argument):
                    arguments[task][argument] = checked_argument(task, argument, plain(raw))
        search = self.search()
        tables, chosen, confirm = self.tables_of(search), chosen | dict(self.given), document.get("confirm")
        with self.at("confirm"):
            confirm = None if confirm is None else _confirm(confirm)
        tasks, spaces = self.tasks(arguments, tables, chosen), self.searched or tables
        return Spec(name, self.text, tasks, spaces, tables, chosen, self.source, dict(self.given), confirm, search)

    def search(self) -> dict[str, Any] | None:
        """Return the options of a search; None where there is none."""
        raw, known = self.document.get("search"), options(SearchRequest)
        if raw is None:
            return None
        with self.at("search"):
            if not isinstance(raw, dict):
                raise TypeError(f"search must be a table of {', '.join(OWN)}, got {raw!r}.")
            if both := [key for key in ("sample", "combine") if key in self.document]:
                raise ValueError(f"search and {both[0]} exclude each other: leave one out.")
        found = {}
        for key, value in raw.items():
            with self.at("search", key):
                check_known("key in search:", key, OWN)
                found[key] = known[key].check(value)
        return {key: known[key].default for key in ("budget", "batch")} | found

    def tables_of(self, search: Mapping[str, Any] | None) -> dict[str, Configurations]:
        """Return the table of each optimizer; of a search, as many even draws as its first round has."""
        combine, common = self.combination(), self.document.get("space", {})
        if search is not None:
            combine = functools.partial(space.sobol, n=min(search["budget"], search["batch"]))
        if not isinstance(common, dict):
            self.fail(("space",), f"space must be a table, got {common!r}.")
        spaces = {}
        for name, table in self.tables("optimizers", self.addressed).items():
            values = {}
            for column, raw in (common | table).items():
                with self.at(*self.place(name, column)):
                    values[column] = hyperparameter(column, raw)
                    combine({column: values[column]})  # separately first, so that an error has the column's own line
            with self.at("space", name):
                spaces[name] = combine(values) if values or search else configurations({})
                self.searched |= {name: values} if search else {}
                check_hyperparameters(name, addressed(name), spaces[name])
        return spaces

    def place(self, optimizer: str, column: str) -> tuple[str, ...]:
        """Return the path of an optimizer's hyperparameter: in its own table, or in the common one."""
        own = column in self.document["optimizers"][optimizer]
        return ("optimizers", optimizer, column) if own else ("space", column)

    def combination(self) -> Callable[[dict[str, Any]], Configurations]:
        kind, sample = self.document.get("combine", "product"), self.document.get("sample")
        with self.at("combine"):
            check_known("combine", kind, ("product", "zipped"))
            if sample is not None and "combine" in self.document:
                raise ValueError("combine and sample exclude each other: leave one out.")
        if sample is None:
            return space.zipped if kind == "zipped" else configurations
        with self.at("sample"):
            kinds = [k for k in ("random", "sobol") if isinstance(sample, dict) and k in sample]
            if len(kinds) != 1:
                raise ValueError(f"sample must be {{ random = COUNT }} or {{ sobol = COUNT }}, got {sample!r}.")
            for name in sample:
                check_known("key in sample:", name, (*kinds, "key"))
            n, key = check_count(kinds[0], sample[kinds[0]]), check_count("key", sample.get("key", 0), least=0)
        return lambda values: getattr(space, kinds[0])(values, n, key)

    def tasks(self, arguments: dict[str, dict[str, Any]], spaces: dict[str, Configurations], options: dict[str, Any]):
        """Make every task and plan its sweep. The sweep does not make it again: equal tasks are cached."""
        tasks = {}
        for name, given in arguments.items():
            with self.at("tasks", name):
                tasks[name] = remake(TASKS[name], given)
            for optimizer, table in spaces.items():
                for column in [c for c in table.static if c.startswith(TASK_PREFIX)]:
                    with self.at(*self.place(optimizer, column)):
                        for value in table.present(column):
                            checked_argument(name, column.removeprefix(TASK_PREFIX), value)
            with self.at(task=name):
                _plan(tasks[name], spaces, options)
        return tasks

    def tables(self, key: str, check: Callable[[str], Any]) -> dict[str, dict[str, Any]]:
        """Return the tables under `key`, whose names `check` accepts."""
        tables = self.document[key]
        if not isinstance(tables, dict) or not tables:
            self.fail((key,), f"{key} must be tables: write [{key}.NAME] for each, got {tables!r}.")
        for name, table in tables.items():
            with self.at(key, name):
                check(name)
                if not isinstance(table, dict):
                    raise TypeError(f"{name} must be a table: write [{key}.{name}], got {table!r}.")
        return tables

    @contextlib.contextmanager
    def at(self, *path: str, task: str | None = None):
        """Report errors inside with the line of what they are about: the key at `path`, or something in it.

        In a sweep of a task, an error about nothing that has a line of its own is reported at the task's line.
        """
        try:
            yield
        except MISTAKES as error:
            about = (*path, *error.about) if isinstance(error, ArgumentError) else path
            message = error.message("toml") if isinstance(error, ArgumentError) else str(error)
            self.fail(self.written(about, task), message)

    def written(self, about: tuple[str, ...], task: str | None) -> tuple[str, ...]:
        """Return the path in the file of what an error is about."""
        match about:
            case ("space" | "optimizers", optimizer, column, *_) if optimizer in self.document["optimizers"]:
                return self.place(optimizer, column)
            case ("space" | "optimizers", optimizer, *_) if optimizer in self.document["optimizers"]:
                return "optimizers", optimizer
            case (option, *_) if option in self.document or option in self.given:
                return about
        return about if task is None else ("tasks", task)

    def fail(self, path: tuple[str, ...], message: str) -> NoReturn:
        message = message[:MOST_SAID]
        if {*path[:1]} & self.given.keys():
            raise SpecError(f"{self.source} with {path[0]} {self.given[path[0]]}: {message}")
        line = next((self.lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.lines), 1)
        raise SpecError(f"{self.source}:{line}: {message}")


def _confirm(raw: Any) -> dict[str, int]:
    """Return the arguments of `results.confirm`."""
    if not isinstance(raw, dict) or "seeds" not in raw:
        raise ValueError(f"confirm must be {{ seeds = COUNT }}, or {{ seeds = COUNT, top = COUNT }}, got {raw!r}.")
    for key in raw:
        check_known("key in confirm:", key, ("seeds", "top"))
    return {key: check_count(key, count, least=2) for key, count in raw.items()}


def _plan(task: Task, spaces: Mapping[str, Configurations], chosen: Mapping[str, Any]) -> None:
    """Run the sweep's own checks of everything together."""
    planned(Request(list(spaces), task, spaces, **chosen))
