"""The errors of this package that are not simply a TypeError or a ValueError."""


class LedgerError(RuntimeError):
    """A ledger cannot be read or written any more. It ends the run, since what is not kept would be lost."""


class RunError(LedgerError):
    """A run folder is in use, damaged, of another sweep, or cannot be written. Nothing in it was changed by that."""


class ClusterError(RuntimeError):
    """There is no cluster, or none that can run the sweep."""


class ActorsLostError(RuntimeError):
    """A piece of work has lost one actor after another, so it is not tried again."""
