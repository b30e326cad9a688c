"""Storage: labelled results, and run folders that survive whatever ends a process."""

from jaxopt_lab.store.errors import RunError as RunError
from jaxopt_lab.store.labelled import load as load
from jaxopt_lab.store.labelled import save as save
