"""Looks: the colour, dash and marker of each optimizer, the same in every picture of every project."""

import zlib
from collections.abc import Sequence
from typing import Any

# Okabe & Ito 2008, "Color Universal Design", without yellow, which is hard to see on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
DASHES: tuple[Any, ...] = ("-", (0, (4, 1.6)), (0, (5, 1.5, 1, 1.5)), (0, (1, 1.2)))
VARIANTS = len(DASHES) * len(MARKERS)  # of each colour, all different

# One row for each variant of the colours. The most used methods have a colour of their own; further down, methods that
# are often compared with each other do not share one. A new name goes to the end, so that no other name changes.
FIXED = (
    *("adam", "sgd", "adamw", "muon", "momentum", "lion", "gradient_descent"),
    *("rmsprop", "nadam", "sophia", "lbfgs", "adagrad", "schedule_free_adamw", "sam"),
    *("prodigy", "adan", "lamb", "adafactor", "radam", "dadapt_adamw", "sign_sgd"),
    *("signum", "yogi", "nadamw", "schedule_free_sgd", "adabelief", "ademamix", "polyak_sgd"),
    *("adadelta", "amsgrad", "cautious_adamw", "galore", "adamax", "adopt", "dog"),
    *("lars", "madgrad", "adamaxw", "dowg", "novograd", "simplified_ademamix", "rprop"),
    *("sm3", "momo", "momo_adam", "fromage", "optimistic_gradient_descent", "optimistic_adam", "noisy_sgd"),
    *("acprop", "cocob", "soap", "shampoo", "normuon", "mars", "scion"),
    *("psgd_kron", "splus", "klshampoo", "dion", "dion2", "nordion2", "adamuon"),
    *("laprop", "adamp", "sgdp", "qhadam", "qhm", "aggmo", "adabound"),
    *("came", "adam_mini", "stable_adamw", "grams", "amos", "mirror_madgrad", "asgd"),
    *("dadapt_sgd", "adahessian", "gpa_adamw", "schedule_free_radam"),
)

Place = tuple[int, int]  # colour, variant


def looks(names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the colour, marker and line of each line of a picture; no two of them are the same.

    A method of this package always has the same look. Another name has one that follows from the name alone; where
    another name of the picture has its colour, it has the next free colour, as long as there is one. A name that occurs
    again keeps its colour.

    Args:
        names: The optimizer of each line.

    """
    places: dict[tuple[str, int], Place] = {(n, 0): _fixed(n) for n in names if n in FIXED}
    for name in sorted({*names} - {*FIXED}):  # in an order that is not that of the picture
        places[name, 0] = _free(zlib.crc32(name.encode()) % (len(COLOURS) * VARIANTS), places)
    found, count = [], dict.fromkeys(names, 0)
    for name in names:
        nth, count[name] = count[name], count[name] + 1
        if nth:
            colour, first = places[name, 0]
            variants = [(first + nth + k) % VARIANTS for k in range(VARIANTS)]
            taken = {variant for c, variant in places.values() if c == colour}
            places[name, nth] = colour, next((v for v in variants if v not in taken), variants[0])
        found.append(_look(places[name, nth]))
    return found


def look(name: str) -> dict[str, Any]:
    """Return the look of an optimizer that is alone in a picture."""
    return looks([name])[0]


def _fixed(name: str) -> Place:
    variant, colour = divmod(FIXED.index(name), len(COLOURS))
    return colour, variant


def _free(first: int, places: dict[Any, Place]) -> Place:
    """Return the first place from number `first` on of a colour that no other name has, or else that is not taken."""
    every = len(COLOURS) * VARIANTS
    numbered = [(n % len(COLOURS), n // len(COLOURS)) for n in (k % every for k in range(first, first + every))]
    taken = {*places.values()}
    colours = {colour for colour, _ in taken}
    free = (place for place in numbered if place not in taken)
    return next((place for place in numbered if place[0] not in colours), next(free, numbered[0]))


def _look(place: Place) -> dict[str, Any]:
    """Return the look at a place; the variants of a colour all differ in dash or marker."""
    from matplotlib import rcParams

    colour, variant = place
    return {
        "color": COLOURS[colour],
        "linestyle": DASHES[variant % len(DASHES)],
        "marker": MARKERS[(colour + variant + variant // len(MARKERS)) % len(MARKERS)],
        "linewidth": rcParams["lines.linewidth"],
        "markersize": 0.6 * rcParams["lines.markersize"],
    }
