"""PyTorch's torch.func: many networks as one, stacked as its model-ensembling tutorial does, with Adam by hand.

`torch.optim` has one learning rate for a tensor, and here each slice of a tensor has its own. All trials at a time or
some; each with batches of its own, or on one that all of the stack share, as they do in a sweep.
"""

import functools
from collections.abc import Callable, Sequence

import torch  # pyright: ignore[reportMissingImports]
from _peer_torch import data, network
from _processes import CORES, pool
from measuring.handwritten import batch_size, digits
from torch import func, nn  # pyright: ignore[reportMissingImports]

B1, B2, EPS = 0.9, 0.999, 1e-8
SOME = (32, 64)  # networks at a time, where not all


def stacked(width: int, steps: int) -> dict[str, Callable[[Sequence[float]], list[float]]]:
    """Eager, with all cores: what the tutorial leads to."""
    ways = {}
    for shared in (True, False):
        step = _make_step(width, shared)
        for size in (None, max(SOME)):
            name = f"{size or 'all'} at once, {'shared' if shared else 'own'} batches"
            ways[name] = functools.partial(_in_turn, step, width, steps, shared, size)
    return ways


def compiled(width: int, steps: int) -> dict[str, Callable[[Sequence[float]], list[float]]]:
    """The whole step compiled by `torch.compile`, which needs a C++ compiler; also as a process a core."""
    ways = {}
    for shared in (True, False):
        step = _compiled_step(width, shared)
        name = f"all at once, {'shared' if shared else 'own'} batches"
        ways[name] = functools.partial(_in_turn, step, width, steps, shared, None)
    for size in SOME:
        name = f"{size} at once, shared batches, {CORES} processes"
        ways[name] = functools.partial(_in_processes, width, steps, size)
    return ways


def _make_step(width: int, shared: bool) -> Callable[..., torch.Tensor]:
    """A step of Adam on all the networks of a stack, in place."""
    base = network(width).to("meta")  # the structure alone

    def loss(params, x, y):
        return nn.functional.cross_entropy(func.functional_call(base, params, (x,)), y)

    in_dims = (0, None, None) if shared else (0, 0, 0)
    grads_and_losses = func.vmap(func.grad_and_value(loss), in_dims=in_dims)

    def step(params, m, v, rates, m_scale, v_scale, x, y):
        grads, losses = grads_and_losses(params, x, y)
        for name, w in params.items():
            m[name].lerp_(grads[name], 1 - B1)
            v[name].mul_(B2).addcmul_(grads[name], grads[name], value=1 - B2)
            rate = (rates * m_scale).view(-1, *[1] * (w.ndim - 1))
            w.sub_(rate * m[name] / ((v[name] * v_scale).sqrt() + EPS))
        return losses

    return step


def _compiled_step(width: int, shared: bool) -> Callable[..., torch.Tensor]:
    return torch.compile(_make_step(width, shared), dynamic=False)


_kept_step = functools.cache(_compiled_step)  # by a process that lives on, so that it compiles once


@torch.no_grad()
def _train(step, width: int, steps: int, shared: bool, rates: Sequence[float]) -> list[float]:
    """One stack, from its making to its last losses."""
    x, y = data(width)
    n, batch = len(rates), batch_size(digits(width))
    params = func.stack_module_state([network(width) for _ in rates])[0]
    m, v = ({name: torch.zeros_like(w) for name, w in params.items()} for _ in range(2))
    taken = torch.arange(1, steps + 1)
    m_scales, v_scales = 1 / (1 - B1**taken), 1 / (1 - B2**taken)
    learning_rates, losses = torch.tensor(rates, dtype=torch.float32), torch.full((n,), torch.nan)
    for t in range(steps):
        index = torch.randint(len(x), (batch,) if shared else (n, batch))
        losses = step(params, m, v, learning_rates, m_scales[t], v_scales[t], x[index], y[index])
    return losses.tolist()


def _pieces(rates, size):
    return [rates[i : i + (size or len(rates))] for i in range(0, len(rates), size or len(rates))]


def _in_turn(step, width, steps, shared, size, rates):
    torch.set_num_threads(CORES)
    return [loss for piece in _pieces(rates, size) for loss in _train(step, width, steps, shared, piece)]


def _in_processes(width, steps, size, rates):
    pieces = pool().map(functools.partial(_work, width, steps), _pieces(rates, size))
    return [loss for losses in pieces for loss in losses]


def _work(width, steps, rates):
    torch.set_num_threads(1)
    return _train(_kept_step(width, True), width, steps, True, rates)
