"""Digests of what a traced function computes: of its equations, and of every value that it closes over.

Digests are the same in every process, and for a function that is redefined with the same content. A Python function
that a program calls back (`jax.pure_callback`, `jax.experimental.io_callback`, the rule of a `custom_vmap`) is not
traced: it is identified by its module and name, its bytecode and constants, and the plain values, arrays and functions
in its closure, its default arguments, its `functools.partial` and the globals that it names. Anything else that it
reads (a file, an object's attribute that its own module changes) is not seen. Rules of `custom_jvp` and `custom_vjp`
have been applied wherever a derivative was taken; those that remain in a program are never used, so they are ignored.
"""

import dataclasses
import enum
import functools
import hashlib
import re
import types
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import partial_eval

if TYPE_CHECKING:  # its import is slow
    from jax.extend.core import ClosedJaxpr, Jaxpr

ADDRESS = re.compile(r" at 0x[0-9a-f]+")  # memory addresses in the `repr` of functions
# Parameters of equations that do not affect results: names, source locations, rules for derivatives not yet taken.
SILENT = frozenset(
    ("name", "debug_info", "name_and_src_info", "jvp_jaxpr_fun", "fwd_jaxpr_thunk", "bwd", "out_trees", "jvp_fun")
)
HOST = ("pure_callback", "io_callback")  # their results may depend on more than their arguments


class Fingerprint(NamedTuple):
    """The fingerprint of a traced function.

    Attributes:
        form: A digest of its equations with their scalars, and of the shapes of the arrays that it closes over.
        whole: A digest of `form` and of the values of all arrays that it closes over.
        arrays: Sorted digests of these arrays (those of more than one number), which do not depend on JAX's version.
        primitives: The names of its operations.

    """

    form: str
    whole: str
    arrays: tuple[str, ...]
    primitives: frozenset[str]


def trace(function: Callable[..., Any], *arguments: Any) -> "ClosedJaxpr":
    """Trace as `jax.make_jaxpr` does, but never from JAX's cache, whose key lacks the default key generator."""
    return jax.make_jaxpr(lambda *given: function(*given))(*arguments)


def fingerprint(traced: "ClosedJaxpr") -> Fingerprint:
    """Compute the digests of a traced function that `trace` returned."""
    writer = _Writer()
    writer.program(traced.jaxpr, traced.consts)
    form, values = digest("\n".join(writer.lines).encode()), sorted(set(writer.large))
    return Fingerprint(
        form, digest("\n".join([form, *writer.values]).encode()), tuple(values), frozenset(writer.primitives)
    )


def uses(traced: "ClosedJaxpr", argument: int) -> bool:
    """Return whether a result depends on this argument; a callback to the host counts as dependence."""
    _, used = partial_eval.dce_jaxpr(traced.jaxpr, [True] * len(traced.jaxpr.outvars))
    return used[argument] or not fingerprint(traced).primitives.isdisjoint(HOST)


def digest(content: Any) -> str:
    """Return the SHA-256 of bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def digest_of_arrays(tree: Any) -> str:
    """Return the digest of a tree's structure, and of its arrays' types, shapes and bytes."""
    leaves, structure = jax.tree.flatten(tree)
    return digest("\n".join([_plain(structure), *map(digest_of_array, leaves)]).encode())


def digest_of_array(x: Any) -> str:
    """Return the digest of an array's type, shape and bytes."""
    if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return digest(f"{jax.random.key_impl(x)} {digest_of_array(jax.random.key_data(x))}".encode())
    held = np.asarray(x)
    if held.dtype.hasobject:
        return digest(_plain(x).encode())
    hashed = hashlib.sha256(f"{held.dtype.name}{held.shape}".encode())
    hashed.update(np.ascontiguousarray(held).reshape(-1).view(np.uint8).data)
    return hashed.hexdigest()


def digest_of_code(*parts: Any) -> str:
    """Return the digest of Python functions and plain values, written as for functions that a program calls back."""
    writer = _Writer()
    for part in parts:
        writer.value(part)
    return digest("\n".join([*writer.lines, *writer.values]).encode())


class _Writer:
    """Writes programs as lines of text that are the same in every process."""

    def __init__(self):
        self.lines: list[str] = []
        self.values: list[str] = []  # digests of the values closed over, in order
        self.large: list[str] = []
        self.primitives: set[str] = set()
        self._known: dict[int, tuple[Any, str]] = {}  # by address; holds the objects, so that it is not reused
        self._functions: dict[int, Any] = {}  # by address, in the order in which they were written
        self._open: set[int] = set()  # containers and objects that are being written

    def program(self, jaxpr: "Jaxpr", consts: Iterable[Any] = ()) -> None:
        numbers: dict[Any, int] = {}

        def number(variables):
            return " ".join(f"{numbers.setdefault(v, len(numbers))}:{v.aval}" for v in variables)

        self.lines.append(f"program {number(jaxpr.constvars)} ; {number(jaxpr.invars)}")
        for value in consts:
            self.array(value)
        atom = lambda v: self.scalar(v) if hasattr(v, "val") else str(numbers.get(v))
        for equation in jaxpr.eqns:
            self.primitives.add(equation.primitive.name)
            arguments = " ".join(map(atom, equation.invars))
            self.lines.append(f"{equation.primitive.name} {arguments} -> {number(equation.outvars)}")
            for name in sorted(equation.params.keys() - SILENT):
                value = equation.params[name]
                if value is not None:
                    self.lines.append(name)
                    self.value(value)
        self.lines.append(f"in {' '.join(map(atom, jaxpr.outvars))}")

    def scalar(self, literal: Any) -> str:
        held = np.asarray(literal.val)
        if held.ndim:
            self.array(held)
            return f"{literal.aval}"
        exact = held.astype(literal.aval.dtype).tobytes().hex() if held.dtype.kind in "biufcV" else _plain(literal.val)
        return f"{literal.aval}{exact}"

    def array(self, x: Any) -> None:
        """Write a value that is closed over: its type and shape among the lines, its digest in `values`."""
        if id(x) not in self._known:
            self._known[id(x)] = x, digest_of_array(x) if hasattr(x, "dtype") else digest(_plain(x).encode())
        found = self._known[id(x)][1]
        self.lines.append(f"array {getattr(x, 'dtype', type(x).__name__)}{np.shape(x)}")
        self.values.append(found)
        if np.size(x) > 1:
            self.large.append(found)

    def value(self, x: Any) -> None:
        """Write a parameter of an equation, or a value that a callback's function refers to."""
        if hasattr(x, "jaxpr") and hasattr(x, "consts"):
            self.program(x.jaxpr, x.consts)
        elif hasattr(x, "eqns"):
            self.program(x)
        elif isinstance(x, np.ndarray | np.generic | jax.Array):
            self.array(x)
        elif isinstance(x, enum.Enum) or x is None or isinstance(x, bool | int | float | complex | str | bytes):
            self.lines.append(f"{type(x).__qualname__} {x!r}")
        elif isinstance(x, types.FunctionType):
            if id(x) in self._functions:
                self.lines.append(f"function {list(self._functions).index(id(x))}")
            else:
                self._functions[id(x)] = x
                self._function(x)
        elif id(x) in self._open:
            self.lines.append(f"{type(x).__qualname__} above")
        else:
            self._open.add(id(x))
            self.lines.append(type(x).__qualname__)
            self._parts(x)
            self._open.remove(id(x))

    def _parts(self, x: Any) -> None:
        if isinstance(x, tuple | list):
            self.lines.append(str(len(x)))
            for part in x:
                self.value(part)
        elif isinstance(x, Mapping):
            for name, part in x.items():
                self.value(name)
                self.value(part)
        elif isinstance(x, set | frozenset):
            self.lines += sorted(map(_plain, x))
        elif isinstance(x, types.CodeType):
            self.lines += [x.co_code.hex(), *x.co_names]
            self.value(x.co_consts)
        elif isinstance(x, types.MethodType):
            self.value(x.__func__)
            self.value(vars(x.__self__) if hasattr(x.__self__, "__dict__") else None)
        elif isinstance(x, functools.partial):
            self.value((x.func, x.args, x.keywords))
        elif isinstance(x, type | types.ModuleType | types.BuiltinFunctionType):
            self.lines.append(f"{getattr(x, '__module__', '')} {x.__name__}")
        elif dataclasses.is_dataclass(x):
            self.value({field.name: getattr(x, field.name) for field in dataclasses.fields(x)})
        elif callable(x) and hasattr(x, "__dict__"):
            self.value(type(x).__call__)
            self.value(vars(x))
        else:
            self.lines.append(_plain(x))

    def _function(self, f: Callable[..., Any]) -> None:
        code = f.__code__
        self.lines.append(f"{f.__module__} {f.__qualname__}")
        self.value(code)
        self.value((f.__defaults__, f.__kwdefaults__))
        for name, cell in zip(code.co_freevars, f.__closure__ or (), strict=True):
            self.lines.append(name)
            self.value(_held(cell))
        for name in code.co_names:
            found = f.__globals__.get(name)
            own = isinstance(found, types.FunctionType) and found.__module__ == f.__module__
            if own or isinstance(found, bool | int | float | complex | str | bytes | tuple | np.ndarray | jax.Array):
                self.lines.append(name)
                self.value(found)


def _held(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # the cell is still empty
        return None


def _plain(x: Any) -> str:
    return ADDRESS.sub("", repr(x))
