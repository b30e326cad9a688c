"""Names that tasks give to curves, losses, metrics and hyperparameters."""

from typing import Any

from jaxopt_lab.errors import ArgumentTypeError, ArgumentValueError

LOSS = "loss"  # the objective's name among the metrics
LOSS_CURVE = "train_loss"  # the first of a trial's curves
IN_FORCE = "_in_force"  # suffix of the curves of hyperparameters that change during a trial
AFTER_RUNG = "_after_rung"  # suffix of what a stop rule made of hyperparameters at its rungs
CONTINUED_FROM = "continued_from"  # from whose state a trial continued after a rung
SPLITS = ("train", "validation", "test")
QUARTILES = ("_q25", "_q75")  # suffixes of quartile columns in leaderboards
LONGEST_NAME = 200  # bytes of a metric's name: file systems take 255
TASK_PREFIX = "task."  # of the names of a task's hyperparameters in a space


def check_name(what: str, name: str) -> None:
    """Raise where results cannot have `what`, a metric or a curve, under this name."""
    if not name or not name.isprintable() or set(name) & set("/\\") or len(name.encode()) > LONGEST_NAME:
        raise ArgumentValueError(
            f"{what} cannot be called {name!r:.80}: results have a file of that name, so it must have 1 to "
            f"{LONGEST_NAME} bytes, all printable, and no slash."
        )
    if name.endswith(QUARTILES):
        raise ArgumentValueError(f"{what} cannot be called {name!r}: leaderboards use this suffix for quartiles.")


def check_curve_name(what: str, name: Any) -> None:
    """Raise where `name`, given to a scalar that the loss returns, cannot be the name of a curve."""
    if not isinstance(name, str):
        raise ArgumentTypeError(f"{what}: the names of further scalars must be strings, got {name!r}.")
    check_name(f"{what}: a further scalar", name)
    if name == LOSS_CURVE or name.startswith(("validation_", "test_")) or name.endswith((IN_FORCE, AFTER_RUNG)):
        raise ArgumentValueError(
            f"{what}: a further scalar cannot be called {name!r}: results use that name. Rename it."
        )
