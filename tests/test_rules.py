"""Users' own stop rules: what they see, and the effect of their decisions, compared with a hand-written loop."""

import dataclasses
import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_lab as jl
from jaxopt_lab.store.run import Run
from jaxopt_lab.sweep.request import SweepRequest

STEPS, RUNGS = 24, (6, 12)
RATES = [0.02, 0.05, 0.3, 1.5]  # of which the last diverges
X = np.random.default_rng(0).normal(size=(60, 4))
Y = X @ np.arange(4.0)


@functools.cache
def task():
    loss = lambda w, batch: jnp.mean((batch[0] @ w - batch[1]) ** 2)
    return jl.Task("line", lambda key: jax.random.normal(key, (4,)), loss, (X, Y), validation=(X, Y), batch_size=8)


@dataclasses.dataclass(frozen=True)
class Exploit(jl.StopRule):
    """At each rung, a seed's worst trial continues from the best one's state, at half of its learning rate."""

    changes: tuple[str, ...] = ("learning_rate",)

    def brackets(self, configs, steps):
        yield np.arange(configs), np.array(RUNGS)

    def decide(self, rung):
        losses = np.where(rung.running, rung.history[-1], np.inf)
        source = np.tile(np.arange(len(losses))[:, None], losses.shape[1])
        rates, seeds = rung.values["learning_rate"].copy(), np.arange(losses.shape[1])
        best, worst = losses.argmin(axis=0), losses.argmax(axis=0)  # a trial that has diverged is the worst
        source[worst, seeds] = best
        rates[worst, seeds] = rates[best, seeds] / 2
        return jl.Decision(np.zeros_like(rung.racing), source, {"learning_rate": rates})


def by_hand(seeds):
    """Compute training losses, learning rates and final parameters, trial by trial and step by step."""
    made, shape = task(), (len(RATES), len(seeds))
    losses, rates = (np.full((*shape, STEPS + 1), np.nan) for _ in range(2))
    ws = {
        (c, s): made.init(jax.random.fold_in(jax.random.key(seed), 0)) for c in range(4) for s, seed in enumerate(seeds)
    }
    now, over = np.tile(np.array(RATES)[:, None], shape[1]), np.zeros(shape, bool)
    gradient, batch = jax.jit(jax.value_and_grad(made.loss)), jax.jit(lambda key, t: made.batch(made.data[0], key, t))
    whole = jax.jit(lambda w: made.loss(w, made.validation))
    for t in range(STEPS + 1):
        if t in RUNGS:
            reached = np.array([[np.inf if over[c, s] else whole(ws[c, s]) for s in range(shape[1])] for c in range(4)])
            for s in range(shape[1]):
                best, worst = reached[:, s].argmin(), reached[:, s].argmax()
                ws[worst, s], now[worst, s], over[worst, s] = ws[best, s], now[best, s] / 2, False
        for (c, s), w in ws.items():
            key = jax.random.fold_in(jax.random.key(seeds[s]), 1)
            loss, g = gradient(w, batch(key, t))
            over[c, s] |= loss > bound(losses[c, s, 0])
            losses[c, s, t], rates[c, s, t] = np.inf if over[c, s] else loss, now[c, s]
            ws[c, s] = w if over[c, s] or t == STEPS else w - now[c, s] * g
    return losses, rates, ws


def bound(first):
    return first + 1e6 * (1 + abs(first)) if np.isfinite(first) else np.inf


OPTIONS = {"steps": STEPS, "seeds": [3, 5, 8], "record": 1, "evaluate": 6, "cache": False}


@pytest.mark.parametrize("cut", [{}, {"chunk": 2}, {"strategy": "steps_each"}], ids=str)
def test_a_trial_goes_on_from_another_with_another_rate(cut, float64):
    found = jl.sweep(jl.sgd, task(), {"learning_rate": RATES}, stop=Exploit(), **OPTIONS, **cut)
    losses, rates, ws = by_hand(OPTIONS["seeds"])
    np.testing.assert_allclose(found.dataset["train_loss"], losses, rtol=1e-10, atol=1e-15)  # of 55 at the start
    np.testing.assert_allclose(found.dataset["learning_rate_in_force"][..., :-1], rates[..., :-1], rtol=1e-15)
    for c in range(4):
        for s, seed in enumerate(OPTIONS["seeds"]):
            np.testing.assert_allclose(found.params(c, seed), ws[c, s], rtol=1e-9)
    assert set(found.dataset["status"].values.flat) == {"completed"}  # the diverged ones were started again
    assert found.best().metric == "validation_loss"


def test_a_broken_run_decides_as_it_had(tmp_path, float64, monkeypatch):
    whole = jl.sweep(jl.sgd, task(), {"learning_rate": RATES}, stop=Exploit(), out=tmp_path / "a", **OPTIONS, chunk=3)
    saves, save = [], Run.save

    def breaking(self, unit, record, done):
        save(self, unit, record, done)
        saves.append(unit)
        if len(saves) in (3, 7):
            raise KeyboardInterrupt

    monkeypatch.setattr(Run, "save", breaking)
    run = lambda: jl.sweep(
        jl.sgd, task(), {"learning_rate": RATES}, stop=Exploit(), out=tmp_path / "b", checkpoint=0, **OPTIONS, chunk=3
    )
    while run().dataset.attrs["interrupted"]:
        assert len(saves) < 40
    for name in whole.dataset.data_vars:
        np.testing.assert_array_equal(whole.dataset[name], run().dataset[name], err_msg=name)


class Rule(jl.StopRule):
    def __init__(self, decision):
        self.decision = decision

    def brackets(self, configs, steps):
        return [(np.arange(configs), np.array([2]))]

    def decide(self, rung):
        return self.decision(rung)


NOTHING = np.zeros((4, 3), bool)
OWN = np.tile(np.arange(4)[:, None], 3)


@pytest.mark.parametrize(
    ("decision", "words"),
    [
        (lambda rung: rung.racing, "must return a jl.Decision"),
        (lambda rung: jl.Decision(NOTHING[0]), r"ends must be bools of shape \(4, 3\)"),
        (lambda rung: jl.Decision(OWN), r"ends must be bools of shape \(4, 3\)"),
        (lambda rung: jl.Decision(NOTHING, OWN + 0.0), r"source must be integers of shape \(4, 3\)"),
        (lambda rung: jl.Decision(NOTHING, OWN + 1), "positions from 0 to 3"),
        (lambda rung: jl.Decision(NOTHING, np.full((4, 3), 3)), "from one that is running"),
        (lambda rung: jl.Decision(NOTHING, None, {"learning_rate": OWN}), "name it in the rule's `changes`"),
    ],
)
def test_a_decision_that_cannot_be_is_refused(decision, words):
    with pytest.raises(ValueError, match=words):
        jl.sweep(jl.sgd, task(), {"learning_rate": [0.1, 0.2, 0.3, 1e9]}, stop=Rule(decision), steps=8, seeds=3)


def test_what_is_no_rule_is_refused():
    for rule in (3, "halving", jl.halving, Rule):
        with pytest.raises(TypeError, match=r"stop must be jl\.halving"):
            jl.sweep(jl.sgd, task(), {"learning_rate": RATES}, stop=rule, steps=8)


class Odd(jl.StopRule):
    def __init__(self, brackets=None, **attributes):
        self.found = [([0, 1, 2], [2])] if brackets is None else brackets
        vars(self).update(attributes)

    def brackets(self, configs, steps):
        return [(list(range(configs)), [1])] if configs == 2 else self.found

    def decide(self, rung):
        return jl.Decision(np.zeros_like(rung.racing))


@pytest.mark.parametrize(
    ("rule", "error", "words"),
    [
        (Odd(status="ended"), ValueError, "status of a stop rule must be 'stopped' or 'plateau'"),
        (Odd(changes="learning_rate"), TypeError, "must be a tuple of hyperparameters' names"),
        (Odd(changes=("learning_rat",)), ValueError, "Did you mean 'learning_rate'"),
        (Odd([([0, 1], [2])]), ValueError, "each of the 3 configurations into exactly one bracket"),
        (Odd([([0, 1, 2], [2]), ([2], [3])]), ValueError, "into exactly one bracket"),
        (Odd([([0, 1, 2], [2, 2])]), ValueError, "rungs must ascend from 1 to below 8"),
        (Odd([([0, 1, 2], [0, 2])]), ValueError, "rungs must ascend"),
        (Odd([([0, 1, 2], [2, 8])]), ValueError, "rungs must ascend"),
        (Odd([([0, 1, 2], [2.5])]), ValueError, "two lists of integers"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_before_anything_compiles(rule, error, words, monkeypatch):
    monkeypatch.setattr(importlib.import_module("jaxopt_lab.sweep.sweep"), "execute", None)
    with pytest.raises(error, match=words) as caught:
        jl.sweep(jl.sgd, task(), {"learning_rate": RATES[:3]}, stop=rule, steps=8)
    assert caught.value.about == ("stop",)


def test_a_request_asks_for_no_device(monkeypatch):
    """A sweep on a cluster may share its card with an actor: it decides how to use it before it asks for it."""
    asked = []
    for module in ("jaxopt_lab.sweep.checks", "jaxopt_lab.sweep.arguments", "jaxopt_lab.sweep.sweep"):
        loaded = importlib.import_module(module)
        for name in ("devices", "free_bytes", "remake"):
            if hasattr(loaded, name):
                monkeypatch.setattr(loaded, name, lambda *_, **__: asked.append(1))
    SweepRequest(jl.sgd, "digits_mlp", {"learning_rate": RATES}, steps=3, memory=0.5, cluster="auto")
    assert asked == []


def test_a_run_folder_knows_a_rule_by_its_settings_and_its_code(tmp_path):
    options = {"steps": 8, "out": tmp_path / "run"}
    ends = lambda worst: Rule(lambda rung: jl.Decision(rung.history[-1] > worst))
    jl.sweep(jl.sgd, task(), {"learning_rate": RATES[:2]}, stop=ends(1.0), **options)
    jl.sweep(jl.sgd, task(), {"learning_rate": RATES[:2]}, stop=ends(1.0), **options)  # defined anew
    with pytest.raises(jl.RunError, match="stop"):
        jl.sweep(jl.sgd, task(), {"learning_rate": RATES[:2]}, stop=ends(2.0), **options)


def test_the_protocol_is_enough():
    """An object with a rule's attributes and methods need not derive from it."""

    class Own:
        metric, status, changes = "train_loss", "stopped", ()

        def brackets(self, configs, steps):
            return [(np.arange(configs), np.array([4]))]

        def decide(self, rung):
            return jl.Decision(rung.history[-1] > np.median(rung.history[-1]))

        def kept(self, configs):
            return configs

    found = jl.sweep(jl.sgd, task(), {"learning_rate": RATES[:3]}, stop=Own(), steps=8)
    assert (found.dataset["status"].values == "stopped").sum() == 1
    assert importlib.import_module("jaxopt_lab").StopRule in Exploit.__mro__
