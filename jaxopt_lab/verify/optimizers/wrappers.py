"""The wrappers around any method: who proves each, and its row of the conformance table."""

import inspect
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jaxopt_lab as jl
from jaxopt_lab.verify.optimizers.conformance import beyond, in_parallel, paper, reasons, recorders, replays, weighed
from jaxopt_lab.verify.optimizers.defects import sentence
from jaxopt_lab.verify.optimizers.golden.wrappers import ROWS

NONE: Mapping[str, Any] = MappingProxyType({})


class Wrapper(NamedTuple):
    """A wrapper, and what is true of it."""

    around: Callable[..., Any]  # takes the optimizer and its own hyperparameters
    numeric: Mapping[str, Any] = NONE  # values of those without a default
    real_only: bool = False  # complex parameters are refused
    convention: str = ""  # where its sources disagree, and which of them ours follows
    derived: str = ""  # what proves it where no run is recorded

    def make(self, optimizer: Any, **hyperparameters: Any) -> Any:
        """Put it around an optimizer, with these hyperparameters instead of its own."""
        return self.around(optimizer, **{**self.numeric, **hyperparameters})

    def traced(self) -> dict[str, Any]:
        """Every numeric hyperparameter, and its value."""
        parameters = list(inspect.signature(self.around).parameters.values())[1:]
        defaults = {p.name: p.default for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD}
        return {**defaults, **self.numeric}


DERIVED = "no run is recorded: the paper's equations, step by step in NumPy, and limiting cases"
WRAPPERS = {
    "cautious": Wrapper(
        jl.cautious,
        real_only=True,
        convention="The mask is divided by its mean, as in C-AdamW's code. In the paper, and in C-Lion's code, it is "
        "scaled by n / (sum + 1) (`paper_scaling=True`).",
    ),
    "cautious_weight_decay": Wrapper(
        jl.cautious_weight_decay,
        {"learning_rate": 0.01, "weight_decay": 0.1},
        real_only=True,
        convention="The step just computed and the parameter before it decide; a product of 0 decays. modded-nanogpt's "
        "Adam does not decay there, and multiplies its decay by the learning rate twice.",
    ),
    "ema": Wrapper(
        jl.ema,
        convention="The average begins at the initial parameters. PyTorch's begins at the first parameters that it is "
        "called with, which a decay that is 0 in that step expresses.",
    ),
    "grokfast_ema": Wrapper(
        jl.grokfast_ema, convention="The mean begins at the first gradient, as in the authors' code.", derived=DERIVED
    ),
    "grokfast_ma": Wrapper(
        jl.grokfast_ma,
        convention="As the authors' code: nothing is amplified before the window is full. The paper amplifies from the "
        "first step on (`warmup=False`).",
        derived=DERIVED,
    ),
    "hyperball": Wrapper(
        jl.hyperball,
        {"learning_rate": 0.01},
        convention="As the authors' code: the radius is measured in every step. The paper fixes it at the start "
        "(`fixed_radius=True`), which differs by rounding.",
    ),
    "lookahead": Wrapper(
        jl.lookahead,
        convention="alpha is 0.8 and the period 5, as in the authors' code. Its 'pullback' scales the momentum instead "
        "of interpolating it, since it stores the very tensor that is trained with; the record is held with that done.",
    ),
    "mechanic": Wrapper(
        jl.mechanic,
        convention="As the authors' code for PyTorch: delta is recomputed, and thereby multiplied by S / (S + eps). In "
        "the paper it is kept (`store_delta=True`). Optax's `mechanize` clips h, decays and starts s otherwise.",
    ),
    "schedule_free": Wrapper(
        jl.schedule_free,
        {"learning_rate": 0.1, "weight_decay": 0.0},
        convention="As the authors' wrapper: the optimizer steps from z, and its own decay is of z. Optax passes it y.",
    ),
}


class Description(NamedTuple):
    """The part of a row that is the same on every machine."""

    name: str
    paper: str  # Markdown, with its link
    witnesses: list[str]  # the sources of the recorded runs, or what proves it without
    conventions: str
    wide_bounds: list[str]  # every bound wider than usual, and why
    traced: list[str]
    state_bytes: float  # per parameter, beyond the method's own


class Figures(NamedTuple):
    """The part of a row that is measured."""

    recorded: float | None  # None: nothing is recorded
    misses: list[str]  # what exceeds its bound, in words


def describe(name: str) -> Description:
    """Return all of a wrapper's row except its figures."""
    wrapper, rows = WRAPPERS[name], {record: row for record, row in ROWS.items() if row.method == name}
    return Description(
        name,
        paper(wrapper.around),
        recorders(rows) or [wrapper.derived],
        " ".join(part for part in (sentence(name), wrapper.convention) if part),
        reasons(rows),
        list(wrapper.traced()),
        weighed(lambda: wrapper.make(jl.sgd(0.1))),  # which has no state of its own
    )


def measure(names: Collection[str], done: Callable[[float], None] = lambda share: None) -> dict[str, Figures]:
    """Take the wrappers along their records; `done` is called with the share of the programs that has run."""
    rows = {record: row for record, row in ROWS.items() if row.method in names}
    found = in_parallel(replays(rows), done)
    of = {name: {record: found[record] for record, row in rows.items() if row.method == name} for name in names}
    return {name: Figures(max(gaps.values(), default=None), beyond(rows, gaps)) for name, gaps in of.items()}
