"""Batches as a pure function of (key, step): each epoch visits every example once, in a fresh order."""

import math

import jax
import jax.numpy as jnp

from jaxopt_lab.types import Key

ROUNDS = 12  # enough that every position, and every order of a few examples, is equally likely, up to parity


def batch_key(key: Key) -> Key:
    """Return the key for a trial's batches, which do not depend on the optimizer."""
    return jax.random.fold_in(key, 1)


def batch_indices(key: Key, step: jax.Array, examples: int, batch_size: int) -> jax.Array:
    """Return the indices of the examples in the batch of `step`: int32, shape (batch_size,).

    An epoch is `examples // batch_size` steps; the last examples of an epoch's order that do not fill a batch are left
    out, so all batches have the same size. No state is carried from step to step, so a trial can resume at any step.
    """
    steps_per_epoch = examples // batch_size
    epoch, position = step // steps_per_epoch, step % steps_per_epoch
    return shuffled(jax.random.fold_in(key, epoch), position * batch_size + jnp.arange(batch_size), examples)


def shuffled(key: Key, i: jax.Array, n: int) -> jax.Array:
    """Return the images of the positions `i` under a random permutation of range(n), drawn with `key`.

    Costs O(len(i)) instead of the O(n log n) of sorting: a generalised Feistel network on a x b >= n, walked until it
    lands inside range(n) (Black & Rogaway 2002, "Ciphers with arbitrary finite domains", section 5,
    https://doi.org/10.1007/3-540-45760-7_9).
    """
    a = math.isqrt(n - 1) + 1
    b = -(-n // a)  # a * b exceeds n by less than a, so a walk is nearly always one step
    keys = jax.random.bits(key, (ROUNDS,), jnp.uint32)

    def network(x):
        def two_rounds(k, halves):
            left, right = halves
            left = (left + _mix(right ^ keys[2 * k]) % a) % a
            return left, (right + _mix(left ^ keys[2 * k + 1]) % b) % b

        left, right = jax.lax.fori_loop(0, ROUNDS // 2, two_rounds, (x % a, x // a))
        return left + a * right

    outside = lambda x: jnp.any(x >= n)
    walk = lambda x: jnp.where(x >= n, network(x), x)
    return jax.lax.while_loop(outside, walk, network(i.astype(jnp.uint32))).astype(jnp.int32)


def _mix(x: jax.Array) -> jax.Array:
    """Mix bits: every bit of the result depends on every bit of x (the finaliser of MurmurHash3, public domain)."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)
