"""Chunks in other processes: the same results as in this one, whatever happens to the processes."""

import collections
import dataclasses
import functools
import importlib
import sys

import jax
import numpy as np
import pytest

import jaxopt_lab as jl
from jaxopt_lab.cache_folder import VARIABLE
from jaxopt_lab.cluster.backend import Cluster, RayBackend, connected
from jaxopt_lab.cluster.worker import TOKEN, Settings, Work, Worker
from jaxopt_lab.engine.chunk import OutOfMemoryError
from jaxopt_lab.engine.ledger import Ledger
from jaxopt_lab.engine.run.execution import execute
from jaxopt_lab.engine.tuning.cutting import first_strategy
from jaxopt_lab.errors import ClusterError
from jaxopt_lab.store.folder import Folder
from jaxopt_lab.store.identity import versions
from jaxopt_lab.sweep.planning import plan_sweep

remote, elsewhere, pool = (
    importlib.import_module(f"jaxopt_lab.cluster.{name}") for name in ("worker", "backend", "pool")
)
SPACE = {"learning_rate": jl.log(1e-4, 1.0, 16)}
OBJECT_STORE = 80 * 2**20  # bytes, about the least that Ray takes


def planned(optimizers=(jl.adam, jl.sgd), **options):
    """Two optimizers, so two groups, halved twice; and as many workers as a plan for two has."""
    options = {"steps": 120, "seeds": 2, "chunk": 8, "stop": jl.halving(4, min_steps=25), "strategy": "scan", **options}
    plan = plan_sweep(optimizers, jl.tasks.digits_mlp(width=8), SPACE, **options)
    return dataclasses.replace(plan, actors=2)


class Book(Ledger):
    """Counts how often each unit is done, and uses the strategies that another ledger recorded."""

    def __init__(self, settled=None):
        self.strategies, self.done = dict(settled or {}), collections.Counter()

    @property
    def keeps(self):
        return True

    def settled(self, about, settle):
        return (
            self.strategies.setdefault(about, None)
            or self.strategies.update({about: settle()})
            or self.settled(about, settle)
        )

    def save(self, unit, record, done):
        self.done[unit] += done


def same(a, b):
    """Check that all results are equal bit for bit, including failed trials'."""
    for name in ("status", "steps", "rung"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    for kind in ("curves", "last", "evaluations"):
        assert getattr(a, kind).keys() == getattr(b, kind).keys()
        for name, values in getattr(a, kind).items():
            np.testing.assert_array_equal(values, getattr(b, kind)[name], err_msg=name)
    jax.tree.map(np.testing.assert_array_equal, a.params, b.params)


class Here:
    """A pool of one actor in this process."""

    def __init__(self, plan, settings, room, threads, count, note, tidy):
        self.worker = Worker(settings._replace(environment={}, config={}))
        assert self.worker.load(pickled(plan)) is None

    def choose(self, priority, number, then):
        then(self.worker.choose([number])[0])

    def run(self, priority, work, then):
        then(self.worker.run([work])[0])

    def close(self, gently):
        pass


def pickled(plan):
    return pytest.importorskip("ray.cloudpickle").dumps(plan)


@pytest.fixture
def here(monkeypatch):
    """Makes backends whose worker is in this process, so that a test can reach into it."""
    monkeypatch.setattr(elsewhere, "Pool", Here)
    return functools.partial(RayBackend, Cluster("CPU"), None)


def test_memory_runs_out_in_a_worker(here, monkeypatch, float64):
    plan, run_chunk, seen = planned(jl.sgd, stop=None, evaluate=25), remote.run_chunk, []

    def running_out(plan, program, shape, chunk, stage, *others):
        if shape[0] * shape[1] <= 4:
            return run_chunk(plan, program, shape, chunk, stage, *others)
        seen.append(chunk.first)
        early = stage._replace(last=25, final=False)  # some way, and then
        if chunk.first == 0 and len(seen) == 1:
            chunk = run_chunk(plan, program, shape, chunk, early, *others)
        raise OutOfMemoryError(chunk, MemoryError("out of memory"))

    expected = execute(plan)
    monkeypatch.setattr(remote, "run_chunk", running_out)
    ledger = Ledger()
    found = execute(plan, ledger=ledger, backend=here(ledger))
    assert seen
    assert any("ran out of memory; continuing with 4" in note for note in found.notes)
    np.testing.assert_array_equal(found.status, expected.status)
    np.testing.assert_allclose(
        found.curves["train_loss"], expected.curves["train_loss"], rtol=1e-9
    )  # other chunks, other sums


class Killed(BaseException):
    """An exception that nothing catches, as if the process had ended."""


def test_a_lost_chunk_goes_on_from_its_last_segment(tmp_path, monkeypatch):
    plan = planned(stop=None, steps=120, evaluate=20)
    folder = Folder(tmp_path)
    folder.write(TOKEN, b"ours")
    settings = Settings({}, {}, versions(), None, (str(tmp_path), b"ours"), 0.0)
    strategy = first_strategy(plan, plan.groups[0])
    rows, columns = np.arange(strategy.configs), np.arange(strategy.seeds)
    work = Work("0-0-0-0", 0, rows, columns, 0, None, plan.steps, True, strategy)

    assert "has jax " in str(Worker(settings._replace(versions=versions() | {"jax": "0.0.1"})).load(b""))
    worker = Worker(settings._replace(shared=None))
    assert worker.load(pickled(plan)) is None
    undisturbed = worker.run([work])[0]
    worker._standing = remote._Standing.reached(settings)
    save, saves = remote._Standing.save, []

    def killing(self, work, record):
        save(self, work, record)
        saves.append(record.step)
        if len(saves) == 3:
            raise Killed

    monkeypatch.setattr(remote._Standing, "save", killing)
    with pytest.raises(Killed):
        worker.run([work])
    monkeypatch.setattr(remote._Standing, "save", save)
    resumed = worker.run([work])[0]
    assert resumed.made == undisturbed.made - strategy.trials * saves[-1]
    for a, b in zip(jax.tree.leaves(resumed.record), jax.tree.leaves(undisturbed.record), strict=True):
        np.testing.assert_array_equal(a, b)
    assert worker.made() == resumed.made
    # A damaged file is no worse than none; a folder that is another's is not used.
    content = bytearray(folder.read(work.unit))
    content[-1] ^= 1
    folder.write(work.unit, bytes(content))
    assert worker.run([work])[0].made == undisturbed.made
    assert remote._Standing.reached(settings._replace(shared=(str(tmp_path), b"theirs"))) is None


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"jaxopt_lab\[ray\]"):
        jl.sweep(jl.sgd, jl.tasks.digits_mlp(width=8), SPACE, steps=2, cluster="auto")


def test_a_cluster_that_has_ended_is_not_waited_for(monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": False, "Resources": {}}])
    with pytest.raises(ClusterError, match="none of its nodes is alive"):
        Cluster("CPU").slots()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Start two nodes with one core each, on this machine. Their workers share compiled programs on disk."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": OBJECT_STORE}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    cluster.add_node(**node)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(tmp_path_factory.mktemp("cache")))
        yield cluster
    cluster.shutdown()


# Ray, not this project, leaves files and sockets to the garbage collector.
real = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


def sweep(task=None, **options):
    task = jl.tasks.digits_mlp(width=8) if task is None else task
    options = {"steps": 400, "seeds": 2, "chunk": 4, "strategy": "scan", **options}
    return jl.sweep(jl.sgd, task, SPACE, **options)


def equal(a, b):
    for name in b.dataset.data_vars:
        np.testing.assert_array_equal(a.dataset[name].to_numpy(), b.dataset[name].to_numpy(), err_msg=name)


@real
def test_two_nodes(cluster):
    plan, book, seen = planned(), Book(), []
    with connected(cluster.address) as there:
        assert there is not None
        assert there.slots() == 2
        plan = there.planned(plan)
        found = execute(plan, seen.append, book, RayBackend(there, None, book))
    assert set(book.done.values()) == {1}
    assert len(book.done) >= 12
    best = seen[-1].best
    same(found, execute(plan, seen.append, Book(book.strategies)))
    assert {*best} == {"adam", "sgd"}
    assert best == seen[-1].best


@real
def test_ctrl_c_keeps_what_there_is(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "LOOK_SECONDS", 0.1)

    def interrupt(progress):
        if progress.trial_steps:
            raise KeyboardInterrupt

    options = {"steps": 4_000, "seeds": 1, "chunk": 8}  # two chunks, of seconds
    first = sweep(cluster=cluster.address, out=tmp_path / "run", progress=interrupt, **options)
    assert first.dataset.attrs["interrupted"]
    reached = first.dataset["steps_taken"].where(first.dataset["status"] == "interrupted")
    assert ((reached > 0) & (reached < 4_000)).any()  # chunks under way have ended their segments, not more
    steps, keep = [], lambda progress: steps.append(progress.trial_steps)
    whole = sweep(cluster=cluster.address, out=tmp_path / "run", progress=keep, **options)
    assert steps[-1] < 16 * 4_000 - reached.sum() + 1  # the rest alone
    equal(whole, sweep(**options))
    assert not (tmp_path / "run" / "actors").exists()


@real
def test_a_loss_that_raises_on_a_worker(cluster):
    import os

    driver = os.getpid()
    digits = jl.tasks.digits_mlp(width=8)

    def loss(params, batch):
        if os.getpid() != driver:
            raise ArithmeticError("no such number here")
        return digits.loss(params, batch)

    bad = dataclasses.replace(digits, name="bad", loss=loss, factory=None)
    with pytest.raises(ArithmeticError, match="no such number here"):
        sweep(bad, cluster=cluster.address)


@real
def test_a_node_is_lost(cluster, tmp_path):
    lost = []

    def lose(progress):
        if progress.trial_steps and not lost:
            lost.append(cluster.worker_nodes.copy().pop())
            cluster.remove_node(lost[0], allow_graceful=False)

    options = {"steps": 2000, "stop": jl.halving(4, min_steps=400)}
    found = sweep(cluster=cluster.address, progress=lose, **options)
    assert lost
    assert "failed" not in found.table()["status"].unique()
    assert "A worker was lost" in str(found.dataset.attrs)
    equal(found, sweep(**options))


class Unreadable:
    """A loss that no other process can unpickle."""

    def __init__(self, loss):
        self.loss = loss

    def __call__(self, params, batch):
        return self.loss(params, batch)

    def __reduce__(self):
        return int, ("nothing to read",)


@real
def test_workers_that_cannot_begin_end_the_sweep_however_much_waits(cluster):
    digits = jl.tasks.digits_mlp(width=8)
    task = dataclasses.replace(digits, name="unreadable", loss=Unreadable(digits.loss), factory=None)
    plan = plan_sweep(jl.sgd, task, SPACE, steps=10, seeds=8, chunk=1)
    book = Book({(0,): first_strategy(plan, plan.groups[0])})  # settled before, so that all chunks wait at once
    book.knows = lambda about: True
    with connected(cluster.address) as there:
        assert there is not None
        plan = there.planned(plan)
        with pytest.raises(ClusterError, match=r"cannot load the sweep.*nothing to read"):
            execute(plan, ledger=book, backend=RayBackend(there, None, book))


@real
def test_no_cluster_there(cluster):
    with pytest.raises(ClusterError, match=r"No Ray cluster answers at '127\.0\.0\.1:1'"):
        sweep(cluster="127.0.0.1:1")
