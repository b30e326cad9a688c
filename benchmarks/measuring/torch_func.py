"""The models of networks.py in PyTorch: all trials in one stack by `torch.func`, the whole step by `torch.compile`.

Written as its model-ensembling tutorial does, with Adam by hand: `torch.optim` has one learning rate for a tensor, and
here each slice of a tensor has its own. Starts and batches are those of the JAX loops, so that losses can be compared.
"""

import functools
import os
import tempfile
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from measuring.loops import Train
from measuring.networks import EPSILON, HEADS, WIDTH
from torch import func  # pyright: ignore[reportMissingImports]
from torch.nn import functional  # pyright: ignore[reportMissingImports]
from torch.utils import _pytree  # pyright: ignore[reportMissingImports]

import jaxopt_lab as jl
from jaxopt_lab.tasks.seeding import draws, initial
from jaxopt_lab.types import random_key

FOLDER = "TORCHINDUCTOR_CACHE_DIR"
if FOLDER not in os.environ:  # an empty cache, so that first calls compile
    _fresh = tempfile.TemporaryDirectory(prefix="inductor-", ignore_cleanup_errors=True)
    os.environ[FOLDER] = _fresh.name
B1, B2, EPS = 0.9, 0.999, 1e-8
Tree = Any


def transformer_loss(params: Tree, batch: Tree) -> torch.Tensor:
    """Return the loss of `networks.character_transformer`."""
    (text,) = batch
    x = params["characters"][text[:, :-1]] + params["positions"]
    for layer in params["layers"]:
        joint = _normalised(x, layer["attention_scale"]) @ layer["queries_keys_values"]
        q, k, v = joint.reshape(*x.shape[:-1], 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        # Its fused attention has no rule for a stack, and would run slice by slice.
        scores = q @ k.transpose(-1, -2) / (WIDTH // HEADS) ** 0.5
        future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        attended = scores.masked_fill(future, -torch.inf).softmax(-1) @ v
        x = x + attended.permute(0, 2, 1, 3).reshape(x.shape) @ layer["joined"]
        hidden = _normalised(x, layer["hidden_scale"]) @ layer["hidden"] + layer["hidden_biases"]
        x = x + functional.gelu(hidden, approximate="tanh") @ layer["out"]
    logits = _normalised(x, params["head_scale"]) @ params["head"]
    return functional.cross_entropy(logits.flatten(0, 1), text[:, 1:].flatten())


def convolutions_loss(params: Tree, batch: Tree) -> torch.Tensor:
    """Return the loss of `networks.convolutional_network`; PyTorch's layout has channels first."""
    x, y = batch
    x = x.permute(0, 3, 1, 2)
    for layer in params["convolutions"]:
        x = functional.conv2d(x, layer["filters"].permute(3, 2, 0, 1), padding=1)
        x = functional.relu(x * layer["scale"][:, None, None] + layer["shift"][:, None, None])
    x = functional.max_pool2d(x, 2).permute(0, 2, 3, 1).flatten(1)
    return functional.cross_entropy(x @ params["head"]["weights"] + params["head"]["biases"], y)


LOSSES = {"transformer": transformer_loss, "convolutions": convolutions_loss}


def stacked(name: str, task: jl.Task, threads: int) -> dict[str, Train]:
    """The ways to train a model of `LOSSES` by name, freshly compiled."""
    found = {}
    for way, compiles in (("torch.func", False), ("torch.func, compiled", True)):
        step = _make_step(LOSSES[name])
        step = torch.compile(step, dynamic=False) if compiles else step
        found[way] = functools.partial(_train, step, task, threads)
    return found


def _make_step(loss: Callable[[Tree, Tree], torch.Tensor]) -> Callable[..., torch.Tensor]:
    """A step of Adam on a stack of (seeds, learning rates), in place; trials of a seed share its batch."""
    of_rates = func.vmap(func.grad_and_value(loss), in_dims=(0, None))
    grads_and_losses = func.vmap(of_rates, in_dims=(0, 0))

    def step(params, m, v, rates, m_scale, v_scale, batch):
        grads, losses = grads_and_losses(params, batch)
        leaves = (_pytree.tree_leaves(tree) for tree in (params, m, v, grads))
        for w, mean, square, grad in zip(*leaves, strict=True):
            mean.lerp_(grad, 1 - B1)
            square.mul_(B2).addcmul_(grad, grad, value=1 - B2)
            rate = (rates * m_scale).view(1, -1, *[1] * (w.ndim - 2))
            w.sub_(rate * mean / ((square * v_scale).sqrt() + EPS))
        return losses

    return step


@torch.no_grad()
def _train(
    step: Callable[..., torch.Tensor], task: jl.Task, threads: int, rates: np.ndarray, seeds: np.ndarray, steps: int
) -> np.ndarray:
    """One stack, from its making to its last losses."""
    torch.set_num_threads(threads)
    made = [_made(task, int(seed), steps) for seed in seeds]
    stack = lambda *of_seeds: torch.stack([x.expand(len(rates), *x.shape) for x in of_seeds]).contiguous()
    params = jax.tree.map(stack, *(params for params, _ in made))
    m, v = (jax.tree.map(torch.zeros_like, params) for _ in range(2))
    batches = jax.tree.map(lambda *of_seeds: torch.stack(of_seeds, 1), *(batches for _, batches in made))
    taken = torch.arange(1, steps + 1)
    m_scales, v_scales = 1 / (1 - B1**taken), 1 / (1 - B2**taken)
    learning_rates, losses = torch.tensor(rates), []
    for t in range(steps):
        batch = tuple(x[t] for x in batches)
        losses.append(step(params, m, v, learning_rates, m_scales[t], v_scales[t], batch))
    return torch.stack(losses).permute(2, 1, 0).numpy()


@functools.lru_cache(maxsize=8)
def _made(task: jl.Task, seed: int, steps: int) -> tuple[Tree, tuple[torch.Tensor, ...]]:
    """Return a seed's start and its batches, as tensors."""
    key = random_key(jnp.int32(seed))
    params, _ = initial(task, key)
    indices, _ = draws(task, key, jnp.int32(0), steps)
    batches = jax.vmap(lambda index: task.take(jax.tree.map(jnp.asarray, task.train), index))(indices)
    tensor = lambda x: torch.tensor(np.asarray(x, np.int64 if x.dtype == jnp.int32 else np.float32))
    return jax.tree.map(tensor, params), tuple(tensor(x) for x in jax.tree.leaves(batches))


def _normalised(x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return scale * x * torch.rsqrt(torch.mean(x**2, dim=-1, keepdim=True) + EPSILON)
