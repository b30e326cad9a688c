"""Writing generated pages: only those that changed, so that Sphinx reads no other page again."""

from collections.abc import Mapping
from pathlib import Path


def write(folder: Path, pages: Mapping[str, str]) -> None:
    """Make `folder` hold exactly these pages, by file name."""
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        if old.is_file() and old.name not in pages:
            old.unlink()
    for name, text in pages.items():
        place = folder / name
        if not place.exists() or place.read_text("utf-8") != text:
            place.write_text(text, "utf-8")
