"""Merging sweeps: a sweep made in pieces is the sweep made at once, to the last bit, and nothing else is merged."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import jaxopt_lab as jl
from jaxopt_lab.errors import ArgumentTypeError, ArgumentValueError
from jaxopt_lab.tasks.task import task_function

# Each trial runs alone, in one program for all its configurations and seeds, so its bits do not depend on others.
OPTIONS = {"steps": 8, "record": 2, "evaluate": 4, "chunk": 1, "strategy": "scan_each"}
INPUTS = np.linspace(-1, 1, 12, dtype=np.float32)[:, None]
LONG = tuple(1 / n for n in range(1, 20))  # too long for a label, so it is labelled by its type
TIMES = {"created", "compile_seconds", "probe_seconds", "run_seconds", "strategies"}


@task_function
def network(width=2, targets=1.0):
    def loss(w, batch):
        return jnp.mean((jnp.tanh(batch @ w["in"]) @ w["out"] - targets * batch[:, 0]) ** 2)

    def init(key):
        return {"in": jax.random.normal(key, (1, width)), "out": jnp.ones(width) / width}

    return jl.Task("network", init, loss, train=INPUTS, validation=INPUTS[:5], batch_size=2 * width)


@functools.cache
def stateful():
    def init(key):
        return jax.random.normal(key, (2,)), {"seen": jnp.zeros(2)}

    def loss(w, batch, *, state):
        return jnp.sum(w**2), {"seen": state["seen"] + w}

    return jl.Task("stateful", init, loss, train=None)


SCHEDULED = jl.scheduled(jl.sgd, jl.schedules.cosine)
TWO = {"adam": jl.adam, "sgd": jl.sgd}
THREE = {"scheduled": SCHEDULED, **TWO}


def rates(*values, eps=(1e-8, 1e-3)):
    return {"adam": {"learning_rate": list(values), "eps": list(eps)}, "sgd": {"learning_rate": list(values)}}


def nesterov(*values):
    return {"learning_rate": [0.1, 0.2], "nesterov": jl.static(values)}


def widths(*values, rate=(0.1, 0.2)):
    return {"learning_rate": list(rate), "task.width": jl.static(values)}


def spectra(*values):
    return {"learning_rate": [0.1], "task.spectrum": jl.static(values)}


DRAWN = jl.random({"learning_rate": [0.1, 0.2]}, n=4, key=0)  # so some configuration is there twice
SCHEDULE = {"scheduled": {"learning_rate": 0.1, "final": [0.0, 0.5]}}
CASES = {  # optimizers, task, the pieces as (space, seeds), the whole, further options
    "configurations": (TWO, "quadratic", [(rates(0.1), 2), (rates(0.2, 0.3), 2)], (rates(0.1, 0.2, 0.3), 2), {}),
    "seeds": (TWO, "quadratic", [(rates(0.1), [3, 1]), (rates(0.1), [0])], (rates(0.1), [3, 1, 0]), {}),
    "both": (
        TWO,
        "quadratic",
        [(rates(0.3, 0.2), [5, 4]), (rates(0.1), [1]), (rates(0.1), [4, 5]), (rates(0.2, 0.3), [1])],
        (rates(0.1, 0.2, 0.3), [1, 4, 5]),
        {"nonfinite": 2, "target": 0.1},
    ),
    "optimizers": (
        THREE,
        "quadratic",
        [({"sgd": {"learning_rate": [0.1]}}, 2), (SCHEDULE, 2), ({"adam": rates(0.1)["adam"]}, 2)],
        (SCHEDULE | rates(0.1), 2),
        {},
    ),
    "structural": (
        {"momentum": jl.momentum},
        "quadratic",
        [(nesterov(True), [0]), (nesterov(False), [0]), (nesterov(True, False), [1])],
        (nesterov(True, False), [0, 1]),
        {},
    ),
    "tasks": (
        {"sgd": jl.sgd},
        network,
        [(widths(2), [0, 1]), (widths(2, 3), [2]), (widths(3), [1, 0])],
        (widths(2, 3), [0, 1, 2]),
        {},
    ),
    "labels": (
        {"sgd": jl.sgd},
        "quadratic",
        [(spectra(LONG), 1), (spectra((1.0, 0.5)), 1), (spectra((*LONG, 2.0)), 1)],
        (spectra(LONG, (1.0, 0.5), (*LONG, 2.0)), 1),
        {},
    ),
    "state": ({"sgd": jl.sgd}, stateful(), [(rates(0.1), [1]), (rates(0.1), [0])], (rates(0.1), [0, 1]), {}),
    "drawn": ({"sgd": jl.sgd}, "quadratic", [(DRAWN, [0]), (DRAWN, [1])], (DRAWN, [0, 1]), {}),
    "examples": (
        {"sgd": jl.sgd},
        network(),
        [(rates(0.1), [0]), (rates(0.2), [0])],
        (rates(0.1, 0.2), [0]),
        {"steps": jl.examples(31)},
    ),
}


def swept(optimizers, task, space, seeds, **options):
    """Sweep the optimizers that the space names, or all of them where it is one for all."""
    named = {name: optimizer for name, optimizer in optimizers.items() if isinstance(space, dict) and name in space}
    space, named = ({name: space[name] for name in named}, named) if named else (space, optimizers)
    return jl.sweep(named, task, space, seeds=seeds, **OPTIONS | options)


@functools.cache
def whole(name):
    optimizers, task, _, (space, seeds), options = CASES[name]
    return swept(optimizers, task, space, seeds, **options)


@functools.cache
def pieces(name):
    optimizers, task, split, _, options = CASES[name]
    return [swept(optimizers, task, space, seeds, **options) for space, seeds in split]


@functools.cache
def merged(name):
    return jl.concat(pieces(name))


def configurations(results):
    """Return each configuration exactly, with a number for repetitions."""
    names = ["optimizer", *sorted(name for name, x in results.dataset.coords.items() if x.dims == ("config",))]
    rows = zip(*(results.dataset[name].values.tolist() for name in names if name != "config"), strict=True)
    listed = [repr(row) for row in rows]
    return [(row, listed[:i].count(row)) for i, row in enumerate(listed)]


def assert_equal(ours, theirs):
    """Compare everything, whatever the order of configurations and seeds."""
    mine, expected = configurations(ours), configurations(theirs)
    assert sorted(mine) == sorted(expected)
    order = [mine.index(one) for one in expected]
    placed = ours.dataset.isel(config=order).sel(seed=theirs.dataset["seed"].values)
    assert set(placed.data_vars) == set(theirs.dataset.data_vars)
    for name, x in theirs.dataset.variables.items():
        assert placed[name].dtype == x.dtype
        if name != "config":
            assert placed[name].dims == x.dims
            np.testing.assert_array_equal(placed[name].values, x.values)
    for config, place in enumerate(order):
        for seed in theirs.dataset["seed"].values.tolist():
            jax.tree.map(np.testing.assert_array_equal, ours.kept(place, seed), theirs.kept(config, seed))
    same = lambda results: {name: x for name, x in results.dataset.attrs.items() if name not in TIMES}
    assert set(same(ours)) == set(same(theirs))


@pytest.mark.parametrize(
    ("name", "backwards"), [(name, way) for name in CASES for way in (False, True) if (name, way) != ("labels", True)]
)  # labels are numbered in order
def test_a_sweep_in_pieces_is_the_sweep_at_once(name, backwards, tmp_path):
    results = jl.concat(pieces(name)[::-1]) if backwards else merged(name)
    assert_equal(results, whole(name))
    loaded = jl.load(results.save(tmp_path / "merged"), task=results.task)
    xr.testing.assert_identical(loaded.dataset, results.dataset)
    assert_equal(loaded, whole(name))
    assert results.best().value == whole(name).best().value
    assert repr(results).splitlines()[0] == repr(whole(name)).splitlines()[0]
    columns = results.table().columns
    assert set(columns) == set(whole(name).table().columns)
    scores = results.leaderboard().drop(columns="config")
    assert scores.equals(whole(name).leaderboard().drop(columns="config")[scores.columns])


@pytest.mark.parametrize("name", ["configurations", "seeds", "structural", "labels", "drawn"])
def test_in_order_the_attributes_are_those_of_the_sweep_at_once(name):
    ours, theirs = merged(name).dataset.attrs, whole(name).dataset.attrs
    for attribute in theirs.keys() - TIMES:
        assert ours[attribute] == theirs[attribute]
    assert merged(name).dataset["config"].values.tolist() == list(range(len(merged(name).dataset["config"])))
    for attribute in ("compile_seconds", "probe_seconds", "run_seconds"):
        assert ours[attribute] == pytest.approx(sum(one.dataset.attrs[attribute] for one in pieces(name)), abs=1e-3)
    assert ours["created"] == max(one.dataset.attrs["created"] for one in pieces(name))


def test_merging_is_associative():
    a, b, c, d = pieces("both")
    assert_equal(jl.concat([jl.concat([a, d]), jl.concat([c, b])]), whole("both"))
    one, both, other = pieces("tasks")
    assert_equal(jl.concat([both, jl.concat([other, one])]), whole("tasks"))
    assert_equal(jl.concat([whole("labels")]), whole("labels"))


def test_a_product_stays_one_and_anything_else_has_no_grid():
    grid, expected = (found("both").grid("adam") for found in (merged, whole))
    np.testing.assert_array_equal(grid.train_loss.sel(seed=expected.seed.values), expected.train_loss)
    assert merged("tasks").grid().sizes["task.width"] == 2
    assert json.loads(merged("drawn").dataset.attrs["space"])["sgd"]["kind"] == "random"
    adam = lambda rate, eps: swept(TWO, "quadratic", {"adam": {"learning_rate": [rate], "eps": [eps]}}, 2)
    corners = jl.concat([adam(0.1, 1e-8), adam(0.2, 1e-3)])
    with pytest.raises(ValueError, match="space of adam is merged, not a product"):
        corners.grid()
    assert corners.best().config in (0, 1)
    assert jl.concat([corners, adam(0.1, 1e-3), adam(0.2, 1e-8)]).dataset.sizes["config"] == 4


@pytest.mark.parametrize("name", ["both", "optimizers", "structural", "labels"])
def test_merged_results_are_drawn_and_their_trials_repeated(name):
    results = merged(name)
    results.plot.sensitivity(hyperparameter="learning_rate")
    results.plot.curves()
    config, seed = results.dataset.sizes["config"] - 1, int(results.dataset["seed"].values[-1])
    assert jl.rerun(results, config, seed).agrees


def test_a_trial_of_another_task_is_repeated():
    assert jl.rerun(merged("tasks"), 1, 2, task=network).agrees


def test_curves_of_one_optimizer_are_absent_for_others():
    results = merged("optimizers").dataset
    shown = ~np.isnan(results["learning_rate_in_force"].values[..., :-1]).all(axis=(1, 2))
    np.testing.assert_array_equal(shown, results["optimizer"] == "scheduled")


def test_values_with_one_label_get_two():
    assert [one.dataset["task.spectrum"].values.tolist() for one in pieces("labels")][::2] == [["tuple"], ["tuple"]]
    assert merged("labels").dataset["task.spectrum"].values.tolist() == ["tuple 1", "(1.0, 0.5)", "tuple 2"]
    pairs = json.loads(merged("labels").dataset.attrs["structural"])["sgd"]["task.spectrum"]
    assert [(label, tuple(value)) for label, value in pairs][-1] == ("tuple 2", (*LONG, 2.0))


def test_parameters_are_kept_of_configurations_whose_every_trial_has_them():
    first, second = pieces("configurations")
    without = dataclasses.replace(second, final_params=[])
    results = jl.concat([first, without])
    np.testing.assert_array_equal(results.params(0, 1), first.params(0, 1))
    with pytest.raises(ValueError, match="There are no parameters of configuration 3"):
        results.params(3, 1)
    assert jl.concat([dataclasses.replace(first, final_params=[]), without]).final_params == []
    one, other = pieces("seeds")
    assert (
        jl.concat([one, dataclasses.replace(other, final_params=other.final_params[:1])]).final_params[0][0].size == 2
    )


def test_the_tree_is_the_tasks_own_where_some_sweep_has_it(tmp_path):
    first, *others = pieces("state")
    loaded = jl.load(first.save(tmp_path / "first"))
    assert loaded.task is None
    results = jl.concat([loaded, *others])
    assert results.task is stateful()
    assert isinstance(results.kept(0, 0), tuple)
    np.testing.assert_array_equal(results.state(0, 1)["seen"], first.state(0, 1)["seen"])


def changed(results, **attrs):
    return dataclasses.replace(results, dataset=results.dataset.assign_attrs(attrs))


def test_interrupted_sweeps_and_notes_are_merged():
    first, second = pieces("configurations")
    results = jl.concat([changed(first, interrupted=1, notes='["one", "two"]'), changed(second, notes='["two"]')])
    assert results.dataset.attrs["interrupted"] == 1
    assert json.loads(results.dataset.attrs["notes"]) == ["one", "two"]


def test_other_versions_are_noted():
    first, second = pieces("seeds")
    versions = json.loads(first.dataset.attrs["versions"])
    other = json.loads(
        second.dataset.attrs["problem"].replace('"mathematics of a step": "', '"mathematics of a step": "0')
    )
    then = changed(second, versions=json.dumps(versions | {"jax": "0.9.9"}), problem=json.dumps(other))
    results = jl.concat([first, then])
    assert json.loads(results.dataset.attrs["versions"])["jax"] == f"{versions['jax']} and 0.9.9"
    (note,) = json.loads(results.dataset.attrs["notes"])
    assert f"(jax {versions['jax']} and 0.9.9)" in note
    assert jl.rerun(results, 0, 0).agrees
    with pytest.raises(ArgumentValueError, match="optimizer adam, mathematics of a step: "):
        jl.concat([first, changed(then, versions=first.dataset.attrs["versions"])])


@functools.cache
def small(optimizers=(("sgd", jl.sgd),), task="quadratic", rate=0.1, seeds=1, **options):
    task = {"network": network, "targets": network(targets=2.0), "quadratic": "quadratic"}.get(task, task)
    return jl.sweep(dict(optimizers), task, {"learning_rate": [rate]}, seeds=seeds, **OPTIONS | options)


def halved(learning_rate):
    return jl.sgd(learning_rate / 2)


def with_eps(**space):
    return jl.sweep(jl.adam, "quadratic", {"learning_rate": [0.1]} | space, **OPTIONS)


def masked(mask, rate):
    space = {"learning_rate": [rate], "weight_decay": 0.1, "mask": jl.static([mask])}
    return jl.sweep(jl.adamw, "quadratic", space, **OPTIONS)


AGAIN = r"results\[1\] cannot be merged with results\[0\]: "
REFUSED = {
    "one trial twice": (
        lambda: [small(), small(seeds=2)],
        r"trial of sgd with learning_rate=0\.1 and seed 0 is both in results\[0\] and in results\[1\]\. Leave one",
    ),
    "a hole": (
        lambda: [small(seeds=2), small(rate=0.2)],
        r"sgd with learning_rate=0\.2 has no trial with seeds \[1\].*Sweep the missing trials with seeds=\[1\]",
    ),
    "two holes": (
        lambda: [pieces("both")[0], pieces("both")[1]],
        r"adam with learning_rate=0\.3, eps=1e-08 has no trial with seeds \[1\].*8 more configurations lack",
    ),
    "another task": (lambda: [small(), small(task="network")], f"{AGAIN}task: quadratic in .*network in .*of one task"),
    "another loss": (lambda: [small(task="network"), small(task="targets", rate=0.2)], f"{AGAIN}task, loss: changed"),
    "other data": (
        lambda: [small(task="network"), small(task=dataclasses.replace(network(), train=INPUTS / 2), rate=0.2)],
        f"{AGAIN}task, train data: changed",
    ),
    "other data of other structural values": (
        lambda: [made_anew(2, INPUTS), made_anew(3, INPUTS / 2)],
        f"{AGAIN}task, train data: changed",
    ),
    "another argument": (
        lambda: [pieces("tasks")[0], swept({"sgd": jl.sgd}, network(targets=2.0), widths(3), [0, 1])],
        f"{AGAIN}task, arguments, targets: 1.0 in .*2.0 in",
    ),
    "another budget": (
        lambda: [small(), small(rate=0.2, steps=9)],
        f"{AGAIN}the budget: 8 steps .*9 steps .*same steps=",
    ),
    "another unit": (
        lambda: [small(task="network", steps=16), small(task="network", rate=0.2, steps=jl.examples(16))],
        f"{AGAIN}the budget: 16 steps .*16 examples",
    ),
    "other points": (
        lambda: [small(), small(rate=0.2, record=4)],
        f"{AGAIN}the points to record: 0, 2, 4, 6, 8 in .* 0, 4, 8 in .*record= and evaluate=",
    ),
    "other evaluations": (
        lambda: [small(), small(rate=0.2, evaluate=8)],
        f"{AGAIN}the points to evaluate: 0, 4, 8 in .* 0, 8 in .*record= and evaluate=",
    ),
    "another target": (
        lambda: [small(), small(rate=0.2, target=0.5)],
        f"{AGAIN}target: absent in .*0.5 in .*same target=",
    ),
    "another tolerance": (lambda: [small(tolerance=1e-9), small(rate=0.2)], f"{AGAIN}tolerance: 1e-09 in .*absent"),
    "another bound": (
        lambda: [small(), small(rate=0.2, diverged_above=None)],
        f"{AGAIN}diverged_above: auto in .*none",
    ),
    "other skips": (lambda: [small(), small(rate=0.2, nonfinite=1)], f"{AGAIN}nonfinite: absent in .*1 in"),
    "another main metric": (
        lambda: [small(), changed(small(rate=0.2), main_metric="x")],
        f"{AGAIN}main_metric: train_loss in .*x in",
    ),
    "another direction": (
        lambda: [small(), changed(small(rate=0.2), directions='{"train_loss": "max"}')],
        f"{AGAIN}the direction of train_loss: min in .*max in",
    ),
    "another precision": (
        lambda: [small(), changed(small(rate=0.2), dtype="float64")],
        f"{AGAIN}dtype: float32 in .*float64 in .*same JAX settings",
    ),
    "other settings": (
        lambda: [small(), other_settings(small(rate=0.2))],
        f"{AGAIN}settings, jax_random_seed_offset: 0 in .*7 in",
    ),
    "another optimizer of the name": (
        lambda: [small(), small((("sgd", halved),), rate=0.2)],
        f"{AGAIN}optimizer sgd, mathematics of a step: changed.*under another name",
    ),
    "other hyperparameters": (
        lambda: [with_eps(), with_eps(eps=[1e-3])],
        f"{AGAIN}the hyperparameters of adam: learning_rate in .*eps, learning_rate in .*single value",
    ),
    "structural or not": (
        lambda: [chosen(1.0), chosen(jl.static([2.0]))],
        f"{AGAIN}the structural hyperparameters of chosen: none in .*way in",
    ),
    "functions of one label": (
        lambda: [masked(lambda w: True, 0.1), masked(lambda w: False, 0.2)],
        f"{AGAIN}optimizer adamw with mask=<lambda>, mathematics of a step: changed.*two structural values",
    ),
    "a function and its name": (
        lambda: [chosen(jl.static([abs, "a"])), chosen(jl.static(["abs"]))],
        "way has two values that are both labelled 'abs'",
    ),
    "a stop rule": (
        lambda: [small(), small(rate=0.2, stop=jl.halving(2, min_steps=4))],
        r"results\[1\] had a stop rule, .*compared its trials only with each other",
    ),
    "no problem": (lambda: [small(), changed(small(rate=0.2), problem="{}")], r"results\[1\] does not say what"),
    "a part of a sweep": (
        lambda: [dataclasses.replace(whole("structural"), dataset=whole("structural").dataset.isel(config=[0]))],
        r"results\[0\] does not say what its trials compute",
    ),
    "nothing": (list, "nothing to merge"),
}


def made_anew(width, inputs):
    """Sweep two optimizers on a task whose function makes another task whenever it is called."""
    make = lambda width=1: dataclasses.replace(network(width), train=inputs, factory=None)
    space = widths(width, rate=[0.1])
    return jl.sweep([jl.sgd, jl.sign_sgd], make, space, **OPTIONS)


def chosen(way):
    optimizer = lambda learning_rate, way: jl.sgd(learning_rate)
    return jl.sweep({"chosen": optimizer}, "quadratic", {"learning_rate": [0.1], "way": way}, **OPTIONS)


def other_settings(results):
    problem = json.loads(results.dataset.attrs["problem"])
    problem["settings"]["jax_random_seed_offset"] = 7
    return changed(results, problem=json.dumps(problem))


@pytest.mark.parametrize(("make", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_compared_is_refused(make, words):
    with pytest.raises(ArgumentValueError, match=words):
        jl.concat(make())


@pytest.mark.parametrize("wrong", [3, "runs/digits", {"a": 1}, [3], ["runs/digits"]], ids=repr)
def test_only_results_are_merged(wrong):
    with pytest.raises(ArgumentTypeError, match=r"list of results, got|must be results of a sweep, got"):
        jl.concat(wrong)
    with pytest.raises(ArgumentTypeError, match=r"got Results. Write jl.concat"):
        jl.concat(small())
