"""A sweep that is extended is, to the last bit, the sweep made at once, and nothing is done twice."""

import functools
import itertools
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from typer.testing import CliRunner

import jaxopt_lab as jl
from jaxopt_lab import cli
from jaxopt_lab.cli import sweeps
from jaxopt_lab.sweep import durable

PAGE = Path(__file__).parent.parent / "docs" / "data.md"
RNG = np.random.default_rng(0)
X = RNG.normal(size=(96, 4))
Y = X @ RNG.normal(size=4) + 0.1 * RNG.normal(size=96)
RATES = [0.003, 0.03, 0.3]
SPACE = {"learning_rate": RATES}
# Chunks of one trial, so that the programs are the same; the last step is not on the stride.
OPTIONS = {"seeds": 2, "steps": 45, "record": 7, "evaluate": 10, "strategy": "scan_each"}


def loss(w, batch):
    return jnp.mean((batch[0] @ w - batch[1]) ** 2)


@functools.cache
def task(batch_size=8):
    init = lambda key: jax.random.normal(key, (4,))
    return jl.Task("line", init, loss, (X, Y), validation=(X[:40], Y[:40]), batch_size=batch_size)


def sweep(optimizers=jl.adam, space=SPACE, **more):
    return jl.sweep(optimizers, more.pop("task", task()), space, **OPTIONS | more)


def assert_same(found, expected):
    assert dict(found.dataset.sizes) == dict(expected.dataset.sizes)
    for name in expected.dataset.variables:
        np.testing.assert_array_equal(found.dataset[name], expected.dataset[name], err_msg=name)
    for config, seed in itertools.product(*(expected.dataset[dim].values.tolist() for dim in ("config", "seed"))):
        for ours, theirs in zip(*(jax.tree.leaves(r.kept(config, seed)) for r in (found, expected)), strict=True):
            np.testing.assert_array_equal(ours, theirs)


class Made:
    """Counts the trial-steps of a sweep, and may interrupt it."""

    def __init__(self, most=np.inf):
        self.steps, self.most = 0, most

    def __call__(self, progress):
        self.steps = progress.trial_steps
        if self.steps >= self.most:
            raise KeyboardInterrupt


@pytest.fixture(params=["memory", "folder"])
def place(request, tmp_path):
    """Return what makes a sweep and what is given to `jl.extend` for it."""

    def made(**more):
        if request.param == "memory":
            return sweep(**more)
        sweep(**more, out=tmp_path / "run")
        return tmp_path / "run"

    return made


def loaded(run):
    return run if isinstance(run, jl.Results) else jl.load(run, task())


def test_more_seeds(place, float64):
    run, made = place(), Made()
    found = jl.extend(run, seeds=4, task=task(), progress=made)
    assert_same(found, sweep(seeds=4))
    assert made.steps == 2 * 3 * 45
    if not isinstance(run, jl.Results):
        assert_same(loaded(run), found)
        assert_same(jl.extend(run, seeds=[0, 1, 2, 3], task=task()), found)  # nothing new
        assert_same(jl.extend(run, seeds=5, task=task()), sweep(seeds=5))


def test_more_configurations(place, float64):
    run, made = place(), Made()
    found = jl.extend(run, space={"learning_rate": [0.03, 0.1, 0.3, 1.0]}, task=task(), progress=made)
    assert_same(found, sweep(space={"learning_rate": [*RATES, 0.1, 1.0]}))
    assert made.steps == 2 * 2 * 45
    assert_same(loaded(run), found if not isinstance(run, jl.Results) else sweep())


def test_another_optimizer(place, float64):
    space = {"lion": SPACE, "adam": {"learning_rate": RATES, "b1": jl.static([0.5])}, "mine": SPACE}
    mine = lambda learning_rate: optax.sgd(learning_rate)
    del space["adam"]
    found = jl.extend(place(), space=space, optimizers={"mine": mine}, task=task())
    expected = sweep({"adam": jl.adam, "lion": jl.lion, "mine": mine})
    assert_same(found, expected)


@pytest.mark.parametrize("steps", [46, 50, 150])
def test_more_steps(steps, tmp_path, float64):
    # One trial reaches the target before the first budget ends, some diverge, others go on.
    more = {"space": {"learning_rate": [*RATES, 1e8]}, "target": 0.02, "seeds": 3}
    first = sweep(**more, out=tmp_path / "run")
    assert {"reached", "completed", "diverged"} <= set(first.dataset["status"].values.ravel().tolist())
    made, expected = Made(), sweep(**more, steps=steps)
    found = jl.extend(tmp_path / "run", steps=steps, task=task(), progress=made)
    assert_same(found, expected)
    assert_same(jl.load(tmp_path / "run", task()), expected)
    assert 0 < made.steps <= 12 * (steps - 45)  # none of those before
    assert jl.rerun(found, 1, 1, task=task()).largest_difference < 1e-9


def test_more_steps_again_and_of_what_was_added(tmp_path, float64):
    run = tmp_path / "run"
    sweep(out=run)
    jl.extend(run, seeds=3, task=task())
    jl.extend(run, space={"learning_rate": [0.1]}, task=task())
    jl.extend(run, steps=60, task=task())
    found = jl.extend(run, seeds=4, steps=71, space={"learning_rate": [1.0]}, task=task())
    expected = sweep(space={"learning_rate": [*RATES, 0.1, 1.0]}, seeds=4, steps=71)
    assert_same(found, expected)
    assert_same(jl.load(run, task()), expected)


def test_a_stream_and_a_state_go_on(tmp_path, float64):
    def make(seed):
        rng = np.random.default_rng(seed)
        while True:
            rows = rng.integers(0, 96, 8)
            yield X[rows], Y[rows]

    def averaged(w, batch, *, key=None, state):
        value = loss(w, batch) + (0.0 if key is None else 0.01 * jax.random.normal(key))
        return value, 0.9 * state + 0.1 * value

    init = lambda key: (jax.random.normal(key, (4,)), jnp.zeros([]))
    streamed = jl.Task("streamed", init, averaged, jl.stream(make), validation=(X, Y))
    sweep(task=streamed, out=tmp_path / "run")
    found = jl.extend(tmp_path / "run", steps=90, seeds=3, task=streamed)
    assert_same(found, sweep(task=streamed, steps=90, seeds=3))


def test_a_budget_in_examples(tmp_path, float64):
    more = {"space": {"learning_rate": [0.01, 0.1], "task.batch_size": jl.static([8, 20])}, "task": task}
    run = lambda steps, **where: sweep(**more, steps=jl.examples(steps), record=3, evaluate=5, **where)
    run(300, out=tmp_path / "run")
    found = jl.extend(tmp_path / "run", steps=jl.examples(500), task=task)
    assert_same(found, run(500))


def test_an_interrupted_extension_goes_on(tmp_path, float64):
    run = tmp_path / "run"
    before, expected = sweep(out=run), sweep(seeds=3, steps=4000)
    for attempt in range(20):
        made = Made(most=np.inf if attempt in (2, 5) or attempt > 6 else 4000)
        found = jl.extend(run, steps=4000, seeds=3, task=task(), progress=made)
        if not found.dataset.attrs["interrupted"]:
            break
        if attempt < 2:
            assert_same(jl.load(run, task()), before)
    assert attempt > 1
    assert_same(found, expected)


def test_the_best_steps_are_kept_of_all(tmp_path, float64):
    sweep(keep="best", out=tmp_path / "run")
    found, expected = jl.extend(tmp_path / "run", seeds=3, steps=80, task=task()), sweep(keep="best", seeds=3, steps=80)
    assert_same(found, expected)
    assert found.best(at="best") == expected.best(at="best")
    assert found.dataset.attrs["keep"] == "best"


def test_the_page_on_data_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), namespace)
    sizes = namespace["results"].dataset.sizes
    assert (sizes["config"], sizes["seed"], namespace["results"].dataset.attrs["steps"]) == (5, 4, 200)


REFUSED = {
    "nothing to add": (lambda run: jl.extend(run, task=task()), ValueError, "needs something to add"),
    "a seed is lacking": (lambda run: jl.extend(run, seeds=[0, 5], task=task()), ValueError, r"lack \[1\]"),
    "fewer steps": (lambda run: jl.extend(run, steps=40, task=task()), ValueError, r"they have 45 steps already"),
    "another unit": (lambda run: jl.extend(run, steps=jl.examples(900), task=task()), TypeError, r"must be an integer"),
    "no task": (lambda run: jl.extend(run, seeds=3), ValueError, r"pass it, as task="),
    "another task": (
        lambda run: jl.extend(run, seeds=3, task=jl.tasks.quadratic()),
        ValueError,
        r"not what the sweep was made of: .*task",
    ),
    "other data": (lambda run: jl.extend(run, seeds=3, task=task(16)), ValueError, r"batch size: 8 in the sweep, 16"),
    "another optimizer": (
        lambda run: jl.extend(run, seeds=3, task=task(), optimizers={"adam": jl.lion}),
        ValueError,
        r"not what the sweep was made of",
    ),
    "unknown optimizer": (
        lambda run: jl.extend(run, space={"adamm": SPACE}, task=task()),
        ValueError,
        r"Unknown optimizer in the space: 'adamm'. Did you mean 'adam'",
    ),
}


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    with jax.enable_x64(True):
        sweep(out=(run := tmp_path_factory.mktemp("complete") / "run"))
    return run


@pytest.mark.parametrize(("extend", "error", "says"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_extended_is_refused_before_anything_runs(extend, error, says, complete):
    before = sorted((path, path.stat().st_mtime_ns) for path in complete.rglob("*") if path.name != "lock")
    with pytest.raises(error, match=says):
        extend(complete)
    assert before == sorted((path, path.stat().st_mtime_ns) for path in complete.rglob("*") if path.name != "lock")


def test_steps_of_results_in_memory_are_refused():
    with pytest.raises(ValueError, match="which results in memory do not have: sweep with out="):
        jl.extend(sweep(), steps=90)


def test_a_schedule_that_knows_the_budget_is_refused(tmp_path):
    scheduled = jl.scheduled(jl.adam, jl.schedules.linear)
    sweep({"s": scheduled}, out=tmp_path / "run")
    with pytest.raises(ValueError, match="s follows a schedule that knows the budget"):
        jl.extend(tmp_path / "run", steps=90, task=task(), optimizers={"s": scheduled})
    assert jl.extend(tmp_path / "run", seeds=3, task=task(), optimizers={"s": scheduled}).dataset.sizes["seed"] == 3


def test_trials_that_a_rule_compared_are_refused(tmp_path):
    sweep(stop=jl.halving(2, min_steps=10), out=tmp_path / "run")
    with pytest.raises(ValueError, match="had a stop rule, Halving"):
        jl.extend(tmp_path / "run", seeds=3, task=task())


def test_states_that_take_too_much_are_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(durable, "KEPT_STATES_BYTES", 10)
    sweep(out=tmp_path / "run")
    with pytest.raises(jl.RunError, match="has no states of its trials"):
        jl.extend(tmp_path / "run", steps=90, task=task())
    assert jl.load(tmp_path / "run").dataset.attrs["steps"] == 45


def test_saved_results_are_no_run_folder(tmp_path):
    results = sweep()
    results.save(tmp_path / "saved")
    with pytest.raises(jl.RunError, match="not a run folder, which keeps the states"):
        jl.extend(tmp_path / "saved", steps=90, task=task())


def test_an_interrupted_sweep_is_finished_first(tmp_path):
    sweep(steps=50_000, record=1000, evaluate=10_000, out=tmp_path / "run", progress=Made(most=1))
    with pytest.raises(ValueError, match=r"was interrupted\. Finish it first"):
        jl.extend(tmp_path / "run", seeds=3, task=task())


SPEC = """\
name = "tiny"
steps = {steps}
strategy = "scan_each"
record = 5
evaluate = 5
seeds = {seeds}
[tasks.linear_regression]
batch_size = 10
[space]
learning_rate = [0.01, 0.1]
[optimizers.sgd]
"""


def invoke(*args):
    return CliRunner().invoke(cli.app, [str(arg) for arg in args], env={"COLUMNS": "100"})


@pytest.mark.parametrize(
    ("before", "options", "after"),
    [
        ("20", ["--seeds", 3, "--steps", 30], "30"),
        ("{ examples = 200 }", ["--examples", 300], "{ examples = 300 }"),
        ("{ epochs = 2 }", ["--epochs", 3.5, "--seeds", 3], "{ epochs = 3.5 }"),
    ],
    ids=["steps", "examples", "epochs"],
)
def test_from_the_command_line(before, options, after, tmp_path, monkeypatch):
    """As the larger run would have been; `resume` keeps to it, and a refusal changes nothing.

    Pages and pictures, which take most of the time, are made for one of the units.
    """
    if "--steps" not in options:
        monkeypatch.setattr(sweeps, "write_about", lambda *results: None)
    seeds = 3 if "--seeds" in options else 2
    for name, steps, n in (("run", before, 2), ("once", after, seeds)):
        (tmp_path / f"{name}.toml").write_text(SPEC.format(steps=steps, seeds=n))
        found = invoke("run", tmp_path / f"{name}.toml", "--out", tmp_path / name, "--quiet")
        assert found.exit_code == 0, found.output
    run, task = tmp_path / "run" / "linear_regression", jl.tasks.linear_regression(batch_size=10)
    expected = jl.load(tmp_path / "once" / "linear_regression", task)
    for command in (["extend", tmp_path / "run", *options], ["resume", tmp_path / "run"], ["resume", tmp_path / "run"]):
        found = invoke(*command, "--quiet")
        assert found.exit_code == 0, found.output
        assert_same(jl.load(run, task), expected)
    refused = invoke("extend", tmp_path / "run", options[0], 1, "--quiet")
    assert refused.exit_code == 2
    assert invoke("resume", tmp_path / "run", "--quiet").exit_code == 0
    assert_same(jl.load(run, task), expected)
    assert f"# extended to {options[0]} {options[1]}" in (tmp_path / "run" / "spec.toml").read_text()


@pytest.mark.parametrize("options", [[], ["--steps", "9", "--examples", "9"]], ids=["nothing", "two budgets"])
def test_the_command_line_wants_one_budget(options, tmp_path):
    found = invoke("extend", tmp_path, *options)
    assert found.exit_code == 2
    assert "Give --seeds, or one of --steps, --examples and --epochs" in " ".join(found.output.split())


def test_a_run_that_is_being_extended_is_resumed(tmp_path, monkeypatch):
    """What it was being extended to is recorded before anything runs, and a damaged record is refused."""
    (tmp_path / "s.toml").write_text(SPEC.format(steps=20, seeds=2))
    assert invoke("run", tmp_path / "s.toml", "--out", tmp_path / "run", "--quiet").exit_code == 0

    def killed(*args, **options):
        raise SystemExit(9)

    with monkeypatch.context() as patched:
        patched.setattr(jl, "extend", killed)
        assert invoke("extend", tmp_path / "run", "--steps", 30, "--quiet").exit_code == 9
    assert invoke("resume", tmp_path / "run", "--quiet").exit_code == 0
    assert jl.load(tmp_path / "run" / "linear_regression").dataset["step"].values[-1] == 30
    record = tmp_path / "run" / "run.json"
    record.write_text(record.read_text().replace('"steps": 30', '"steps": "30"'))
    damaged = invoke("resume", tmp_path / "run", "--quiet")
    assert damaged.exit_code == 2
    assert "run.json is damaged" in " ".join(damaged.output.split())


def test_a_run_folder_in_memory_can_be_given_more_steps():
    """Where a run is to leave no files: fsspec's memory keeps the states of trials."""
    found = sweep(out="memory://extended", steps=45)
    longer = jl.extend("memory://extended", steps=70, task=task())
    assert_same(longer, sweep(steps=70))
    assert found.dataset["step"].values[-1] == 45
