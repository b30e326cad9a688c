"""What the update alone came to, over all methods: of `update.py`, and of `fused.py`."""

from _figures import across, figures

UPDATES = {
    "1e+04": "10^4",
    "1e+04 one core": "10^4, one core",
    "1e+06": "10^6",
    "3e+07": "3.2 10^7",
    "100 leaves": "100 x 64",
    "1000 leaves": "1,000 x 64",
}
TIMED = ("1e+04", "100 leaves", "1000 leaves")  # compiled several times
FORMS = {
    "again": "Optax's beside itself",
    "tree": "ours",
    "told": "ours, `jl.compiler_options`",
    "optax told": "Optax's, `jl.compiler_options`",
    "flat": "ours, held flat",
}
FUSED = {"again": "Optax's beside itself", "tree": "ours", "fused": "ours, `jl.fused`"}


def updates() -> list[str]:
    """Of every optimizer's update alone, by size and form: rate over Optax's, and compile time over Optax's."""
    found, slow, late = figures("update-cpu"), [], []
    heads = "parameters", "form", "methods", "rate", "surely above 1", "surely below 1", "compile time"
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for problem, size in UPDATES.items():
        rows = {name: row[problem] for name, row in found.items() if problem in row}
        for form, called in FORMS.items():
            rates = {name: row["ratio"][form] for name, row in rows.items() if form in row["ratio"]}
            if not rates:
                continue
            above, below = (sum(map(surely, rates.values())) for surely in (_above, _below))
            compiling = {name: rows[name]["compile_ratio"][form] for name in rates}
            timed = across(ratio["median"] for ratio in compiling.values()) if problem in TIMED else ""
            cells = (size, called, len(rates), across(rate["median"] for rate in rates.values()), above, below, timed)
            lines.append(f"| {' | '.join(map(str, cells))} |")
            if form in ("tree", "told", "flat"):
                below_1 = [name for name, rate in rates.items() if _below(rate)]
                slow += [f"{name} at {size}, {called} {_interval(rates[name])}" for name in below_1]
            if form == "tree" and problem == "1e+04":
                late = [f"{name} {_interval(ratio)}" for name, ratio in compiling.items() if _above(ratio)]
    lines += ["", f"Ours surely below 1: {', '.join(slow) or 'none'}."]
    return [*lines, "", f"Ours, compiled in surely more than Optax's time: {', '.join(late) or 'none'}."]


def _within(ratio: dict[str, float]) -> tuple[float, float]:
    """What holds the true median in 95 of 100 cases; where no interval is on record, all of seven turns or more do."""
    return ratio.get("low", ratio["least"]), ratio.get("high", ratio["most"])


def _above(ratio: dict[str, float]) -> bool:
    return _within(ratio)[0] > 1


def _below(ratio: dict[str, float]) -> bool:
    return _within(ratio)[1] < 1


def _interval(ratio: dict[str, float]) -> str:
    low, high = _within(ratio)
    return f"({ratio['median']:.2f}; {low:.2f} to {high:.2f})"


def fused() -> list[str]:
    """Of updates out of one kernel, by size and form: rate over Optax's, and share of what the machine can move."""
    found, short = figures("fused-cpu"), []
    lines = ["| parameters | form | methods | rate | share of adding in place | at .85 or more |", "|" + "---|" * 6]
    for problem in ("1e+06", "3e+07"):
        rows = {name: row[problem] for name, row in found.items() if problem in row}
        for form, called in FUSED.items():
            of = lambda kind, form=form, rows=rows: [row[kind][form]["median"] for row in rows.values()]
            enough = sum(share >= 0.85 for share in of("share"))
            cells = (UPDATES[problem], called, len(rows), across(of("ratio")), across(of("share")), enough)
            lines.append(f"| {' | '.join(map(str, cells))} |")
        if problem == "3e+07":
            shares = {name: row["share"]["fused"]["median"] for name, row in rows.items()}
            short = [f"{name} ({share:.2f})" for name, share in shares.items() if share < 0.85]
    return [*lines, "", f"Fused at 3.2 10^7 below .85: {', '.join(short) or 'none'}."]


UPDATE = """
Rates are medians over all methods (least to most), each of which is a median of several turns. Surely above or below 1:
the interval that holds such a median in 95 of 100 cases lies on that side (in brackets below); of fifty equal programs
that happens to one or two on either side, as Optax's beside itself shows.

At 10^4 a step is a dozen kernels of a microsecond each, and what XLA's two threads make of them outweighs the work:
simplified AdEMAMix is Optax's kernels but for a division saved, and comes to .67 on two cores and 1.09 on one, ACProp
to .60 and 1.10, NovoGrad to .85 and 1.17. On one core what there is to do is compared; held flat, it is a few kernels
for all.

MADGRAD compiles longer for its cube root, which Optax's calls a library for, number by number, and which is what makes
its steps up to six times as fast; DoG and DoWG for the sum of all leaves in one kernel; the others' 2 to 9 % are 1 to 6
of 60 to 95 ms.
"""
ONE_KERNEL = """
All in a process where XLA may give a kernel several results, Optax's too; ours compiled with `jl.compiler_options`;
adding in place is to as many bytes as the method holds, and at 3.2 10^7 to a GiB at the least, which is the memory's
rate and not a cache's (45 to 53 GB/s, by where the arrays lie). Of the elementwise methods, sign descent (its sign),
RMSProp and Adadelta (roots) and schedule-free SGD stay at .77 to .83. The others below .85 measure tensors, draw random
numbers or estimate curvature: more than a pass through memory.

Tried instead, and left: a loop over blocks that fit the cache (XLA copies whole arrays each turn), the same parameters
in 60 to 490 tensors (XLA makes all means first, then all steps), the scheduler that saves memory instead of waiting (no
difference beyond noise), a barrier before each result (JAX 0.12 drops it too late for kernels to be joined).
"""
