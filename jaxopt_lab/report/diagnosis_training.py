"""Diagnosis of training, by the curves of an optimizer's best configuration: is it slow, done, poor or overfitting?"""

import numpy as np

from jaxopt_lab.formats import short
from jaxopt_lab.report.diagnosis_case import NOTE, SERIOUS, WARNING, Case, Finding, percent, plain
from jaxopt_lab.report.diagnosis_curve import FEWEST_POINTS, SURE, Curve, middle
from jaxopt_lab.report.diagnosis_search import has_reference

LATE = 0.2  # of the budget: an improvement made there is one that more steps would probably continue
STILL = 0.01  # share of the whole improvement made there that is worth more steps; 1 % is about what curves show
SLOW = 0.1  # the share from which on the training is far from done: at a constant speed it would be .2
BARELY = 0.1  # of the way to the minimum (or to 0), below which the training has hardly begun
FLAT = 0.01  # of the whole improvement: a curve that stays this close to its end is flat, but for its noise ...
FLAT_LEVEL = 0.1  # ... if this is also a small part of a loss, which may fall by orders of magnitude towards 0
ROUGH = 0.05  # of the whole improvement: where the noise is more than this, or than FLAT_LEVEL, a curve is not flat
EARLY = 0.5  # of the budget: a curve that is flat before it would have needed half of the steps or less
FEWEST_EVALUATIONS = 3  # a start, a lowest and an end
RISE = 0.05  # of the lowest validation loss: how far above it a loss ends that overfits
MATERIAL = 0.005  # of the fall of the validation loss: a smaller rise than this is of no consequence
GAP = 0.1  # of the fall of the validation loss: how far above the training loss it ends where the two are far apart
TWICE = 2.0  # validation loss over training loss, likewise
POOR = 0.1  # of the distance to a known minimum that is left at the end
HIGH = 0.3  # of the first training loss that is left at the end, where nothing is known of the minimum


def no_curve(case: Case) -> str | None:
    """Return why the curves of the best configuration say nothing yet; None where they do."""
    if case.best is None:
        return "no configuration has a finite median"
    if not case.complete:
        return "the sweep has not ended"
    if len(case.trained.steps) < FEWEST_POINTS:
        return f"fewer than {FEWEST_POINTS} training losses were recorded"
    return None


def progress(case: Case) -> list[Finding]:
    """Report training that is slow, has not converged, or had converged early: one of them at most."""
    if found := no_progress(case) or slow(case):
        return found
    if case.ended_by_itself:  # its curves are held from there on
        return []
    curve = case.scored if len(case.scored.steps) >= FEWEST_POINTS else case.trained
    share, clear = late_share(curve)
    if clear and share >= STILL:
        return [_still(case, curve, share)]
    return _flat(case, curve)


def late_share(curve: Curve) -> tuple[float, bool]:
    """Return the share of the whole improvement that the last fifth of the steps made, and whether it is clear."""
    late = curve.sign * (curve.level(0.9 - LATE, 1 - LATE) - curve.end)
    points = int(curve.inside(0.9, 1.0).sum())
    gain = middle(curve.gain)
    return (middle(late) / gain, curve.clear(late, points)) if gain > 0 else (0.0, False)


def no_progress(case: Case) -> list[Finding]:
    """Report a best configuration of which neither the training loss nor the metric is better than at the start."""
    curve, points = case.trained, int(case.trained.inside(0.9, 1.0).sum())
    since_first_tenth = curve.level(-1e-9, 0.1) - curve.end  # means of batches, whose noise may hide a small gain
    if curve.clear(curve.gain) or curve.clear(since_first_tenth, points) or case.scored.clear(case.scored.gain):
        return []
    start, end = middle(case.trained.start), middle(case.trained.end)
    said = f"{case.best_is}: nothing was learned in {case.whole}: the training loss went from {short(start)} to "
    said += f"{short(end)}."
    advice = f"{_rates_advice(case)} If no rate helps, check the loss, its gradients and the data."
    return [Finding("slow", said, {"start": start, "end": end}, advice, SERIOUS)]


def slow(case: Case) -> list[Finding]:
    """Report training that has hardly begun, or that goes on at nearly its mean speed to the end."""
    if case.ended_by_itself:
        return []
    made = way(case)
    barely = made is not None and made < BARELY
    for curve in (case.trained, *([case.scored] if case.metric == "validation_loss" else [])):
        share, clear = late_share(curve)
        if clear and (share >= SLOW or (barely and share >= STILL)):
            return [_slow(case, curve, share, made if barely else None)]
    return []


def _slow(case: Case, curve: Curve, share: float, made: float | None) -> Finding:
    start, end = middle(curve.start), middle(curve.end)
    evidence = {"start": start, "end": end, "late_share": share} | ({} if made is None else {"share": made})
    done = not case.metric.endswith("_loss") and not late_share(case.scored)[1]  # the loss then goes on in vain
    said = f"{case.best_is}: training is slow: in {case.whole} the {plain(curve.name)} fell from {short(start)} to "
    said += f"{short(end)}, and {percent(share)} of that fall came in the last {percent(LATE)} of them."
    if made is not None:
        goal = case.dataset.attrs.get("minimum")
        said += f" The training loss has come only {percent(made)} of the way to "
        said += "0." if goal is None else f"its minimum, {short(float(goal))}."
    return Finding("slow", said, evidence, _rates_advice(case), NOTE if done else SERIOUS)


def way(case: Case) -> float | None:
    """Return the share of the way to the minimum, or else to 0, that the training loss went; None for losses below."""
    curve, goal = case.trained, case.dataset.attrs.get("minimum")
    start, end = middle(curve.start), middle(curve.end)
    if goal is None and (curve.values < 0).any():
        return None
    goal = 0.0 if goal is None else float(goal)
    return (start - end) / (start - goal) if start > goal else None


def _rates_advice(case: Case) -> str:
    if case.rates is None or case.best_rate is None:
        return "Train longer, or try other learning rates."
    if (top := float(case.rates.max())) == case.best_rate:
        return f"Try larger learning rates, up to {short(10 * top)}, before training longer."
    worse = case.rates[(case.status == "diverged").any(axis=1) & (case.rates > case.best_rate)]
    if worse.size:
        return f"Learning rates from {short(float(worse.min()))} diverge: train longer, warm up, or clip gradients."
    return f"Learning rates up to {short(top)} were tried and are no better: train longer, or use another optimizer."


def _still(case: Case, curve: Curve, share: float) -> Finding:
    a, b = middle(curve.level(0.9 - LATE, 1 - LATE)), middle(curve.end)
    name, word = plain(curve.name), "falling" if curve.sign > 0 else "rising"
    said = (
        f"{case.best_is}: the {name} was still {word} at the end of {case.whole}: in the last {percent(LATE)} of them "
        f"it went from {short(a)} to {short(b)}, {percent(share)} of its whole {'fall' if curve.sign > 0 else 'rise'}."
    )
    return Finding(
        "unconverged", said, {"before": a, "end": b, "late_share": share}, "Train longer: jl.extend(..., steps=)."
    )


def _flat(case: Case, curve: Curve) -> list[Finding]:
    """Report a curve that had made nearly its whole improvement in half of the budget or less."""
    last = curve.steps[-1]
    middles = np.median([curve.level(s / last - 0.1, s / last) for s in curve.steps], axis=1)
    gain = middle(curve.gain)
    noise = SURE * curve.usual_noise * (2 / curve.inside(0.9, 1.0).sum()) ** 0.5
    level = FLAT_LEVEL * abs(middles[-1]) if curve.sign > 0 and (curve.values >= 0).all() else np.inf
    close = max(min(FLAT * gain, level), noise)
    within = np.abs(middles - middles[-1]) <= close
    since = int(curve.steps[len(within) - int(np.argmin(within[::-1]))]) if not within.all() else 0
    if gain <= 0 or noise > min(ROUGH * gain, level) or not 0 < since <= EARLY * last:
        return []
    said = (
        f"{case.best_is}: the {plain(curve.name)} is flat from {case.at(since)} on, {percent(since / last)} of the "
        f"budget: it stays within {short(close, 2)} of its final value, {short(float(middles[-1]))}."
    )
    amount = f"{since:,} steps" if "step" in case.at(since) else case.at(since)
    advice = f"A budget of about {amount} would do for this configuration."
    return [
        Finding(
            "plateau", said, {"since": since, "budget": int(last), "within": float(close), "gain": gain}, advice, NOTE
        )
    ]


def no_validation(case: Case) -> str | None:
    """Return why overfitting cannot be checked; None where it can."""
    if case.best is None:
        return "no configuration has a finite median"
    if "validation_loss" not in case.dataset:
        return "there is no validation loss"
    if len(case.curve("validation_loss").steps) < FEWEST_EVALUATIONS:
        return f"there are fewer than {FEWEST_EVALUATIONS} evaluations"
    return None


def overfitting(case: Case) -> list[Finding]:
    """Report a validation loss that rises while the training loss falls, or that ends far above it."""
    held = case.curve("validation_loss")
    lowest = int(np.argmin(np.median(held.values, axis=0)))
    low = middle(held.values[:, lowest])
    rise = held.values[:, -1] - held.values[:, lowest]
    fall = middle(held.values[:, 0]) - low
    scale = min(x for x in (low, fall, np.inf) if x > 0)
    over = middle(rise) >= RISE * scale and middle(rise) >= MATERIAL * fall and held.clear(rise)
    at = float(held.steps[lowest])
    before, after = _around(case.trained, at)
    falls = case.trained.clear(before - after, int(case.trained.inside(0.9, 1.0).sum()))
    if over and np.isfinite(scale) and falls:
        return [_overfits(case, at, low, middle(rise), (middle(before), middle(after)))]
    return _gap(case, held, fall)


def _around(train: Curve, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the training loss about a step and at the end, as means over a tenth of the run."""
    at = step / float(train.steps[-1])
    return train.level(max(at - 0.05, -1e-9), max(at + 0.05, 0.1)), train.end


def _overfits(case: Case, at: float, low: float, rise: float, train: tuple[float, float]) -> Finding:
    last = case.at(case.curve("validation_loss").steps[-1])
    said = (
        f"{case.best_is}: it overfits: the validation loss is lowest at {case.at(at)}, {short(low)}, and is "
        f"{short(low + rise)} at {last}, while the training loss went on falling, from {short(train[0])} to "
        f"{short(train[1])}."
    )
    if case.metric != "validation_loss":
        said += f" (Configurations are selected by {plain(case.metric)}.)"
    advice = 'Stop earlier (best(at="best"), keep="best"), regularise, or use more data or a smaller model.'
    evidence = {"lowest": low, "step": at, "end": low + rise, "train_then": train[0], "train_end": train[1]}
    return Finding("overfitting", said, evidence, advice, SERIOUS)


def _gap(case: Case, held: Curve, fall: float) -> list[Finding]:
    ended, trained = middle(held.values[:, -1]), middle(case.trained.end)
    if any(name.startswith("task.") for name in map(str, case.dataset.coords)):  # the two losses may be different ones
        return []
    if fall <= 0 or trained < 0 or ended - trained < GAP * fall or ended < TWICE * trained:
        return []
    said = (
        f"{case.best_is}: the validation loss ends at {short(ended)} and the training loss at {short(trained)}: the "
        "model fits its training data far better than held-out data."
    )
    advice = "Regularise, or use more data or a smaller model; check that both are drawn alike."
    return [Finding("overfitting", said, {"validation": ended, "train": trained}, advice, WARNING)]


def underfitting(case: Case) -> list[Finding]:
    """Report a training loss that ends high: above the known minimum, or, flat, far from 0."""
    curve, goal = case.trained, case.dataset.attrs.get("minimum")
    start, end, made = middle(curve.start), middle(curve.end), way(case)
    if made is None or no_progress(case) or slow(case) or case.ended_by_itself:
        return []
    left, evidence = 1 - made, {"start": start, "end": end, "left": 1 - made}
    if goal is not None:
        unsure = SURE * curve.noise / curve.inside(0.9, 1.0).sum() ** 0.5
        if not POOR <= left <= 1 or end - float(goal) <= unsure:
            return []
        said = (
            f"{case.best_is}: the training loss ends at {short(end)}, but its minimum is {short(float(goal))}: "
            f"{percent(left)} of the distance from the start is left. The model can do better; its training falls "
            "short."
        )
        advice = "Tune further, let the learning rate decay, or try another optimizer."
        return [Finding("underfitting", said, evidence | {"minimum": float(goal)}, advice, WARNING)]
    share, clear = late_share(curve)
    if left < HIGH or (clear and share >= STILL) or has_reference(case):
        return []
    also = ""
    if "validation_loss" in case.dataset:
        ended = middle(case.curve("validation_loss").values[:, -1])
        if ended - end >= GAP * (start - end):  # it is then the data that do not suffice
            return []
        also, evidence = f"; the validation loss is about as high ({short(ended)})", evidence | {"validation": ended}
    said = (
        f"{case.best_is}: it underfits: the training loss ends at {short(end)}, {percent(left)} of the first, and no "
        f"longer falls{also}. More steps will not help."
    )
    advice = (
        "Try a larger model or better inputs. If this is the noise of the data themselves, give the task its minimum= "
        "and this check will know."
    )
    return [Finding("underfitting", said, evidence, advice, SERIOUS)]
