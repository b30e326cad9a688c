"""The folder for what is worth keeping between processes: compiled programs, measured strategies, simulated bands."""

import os
from pathlib import Path

VARIABLE = "JAXOPT_LAB_CACHE"  # a folder, or "off"


def cache_folder() -> Path | None:
    """Return the cache folder: `$JAXOPT_LAB_CACHE`, or jaxopt_lab in the user's cache folder; None where it is off."""
    named = os.environ.get(VARIABLE, "")
    if named.lower() in ("off", "0", "false", "no"):
        return None
    if named:
        return Path(named).expanduser()
    from platformdirs import user_cache_path  # which only those need who have not named a folder

    return user_cache_path("jaxopt_lab", appauthor=False)
