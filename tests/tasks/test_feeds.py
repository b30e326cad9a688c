"""Batches that the host reads: streams and stored arrays, against a loop by hand and against arrays in memory."""

import collections
import functools
import itertools
import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import zarr

import jaxopt_lab as jl
from jaxopt_lab.engine.tuning import cutting, sizing
from jaxopt_lab.sweep.planning import plan_sweep
from jaxopt_lab.tasks.feeds import Rows
from jaxopt_lab.tasks.sampling import batch_indices, batch_key
from jaxopt_lab.tasks.stream_reader import StreamReader
from jaxopt_lab.types import random_key

N, SIZE, STEPS, SEEDS = 240, 16, 40, 3
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 5))
Y = X @ RNG.normal(size=5) + 0.1 * RNG.normal(size=N)
SPACE = {"learning_rate": jl.log(1e-3, 0.3, 6)}
OPTIONS = {"steps": STEPS, "seeds": SEEDS, "record": 1, "evaluate": 10}
CURVES = ("train_loss", "validation_loss", "status", "steps_taken", "examples_seen")


def init(key):
    return jax.random.normal(key, (5,))


def loss(w, batch):
    x, y = batch
    return jnp.mean((x @ w - y) ** 2)


def endless(seed):
    """Yield batches for ever."""
    rng = np.random.default_rng(seed)
    while True:
        rows = rng.integers(0, N, SIZE)
        yield X[rows], Y[rows]


def counted(n, make=endless):
    return lambda seed: itertools.islice(make(seed), n)


def task(make=endless, **more):
    return jl.Task("stream", init, loss, jl.stream(make), validation=(X, Y), **more)


def by_hand(learning_rate, seed, make=endless, steps=STEPS):
    """Return the loss before each step and after the last, in a plain Optax loop."""
    w = jax.tree.map(jnp.asarray, init(jax.random.fold_in(random_key(seed), 0)))
    optimizer = optax.adam(learning_rate)
    state, losses = optimizer.init(w), []
    for batch in itertools.islice(make(seed), steps + 1):
        value, grads = jax.value_and_grad(loss)(w, jax.tree.map(jnp.asarray, batch))
        losses.append(float(value))
        updates, state = optimizer.update(grads, state, w)
        w = w + updates
    return losses


@functools.cache
def rows_of(seed):
    one = lambda step: batch_indices(batch_key(random_key(seed)), step, N, SIZE)
    return np.asarray(jax.jit(jax.vmap(one))(jnp.arange(STEPS + 1)))


def as_from_arrays(seed):
    """Yield the batches that a sweep cuts from arrays."""
    return ((X[rows], Y[rows]) for rows in rows_of(seed))


def assert_same(found, expected):
    for name in CURVES:
        np.testing.assert_array_equal(found.dataset[name], expected.dataset[name], err_msg=name)


CUTS = [{}, {"chunk": 1}, {"chunk": 4}, {"strategy": "steps"}, {"strategy": "steps_each"}]


@pytest.mark.parametrize("cut", CUTS, ids=str)
def test_a_stream_trains_as_a_loop_by_hand(cut, precision):
    found = jl.sweep(jl.adam, task(), SPACE, **OPTIONS, **cut).dataset
    for config, seed in [(0, 0), (3, 1), (5, 2)]:
        expected = by_hand(float(found["learning_rate"][config]), seed)
        rtol = 1e-10 if precision == "float64" else 1e-5  # of the first loss, which rounding errors are shares of
        np.testing.assert_allclose(found["train_loss"][config, seed], expected, rtol=rtol, atol=rtol * expected[0])


def test_an_iterable_begins_again_and_its_order_may_change(float64):
    class Loader:
        """As PyTorch's: each pass over it is an epoch in another order; its batches are lists of tensors."""

        def __init__(self, seed):
            self.rng = np.random.default_rng(seed)

        def __len__(self):
            return N // SIZE

        def __iter__(self):
            rows = self.rng.permutation(N)[: len(self) * SIZE].reshape(-1, SIZE)
            return iter([[Tensor(X[r]), Tensor(Y[r])] for r in rows])

    class Tensor:
        """As PyTorch's, on the CPU."""

        def __init__(self, x):
            self.x = x

        def __array__(self, dtype=None, copy=None):
            return self.x

    def epochs(seed):
        loader = Loader(seed)
        for _ in range(9):
            yield from [[t.x for t in batch] for batch in loader]

    found = jl.sweep(jl.adam, task(Loader), SPACE, **OPTIONS).dataset
    expected = by_hand(float(found["learning_rate"][4]), 2, epochs)
    np.testing.assert_allclose(found["train_loss"][4, 2], expected, rtol=1e-10)


def test_a_stream_of_the_batches_that_arrays_give_trains_alike(precision):
    in_memory = jl.Task("arrays", init, loss, (X, Y), validation=(X, Y), batch_size=SIZE)

    options = OPTIONS | {"stop": jl.halving(2, min_steps=10)}
    arrays = jl.sweep([jl.adam, jl.sgd], in_memory, SPACE, **options)
    assert_same(jl.sweep([jl.adam, jl.sgd], task(as_from_arrays), SPACE, **options), arrays)


def test_what_a_loss_names_and_augmentation_go_with_a_stream(float64):
    def augment(key, batch):
        return batch[0] + 0.1 * jax.random.normal(key, batch[0].shape), batch[1]

    def noisy(w, batch, *, key=None, state, l2=0.0):
        value = loss(w, batch) + l2 * jnp.sum(w**2)
        value += 0.0 if key is None else 0.01 * jax.random.normal(key)
        return value, state + value

    def of(train, **more):
        start = lambda key: (init(key), jnp.zeros([]))
        return jl.Task("all", start, noisy, train, validation=(X, Y), augment=augment, **more)

    space = SPACE | {"task.l2": [0.0, 0.1]}
    found, expected = (
        jl.sweep(jl.adam, t, space, **OPTIONS) for t in (of(jl.stream(as_from_arrays)), of((X, Y), batch_size=SIZE))
    )
    assert_same(found, expected)
    np.testing.assert_array_equal(found.state(3, 1), expected.state(3, 1))


class Counting:
    """An array on a disk, indexed by sorted examples as HDF5 asks for; it counts what is read at once."""

    def __init__(self, array):
        self.array, self.most, self.reads = array, 0, 0
        self.shape, self.dtype = array.shape, array.dtype

    def __len__(self):
        return len(self.array)

    def __getitem__(self, rows):
        rows = np.asarray(rows)
        assert (np.diff(rows) > 0).all()
        self.most, self.reads = max(self.most, len(rows)), self.reads + 1
        return self.array[rows]


class Column:
    """A column of a table, as Hugging Face's: it has no shape, and gives rows as a list."""

    def __init__(self, array):
        self.array = array

    def __len__(self):
        return len(self.array)

    def __getitem__(self, rows):
        return self.array[rows].tolist()


def mapped(folder, array, name):
    np.save(folder / name, array)
    return np.load(folder / name, mmap_mode="r")


ONE_BY_ONE = {"chunk": 1, "strategy": "steps"}


@pytest.mark.parametrize(
    ("kind", "cut"),
    [*((kind, {}) for kind in ("memmap", "zarr", "sorted", "column")), ("memmap", ONE_BY_ONE), ("column", ONE_BY_ONE)],
    ids=str,
)
def test_stored_arrays_train_as_arrays_in_memory(kind, cut, tmp_path, precision):
    stored = {
        "memmap": lambda: (mapped(tmp_path, X, "x.npy"), mapped(tmp_path, Y, "y.npy")),
        "zarr": lambda: (zarr.array(X, chunks=(7, 5)), Y),
        "sorted": lambda: (Counting(X), Counting(Y)),
        "column": lambda: (Column(X), Column(Y)),
    }[kind]()
    made = lambda train: jl.Task("t", init, loss, train, validation=(X, Y), batch_size=SIZE)
    expected = jl.sweep(jl.adam, made((X, Y)), SPACE, **OPTIONS, **cut)
    assert_same(jl.sweep(jl.adam, made(stored), SPACE, **OPTIONS, **cut), expected)


def test_stored_arrays_are_read_a_segment_at_a_time(monkeypatch):
    monkeypatch.setattr(cutting, "MOST_SEGMENT_STEPS", 5)
    x = Counting(X)
    t = jl.Task("t", init, loss, (x, Y), batch_size=4)
    jl.sweep(jl.sgd, t, {"learning_rate": [0.1]}, steps=30, seeds=1)
    assert 4 < x.most <= 64  # a segment's; the run's identity is of 64 examples
    assert plan_sweep(jl.sgd, t, {"learning_rate": [0.1]}, steps=30).segment_length == 5


def test_stored_arrays_that_are_not_cut_into_batches_are_read_whole(tmp_path, float64):
    x, y = mapped(tmp_path, X, "x.npy"), zarr.array(Y)
    found = jl.Task("t", init, loss, (x, y), validation=(x, y))
    assert found.feed is None
    assert isinstance(found.train[1], np.ndarray)
    expected = jl.sweep(jl.adam, jl.Task("t", init, loss, (X, Y), validation=(X, Y)), SPACE, **OPTIONS)
    assert_same(jl.sweep(jl.adam, found, SPACE, **OPTIONS), expected)


def test_segments_are_short_where_batches_are_large():
    wide = lambda seed: itertools.repeat(np.zeros((4, 2**20), np.float32))
    t = jl.Task("wide", lambda key: jax.random.normal(key), lambda w, b: w * jnp.mean(b), jl.stream(wide))
    plan = plan_sweep(jl.sgd, t, {"learning_rate": [0.1]}, steps=100)
    assert plan.segment_length == cutting.READ_BYTES // 2**24 == 2


class Watched:
    """A stream that knows how often it was begun, and how many batches it gave."""

    def __init__(self):
        self.begun, self.given, self.lock = collections.Counter(), collections.Counter(), threading.Lock()

    def __call__(self, seed):
        with self.lock:
            self.begun[seed] += 1
        for batch in endless(seed):
            with self.lock:
                self.given[seed] += 1
            yield batch


def test_configurations_share_the_batches_of_their_seed():
    watched = Watched()
    t = task(watched)
    _ = t.train.first
    before = watched.given[0]
    jl.sweep(jl.adam, t, SPACE, **OPTIONS, chunk=1, strategy="scan")  # 6 chunks a seed
    assert watched.given[0] - before == STEPS + 1  # and one for the last loss
    assert [watched.given[seed] for seed in (1, 2)] == [STEPS + 1] * 2


def test_batches_that_were_not_kept_are_read_again(monkeypatch, float64):
    expected = jl.sweep(jl.adam, task(), SPACE, **OPTIONS, chunk=1)
    monkeypatch.setattr(sizing, "MOST_KEPT_BATCHES", 1)
    watched = Watched()
    assert_same(jl.sweep(jl.adam, task(watched), SPACE, **OPTIONS, chunk=1), expected)
    assert watched.begun[1] > 1


def test_an_iterator_may_fill_the_same_arrays_again(float64):
    def reusing(seed):
        x, y = np.empty((SIZE, 5)), np.empty(SIZE)
        for batch in endless(seed):
            x[:], y[:] = batch
            yield x, y

    assert_same(jl.sweep(jl.adam, task(reusing), SPACE, **OPTIONS), jl.sweep(jl.adam, task(), SPACE, **OPTIONS))


def test_a_reader_keeps_no_more_than_it_may(float64):
    each = sum(x.nbytes for x in next(endless(0)))
    reader = StreamReader(jl.stream(endless), "t", 10 * each)
    for seed, first in itertools.product(range(3), range(0, 60, 20)):
        reader.read(seed, first, 20)
        assert sum(x.nbytes for b in reader._kept.values() for x in b) <= 10 * each
    assert sum(len(b[0]) for b in reader._kept.values()) == 10
    assert all(len(known.cursors) == 1 for known in reader._seeds.values())
    reader.close()


def test_a_reader_takes_arrays_without_numbers():
    batch = {"x": np.ones((4, 2), np.float32), "nothing": np.ones((4, 0), np.float32)}
    reader = StreamReader(jl.stream(lambda seed: itertools.repeat(batch)), "t", 0)
    for _ in range(2):  # the second time, they are read again and compared
        found = reader.read(0, 0, 3)
        assert {name: x.shape for name, x in found.items()} == {"x": (3, 4, 2), "nothing": (3, 4, 0)}
    only = StreamReader(jl.stream(lambda seed: itertools.repeat(batch["nothing"])), "t", 0)
    assert only.read(0, 0, 3).shape == (3, 4, 0)


def test_chunks_that_read_at_other_steps_have_their_own_passes(float64):
    watched = Watched()
    reader = StreamReader(jl.stream(watched), "t", 1)
    for first in range(0, 40, 4):
        ahead, behind = reader.read(0, first + 40, 4), reader.read(0, first, 4)
        batches = list(itertools.islice(endless(0), first + 44))
        np.testing.assert_array_equal(ahead[0], np.stack([x for x, _ in batches[first + 40 :]]))
        np.testing.assert_array_equal(behind[1], np.stack([y for _, y in batches[first : first + 4]]))
    assert watched.begun[0] == 3  # one for the first batch of all, which tells the shapes
    reader.close()


def test_an_interrupted_run_goes_on_at_the_right_batch(tmp_path, float64):
    expected = jl.sweep(jl.adam, task(), SPACE, **OPTIONS)
    reports = itertools.count()

    def report(progress):
        if progress.trial_steps and next(reports) in (1, 3):
            raise KeyboardInterrupt

    def slow(seed):
        for batch in endless(seed):
            threading.Event().wait(0.01)
            yield batch

    for attempt in range(5):
        watched = slow if attempt == 0 else endless
        found = jl.sweep(jl.adam, task(watched), SPACE, **OPTIONS, out=tmp_path / "run", checkpoint=0, progress=report)
        if not found.dataset.attrs["interrupted"]:
            break
    assert attempt > 0
    assert_same(found, expected)
    assert_same(jl.load(tmp_path / "run"), expected)
    again = jl.rerun(found, 2, 1, task=task())
    assert again.largest_difference < 1e-12


def test_a_run_folder_knows_another_stream(tmp_path):
    other = lambda seed: endless(seed + 1)
    jl.sweep(jl.adam, task(), SPACE, **OPTIONS, out=tmp_path / "run")
    with pytest.raises(jl.RunError, match="train data"):
        jl.sweep(jl.adam, task(other), SPACE, **OPTIONS, out=tmp_path / "run")
    labelled = jl.Task("stream", init, loss, jl.stream(endless, label="v2"), validation=(X, Y))
    with pytest.raises(jl.RunError, match="train data"):
        jl.sweep(jl.adam, labelled, SPACE, **OPTIONS, out=tmp_path / "run")


def test_a_budget_in_examples_counts_those_of_a_stream(float64):
    found = jl.sweep(jl.adam, task(), SPACE, steps=jl.examples(SIZE * 30 - 5)).dataset
    assert set(found["steps_taken"].values.ravel()) == {30}
    assert set(found["examples_seen"].values.ravel()) == {30 * SIZE}
    with pytest.raises(ValueError, match=r"a stream, so there are no epochs to count\. Use jl\.examples"):
        jl.sweep(jl.adam, task(), SPACE, steps=jl.epochs(2))


def test_a_stream_may_end_after_the_last_loss():
    assert_same(
        jl.sweep(jl.adam, task(counted(STEPS + 1)), SPACE, **OPTIONS), jl.sweep(jl.adam, task(), SPACE, **OPTIONS)
    )


class Unseeded:
    """Gives other batches each time, as a loader that shuffles with a generator of its own."""

    def __init__(self):
        self.rng = np.random.default_rng(0)

    def __call__(self, seed):
        while True:
            yield X[:SIZE], self.rng.normal(size=SIZE)


def changing(change, at=7):
    """Yield batches of which one is changed."""

    def make(seed):
        for n, batch in enumerate(endless(seed)):
            yield change(batch) if n == at else batch

    return make


def failing(batch):
    raise OSError("the disk is gone")


def not_finite(batch):
    return batch[0], np.where(np.arange(SIZE) == 3, np.nan, batch[1])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (counted(STEPS), rf"of seed 0 ended after {STEPS} batches, and needs one more than there are steps"),
        (counted(5), r"ended after 5 batches"),
        (lambda seed: [], r"gave no batch at all"),
        (lambda seed: 3, r"make\(0\) returned 3, which is not iterable"),
        (lambda seed: iter([next(endless(0))]) if seed else endless(0), r"of seed 1 ended after 1 batches"),
        (changing(lambda b: (b[0][:9], b[1][:9])), r"batch 7 has .*\[9, 5\].*but the first.*\[16, 5\].*drop_last=True"),
        (changing(lambda b: (b[0].astype("f2"), b[1])), r"batch 7 has float16\[16, 5\]"),
        (changing(lambda b: b[0]), r"batch 7 has float64\[16, 5\], but"),
        (changing(lambda b: ("a", b[1])), r"batch 7\[0\] must be arrays .* the string 'a'"),
        (changing(not_finite), r"batch 7 have 1 non-finite values"),
        (changing(lambda b: (b[0], b[1][:3])), r"batch 7 must have as many examples"),
        (changing(failing), r"raised OSError: the disk is gone"),
    ],
    ids=lambda x: x[:24] if isinstance(x, str) else "",
)
def test_an_unusable_stream_ends_the_run(make, says):
    with pytest.raises(jl.StreamError, match=says):
        jl.sweep(jl.adam, task(make), SPACE, **OPTIONS)


def test_batches_that_differ_when_they_are_read_again_end_the_run(monkeypatch):
    monkeypatch.setattr(sizing, "MOST_KEPT_BATCHES", 1)
    with pytest.raises(jl.StreamError, match=r"gave another batch for step \d+ when it was read again.*from the seed"):
        jl.sweep(jl.adam, task(Unseeded()), SPACE, **OPTIONS, chunk=1)


def test_a_failed_stream_keeps_the_work_of_a_run(tmp_path, float64):
    with pytest.raises(jl.StreamError):
        jl.sweep(jl.adam, task(counted(30)), SPACE, **OPTIONS, out=tmp_path / "run", checkpoint=0)
    found = jl.sweep(jl.adam, task(), SPACE, **OPTIONS, out=tmp_path / "run")
    assert_same(found, jl.sweep(jl.adam, task(), SPACE, **OPTIONS))


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: jl.stream(endless(0)), TypeError, r"a function of the seed.*jl\.stream\(lambda seed:"),
        (lambda: jl.stream([X]), TypeError, r"a function of the seed"),
        (lambda: jl.stream(endless, label=3), TypeError, r"label must be a string"),
        (lambda: task(batch_size=8), ValueError, r"makes its own batches. Leave batch_size out"),
        (
            lambda: jl.Task("t", init, loss, (X, Y), validation=jl.stream(endless)),
            TypeError,
            r"validation data cannot be a stream",
        ),
        (lambda: jl.Task("t", init, loss, endless(0)), TypeError, r"train=jl\.stream\(make\)"),
        (
            lambda: jl.Task("t", init, loss, (Counting(X), Counting(Y[:9])), batch_size=4),
            ValueError,
            r"as many examples in every array",
        ),
        (
            lambda: jl.Task("t", init, loss, (Column(np.array(["a"] * N)), Y), batch_size=4),
            TypeError,
            r"an array of strings",
        ),
    ],
    ids=range(8),
)
def test_what_cannot_be_read_is_refused(make, error, says):
    with pytest.raises(error, match=says):
        make()


def test_stored_values_that_are_not_finite_end_the_run():
    y = Y.copy()
    y[50] = np.nan
    t = jl.Task("t", init, loss, (Counting(X), Counting(y)), batch_size=SIZE)
    with pytest.raises(jl.StreamError, match=r"non-finite values"):
        jl.sweep(jl.adam, t, SPACE, **OPTIONS)


LARGE = {"identifiers": np.full(N, 2**33), "heights": np.full(N, -1e300), "phases": np.full(N, 1e300j)}


@pytest.mark.parametrize("y", LARGE.values(), ids=LARGE)
@pytest.mark.parametrize("place", ["memory", "stored", "stream"])
def test_values_beyond_32_bits_are_refused(y, place):
    """NumPy and JAX would wrap integers and make floats infinite, without a word."""
    placed = {
        "memory": lambda: jl.Task("t", init, real, (X, y), batch_size=SIZE),
        "stored": lambda: jl.Task("t", init, real, (Counting(X), Counting(y)), batch_size=SIZE),
        "stream": lambda: task(changing(lambda batch: (batch[0], y[:SIZE].astype(y.dtype)), at=0)),
    }
    real = lambda w, batch: jnp.mean(jnp.abs(batch[0] @ w - batch[1]) ** 2)
    says = rf"the {y.dtype} value .*, which JAX's \w+ cannot hold.*jax_enable_x64"
    with jax.enable_x64(False), pytest.raises((ValueError, jl.StreamError), match=says):
        jl.sweep(jl.adam, placed[place](), SPACE, **OPTIONS)


def test_a_stream_of_64_bits_is_used_in_both_precisions():
    """The same stream, first in float32 and then in float64, as its batches come."""
    source = task()
    for wide in (False, True):
        with jax.enable_x64(wide):
            found, by_hand = (jl.sweep(jl.adam, t, SPACE, **OPTIONS) for t in (source, task()))
            assert_same(found, by_hand)


def test_a_memory_map_in_memory_is_an_array(tmp_path):
    x = mapped(tmp_path, X, "x.npy")
    assert jl.Task("t", init, loss, (np.asarray(x), Y), batch_size=4).feed is None
    assert isinstance(jl.Task("t", init, loss, (x, Y), batch_size=4).feed, Rows)


def test_the_memory_of_batches_is_in_the_plan():
    wide = lambda seed: itertools.repeat(np.zeros((64, 4096), np.float32))  # 1 MiB
    t = jl.Task("wide", lambda key: jax.random.normal(key, (4096,)), lambda w, b: jnp.mean(b @ w), jl.stream(wide))
    forecast = jl.plan(jl.sgd, t, {"learning_rate": [0.1, 0.2]}, steps=100)
    segment = plan_sweep(jl.sgd, t, {"learning_rate": [0.1]}, steps=100).segment_length
    assert forecast.groups[0].chunk_bytes >= 2 * segment * 2**20  # a segment's, and the next one's
    assert forecast.peak_bytes > sizing.MOST_KEPT_BATCHES
