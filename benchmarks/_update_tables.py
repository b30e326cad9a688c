"""What the update alone came to, over all methods: of `update.py`, and of `fused.py`."""

from _figures import across, figures

UPDATES = {"1e+04": "10^4", "1e+06": "10^6", "3e+07": "3.2 10^7", "100 leaves": "100 x 64", "1000 leaves": "1,000 x 64"}
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
    found, slow = figures("update-cpu"), []
    lines = ["| parameters | form | methods | rate | at 1 or more | at .95 or more | compile time |", "|" + "---|" * 7]
    for problem, size in UPDATES.items():
        rows = {name: row[problem] for name, row in found.items() if problem in row}
        for form, called in FORMS.items():
            rates = {name: row["ratio"][form]["median"] for name, row in rows.items() if form in row["ratio"]}
            if not rates:
                continue
            level, near = (sum(rate >= least for rate in rates.values()) for least in (1, 0.95))
            compiling = [rows[name]["compile_ratio"][form]["median"] for name in rates]
            timed = across(compiling) if problem in TIMED else ""
            cells = (size, called, len(rates), across(rates.values()), level, near, timed)
            lines.append(f"| {' | '.join(map(str, cells))} |")
            if form in ("tree", "told"):
                slow += [f"{name} at {size} ({rate:.2f})" for name, rate in rates.items() if rate < 0.9]
    lines += ["", f"Ours below .9 in either form: {', '.join(slow) or 'none'}."]
    compiling = {name: row["1e+04"]["compile_ratio"]["tree"]["median"] for name, row in found.items()}
    late = [f"{name} ({ratio:.2f})" for name, ratio in compiling.items() if ratio > 1.1]
    return [*lines, "", f"Compiled in more than 1.1 times Optax's time: {', '.join(late) or 'none'}."]


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
Rates are medians over all methods (least to most), each of which is a median of several turns. Optax's beside itself is
the same program twice: it tells what is noise. With four leaves of 2,450 elements, methods of 50 kernels (D-Adaptation,
Prodigy, MoMo; Optax's as well) run in .8 to 1.1 of the same time, as two threads happen to share them, and what
`jl.compiler_options` saves in copies can cost more. MADGRAD compiles longer for its cube root by logarithm and Newton's
step, which is what makes its steps two to three times as fast.
"""
ONE_KERNEL = """
All in a process where XLA may give a kernel several results, Optax's too; ours compiled with `jl.compiler_options`;
adding in place is to as many bytes as the method holds. What stays below .85 there does more than pass through memory
(measures tensors, draws random numbers, estimates curvature, takes cube roots), or keeps the gradient (Adan, optimistic
gradient descent), which was given here and so must be copied (in training it was just made, and stays where it is), or
holds little (plain descent, RMSProp, schedule-free SGD): beside it adding in place runs partly in this machine's cache
of 480 MB, at 51 to 54 GB/s, where Adam's 512 MB are added to at 44.

Tried instead, and left: a loop over blocks that fit the cache (XLA copies whole arrays each turn), the same parameters
in 60 to 490 tensors (XLA makes all means first, then all steps), the scheduler that saves memory instead of waiting (no
difference beyond noise), a barrier before each result (JAX 0.12 drops it too late for kernels to be joined).
"""
