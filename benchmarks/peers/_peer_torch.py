"""PyTorch: a module, `torch.optim.Adam` and a training loop for each learning rate, one after the other.

Its documentation's own ways to make this faster are tried: the fused Adam, `torch.compile` of the module, and, since
one such network does not fill two cores, a process a core.
"""

import functools
import os
import tempfile
from collections.abc import Callable, Sequence

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from _processes import CORES, pool
from measuring.handwritten import batch_size, digits
from torch import nn  # pyright: ignore[reportMissingImports]

FOLDER = "TORCHINDUCTOR_CACHE_DIR"
if FOLDER not in os.environ:  # an empty cache, so that first calls compile; processes of ours inherit its name
    _fresh = tempfile.TemporaryDirectory(prefix="inductor-", ignore_cleanup_errors=True)
    os.environ[FOLDER] = _fresh.name


def loops(width: int, steps: int) -> dict[str, Callable[[Sequence[float]], list[float]]]:
    """Plain eager PyTorch."""
    ways = {
        f"{threads} thread{'s' * (threads > 1)}{', fused Adam' * fused}": functools.partial(
            _one_by_one, threads, functools.partial(_train, width, steps, fused)
        )
        for threads in sorted({1, CORES})
        for fused in (False, True)
    }
    alone = functools.partial(_one_thread, functools.partial(_train, width, steps, True))
    return ways | {f"{CORES} processes, fused Adam": lambda rates: list(pool().map(alone, rates))}


def compiled(width: int, steps: int) -> dict[str, Callable[[Sequence[float]], list[float]]]:
    """The module compiled by `torch.compile`, which needs a C++ compiler, and the fused Adam."""
    train = functools.partial(_train, width, steps, True, compiled=True)
    alone = functools.partial(_one_thread, train)
    return {
        "1 thread": functools.partial(_one_by_one, 1, train),
        f"{CORES} processes": lambda rates: list(pool().map(alone, rates)),
    }


def network(width: int) -> nn.Module:
    """The digits network; its layers start as PyTorch's do."""
    x, y = data(width)
    return nn.Sequential(nn.Linear(x.shape[1], width), nn.ReLU(), nn.Linear(width, int(y.max()) + 1))


@functools.cache
def data(width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The task's training data."""
    x, y = digits(width).train
    return torch.tensor(np.asarray(x), dtype=torch.float32), torch.tensor(np.asarray(y), dtype=torch.int64)


def _train(width: int, steps: int, fused: bool, rate: float, compiled: bool = False) -> float:
    x, y = data(width)
    batch = batch_size(digits(width))
    model = network(width)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate, fused=fused or None)
    forward = torch.compile(model) if compiled else model
    loss = torch.tensor(torch.nan)
    for _ in range(steps):
        index = torch.randint(len(x), (batch,))
        loss = nn.functional.cross_entropy(forward(x[index]), y[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


def _one_by_one(threads, train, rates):
    torch.set_num_threads(threads)
    return [train(rate) for rate in rates]


def _one_thread(train, rate):
    torch.set_num_threads(1)
    return train(rate)
