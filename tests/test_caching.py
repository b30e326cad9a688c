"""Results that are remembered by exact arguments, also when several threads ask at once."""

import concurrent.futures
import threading

import pytest

from jaxopt_lab.tracing.caching import remembered


def test_threads_that_ask_at_once_share_one_result():
    made, begun, go_on = [], threading.Event(), threading.Event()

    @remembered(maxsize=4)
    def slow(x):
        made.append(x)
        begun.set()
        assert go_on.wait(10)
        return object()

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        first = threads.submit(slow, 1)
        assert begun.wait(10)
        others = [threads.submit(slow, 1) for _ in range(3)]
        assert not concurrent.futures.wait(others, timeout=0.1).done
        go_on.set()
        assert {future.result(10) for future in others} == {first.result(10)}
    assert made == [1]


def test_other_arguments_do_not_wait():
    """Nor does a function that asks for itself with other arguments."""
    waiting, go_on = threading.Event(), threading.Event()

    @remembered(maxsize=4)
    def made(x):
        if x == 1:
            waiting.set()
            assert go_on.wait(10)
        return x if x < 3 else made(x - 1) + 1

    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        first = threads.submit(made, 1)
        assert waiting.wait(10)
        assert made(4) == 4
        go_on.set()
        assert first.result(10) == 1


def test_an_error_is_not_remembered():
    calls = []

    @remembered(maxsize=4)
    def failing(x):
        calls.append(x)
        raise OSError("no")

    for _ in range(2):
        with pytest.raises(OSError, match="no"):
            failing(1)
    assert calls == [1, 1]
