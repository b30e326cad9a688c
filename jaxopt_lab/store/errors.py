"""What is said when a run folder cannot be used."""

from jaxopt_lab.engine.ledger import LedgerError


class RunError(LedgerError):
    """A run folder is in use, damaged, of another sweep, or cannot be written. Nothing in it was changed by that."""
