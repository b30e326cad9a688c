"""The numbers that methods compute with: accepted parameters, dtypes of state, |x|^2."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxopt_lab.types import Params


def squared(x: Any) -> Any:
    """Return |x|^2 of every element, a real number."""
    return jnp.real(x) ** 2 + jnp.imag(x) ** 2 if jnp.iscomplexobj(x) else x**2


def adjoint(x: jax.Array) -> jax.Array:
    """Return the conjugate transpose of a matrix, or of each matrix of a stack."""
    return jnp.conj(jnp.swapaxes(x, -1, -2))


def wide_dtype(dtype: Any) -> Any:
    """Return the dtype to compute in: float32 instead of a narrower one."""
    return dtype if jnp.finfo(dtype).bits >= 32 else jnp.dtype("float32")


def widened(x: Any) -> Any:
    """Convert an array to the dtype to compute in; integers keep theirs."""
    x = jnp.asarray(x)
    return x.astype(wide_dtype(x.dtype)) if jnp.issubdtype(x.dtype, jnp.floating) else x


def state_dtype(params_dtype: Any, asked: Any = None) -> Any:
    """Return the dtype of state for parameters of a dtype: the one asked for (a method's `moment_dtype`) or theirs.

    It is float32 if the parameters' dtype has a smaller range: float16 cannot represent the square of a gradient under
    2e-4. Complex parameters have complex state of the precision asked for.
    """
    if asked is None:
        narrow = jnp.finfo(params_dtype).maxexp < jnp.finfo("float32").maxexp
        asked = jnp.dtype("float32") if narrow else params_dtype
    return jnp.promote_types(asked, "complex64") if jnp.issubdtype(params_dtype, jnp.complexfloating) else asked


def real_dtype(dtype: Any) -> Any:
    """Return the dtype of the real and imaginary parts; a real dtype is returned unchanged."""
    return jnp.finfo(dtype).dtype


def needs_numbers(params: Params, real_only: str | None = None, needs_extras: bool = False) -> None:
    """Raise TypeError if a leaf of the parameters cannot be trained.

    `real_only`: the name of a method that is defined for real numbers only; `needs_extras`: whether its update needs
    more than the gradient and the parameters.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        where, dtype = f"params{jax.tree_util.keystr(path)}", _dtype(leaf)
        if dtype is None or not jnp.issubdtype(dtype, jnp.inexact):
            raise TypeError(
                "Parameters are trained by adding small steps to them, so they are floating-point or complex arrays; "
                f"{where} is {dtype or type(leaf).__name__}. Hold it outside the parameters (as data or a constant of "
                "the loss), leave it out by optax.masked, or convert it by jnp.asarray(x, float)."
            )
        if real_only and jnp.issubdtype(dtype, jnp.complexfloating):
            apart = "hold its real and imaginary parts as two real leaves, which the loss joins (x + 1j * y)"
            wrapped = f"wrap it, optax.contrib.split_real_and_imaginary(jl.{real_only}(...)), or {apart}"
            raise TypeError(
                f"{real_only} is defined for real parameters only, and {where} is {dtype}: "
                f"{apart if needs_extras else wrapped}."
            )


def _dtype(leaf: Any) -> Any:
    """Return the dtype of a leaf; None if it is neither an array nor a number."""
    return jnp.result_type(leaf) if isinstance(leaf, bool | int | float | complex) else getattr(leaf, "dtype", None)
