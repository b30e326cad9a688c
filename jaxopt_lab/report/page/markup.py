"""HTML from Python values: whatever is not marked as HTML is escaped."""

from collections.abc import Iterable
from html import escape
from typing import Any

VOID = ("input", "meta", "br", "img")


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def el(name: str, /, *children: Any, **attributes: Any) -> Html:
    """Make an element.

    Args:
        name: Its name.
        children: Its content: `Html` as it is, lists of children, anything else as escaped text.
        attributes: Its attributes: `class_` for class, `aria_label` for aria-label. True is an attribute without a
            value; None and False leave it out.

    """
    parts = [name]
    for key, value in attributes.items():
        key = key.rstrip("_").replace("_", "-")
        if value is True:
            parts.append(key)
        elif value is not None and value is not False:
            parts.append(f'{key}="{escape(str(value))}"')
    opening = f"<{' '.join(parts)}>"
    return Html(opening) if name in VOID else Html(f"{opening}{joined(children)}</{name}>")


def joined(children: Iterable[Any]) -> Html:
    """Join children: `Html` as it is, lists of children, anything else as escaped text; None is nothing."""
    return Html("".join(_child(child) for child in children if child is not None))


def _child(child: Any) -> str:
    if isinstance(child, Html):
        return child
    return joined(child) if isinstance(child, list | tuple) else escape(str(child), quote=False)
