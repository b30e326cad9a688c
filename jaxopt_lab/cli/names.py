"""Names that the shell completes."""

from jaxopt_lab.optimizers import OPTIMIZERS
from jaxopt_lab.tasks import TASKS
from jaxopt_lab.verify.optimizers.wrappers import WRAPPERS
from jaxopt_lab.verify.theory import CHECKS


def optimizers(incomplete: str) -> list[str]:
    """Return the optimizers whose names begin so."""
    return [name for name in OPTIMIZERS if name.startswith(incomplete)]


def optimizers_and_wrappers(incomplete: str) -> list[str]:
    """Return the optimizers and wrappers whose names begin so."""
    return [name for name in (*OPTIMIZERS, *WRAPPERS) if name.startswith(incomplete)]


def tasks(incomplete: str) -> list[str]:
    """Return the built-in tasks whose names begin so."""
    return [name for name in TASKS if name.startswith(incomplete)]


def checks(incomplete: str) -> list[str]:
    """Return the checks of theory whose names begin so."""
    return [name for name in CHECKS if name.startswith(incomplete)]
