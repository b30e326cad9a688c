"""Diagnosis of stability: does the training loss of the best configuration jump, and is that minibatch noise?

All configurations of a seed see the same batches. So where another configuration, of a smaller learning rate, jumps at
the same steps, the batches are the reason; where it does not, the training is.
"""

import numpy as np

from jaxopt_lab.formats import short
from jaxopt_lab.report.diagnosis_case import NOTE, WARNING, Case, Finding, percent, plain
from jaxopt_lab.report.diagnosis_curve import FEWEST_POINTS, Curve, middle
from jaxopt_lab.report.diagnosis_training import no_progress

RELAPSE = 0.2  # of the improvement so far: a loss that jumps back by more has lost what training takes long to regain
OPENING = 0.1  # of the run: a jump there is soon made good, for example while running means settle
BEGUN = 0.5  # of the whole improvement, before which a jump is one of the start, where losses are steep
ABOVE_NOISE = 8.0  # standard deviations: of 200 normal points, none is this far off by chance
SHARED = 0.5  # of a jump, or of the variance, that a calmer configuration shows on the same batches: theirs, then
CALM = 0.5  # of the scatter, below which a smaller learning rate is clearly calmer
NOISY = 0.1  # standard deviation of single losses over the whole improvement: a loss that scatters this much
WINDOW = 5  # points of a running median, which one or two outliers do not move


def stability(case: Case) -> list[Finding]:
    """Report jumps of the losses, or a training loss that scatters much; one finding at most."""
    if no_progress(case):  # then there is nothing to lose
        return []
    if jumps := [j for name in ("validation_loss", "train_loss") if name in case.dataset and (j := _jump(case, name))]:
        return jumps[:1]
    return _scatter(case)


def _jump(case: Case, name: str) -> Finding | None:
    """Report the largest relapse of a loss, in the seed that has it."""
    curve = case.curve(name)
    if len(curve.steps) < FEWEST_POINTS:
        return None
    exact = name != "train_loss" or case.full_batches
    values = curve.values if exact else _smoothed(curve.values)
    relapse, low = _relapse(values)
    relapse = np.where(_begun(values, curve), relapse, 0)
    gained = values[:, :1] - low
    share = np.divide(relapse, gained, out=np.zeros_like(relapse), where=gained > 0)
    share = np.where(relapse > (0 if exact else ABOVE_NOISE * curve.usual_noise), share, 0)
    if not exact:
        share[_in_batches(case, relapse)] = 0
    if name == "validation_loss":  # one that stays up is not a jump: see overfitting
        share[_stays(values, relapse)] = 0
    seed, point = np.unravel_index(int(np.argmax(share)), share.shape)
    if share[seed, point] < RELAPSE:
        return None
    peak, before = float(values[seed, point]), float(low[seed, point])
    seeds = int((share.max(axis=1) >= RELAPSE).sum())
    lost = float(share[seed, point])
    made_good = bool(curve.steps[point] <= OPENING * curve.steps[-1] and values[seed, -1] <= before)
    state = "was unstable early on" if made_good else "is unstable"
    said = (
        f"{case.best_is}: training {state}: after the {plain(name)} had come down to {short(before)}, it jumped "
        f"back to {short(peak)} at {case.at(curve.steps[point])}, losing "
        f"{percent(lost) if lost <= 1 else 'more than all'} of what was gained (in {seeds} of {len(values)} seeds)."
    )
    evidence = {"low": before, "peak": peak, "step": float(curve.steps[point]), "share": lost}
    advice = "Try a smaller learning rate, warm-up, or clipped gradients."
    level = NOTE if made_good else WARNING
    return Finding("unstable", said, {**evidence, "seeds": seeds}, advice, level)


def _relapse(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how far each point is above the lowest before it, and that lowest."""
    low = np.minimum.accumulate(values, axis=1)
    return values - low, low


def _begun(values: np.ndarray, curve: Curve) -> np.ndarray:
    """Return the points from which on a part of the whole improvement was made."""
    made = values[:, :1] - np.minimum.accumulate(values, axis=1)
    return (made > 0) & (made >= BEGUN * (curve.start - curve.values.min(axis=1))[:, None])


def _stays(values: np.ndarray, relapse: np.ndarray) -> np.ndarray:
    """Return the points after which the loss never regained half of the relapse."""
    lowest_after = np.minimum.accumulate(values[:, ::-1], axis=1)[:, ::-1]
    return values - lowest_after < relapse / 2


def _in_batches(case: Case, relapse: np.ndarray) -> np.ndarray:
    """Return the points where a calmer configuration relapses too, by a good part, on the same batches."""
    if (other := _calmer(case)) is None:
        return np.zeros(relapse.shape, bool)
    return _relapse(_smoothed(other.values))[0] >= SHARED * relapse


def _calmer(case: Case) -> Curve | None:
    return None if (row := case.calmer) is None else case.curve("train_loss", row)


def _smoothed(values: np.ndarray) -> np.ndarray:
    """Return a running median over `WINDOW` points; at the ends over the points that there are."""
    half = WINDOW // 2
    padded = np.pad(values, ((0, 0), (half, half)), mode="edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, WINDOW, axis=1), axis=-1)


def _scatter(case: Case) -> list[Finding]:
    """Report a training loss that scatters much about its course, and whether the batches are the reason."""
    curve = case.trained
    late = slice(len(curve.steps) // 2, None)
    rough = _rough(curve.values)[:, late]
    size, gain = _size(rough), middle(curve.gain)
    if len(curve.steps) < FEWEST_POINTS or gain <= 0 or size < NOISY * gain:
        return []
    said = (
        f"{case.best_is}: single training losses scatter by {short(size, 2)} (a standard deviation) in the second "
        f"half, {percent(size / gain)} of the whole fall"
    )
    evidence = {"scatter": size, "gain": gain}
    if case.full_batches:
        advice = "Try a smaller learning rate, or let it decay."
        said += ", though each is over all training data: the training oscillates."
        return [Finding("unstable", said, evidence, advice, WARNING)]
    advice = "Average the weights, let the learning rate decay, or take larger batches."
    if (other := _calmer(case)) is None:
        return [Finding("noisy", f"{said}: minibatch noise or instability.", evidence, advice, NOTE)]
    calm = _rough(other.values)[:, late]
    unshared, there = _size(rough - calm), _size(calm)
    evidence |= {"unshared": unshared, "scatter_at_smaller_rate": there}
    if unshared <= SHARED**0.5 * size:
        said += ", and so they do at the next smaller learning rate, on the same batches: minibatch noise."
        return [Finding("noisy", said, evidence, advice, NOTE)]
    said += f", and by {short(there, 2)} at the next smaller learning rate"
    if there > CALM * size:
        return [Finding("noisy", f"{said}: it is much the same there.", evidence, advice, NOTE)]
    said += ", on the same batches: it is the learning rate that makes the training jump about."
    return [Finding("unstable", said, evidence, "Try a smaller learning rate, or let it decay.", WARNING)]


def _rough(values: np.ndarray) -> np.ndarray:
    return values - _smoothed(values)


def _size(rough: np.ndarray) -> float:
    """Return the standard deviation about 0, by quartiles, as the median over seeds."""
    return middle(1.4826 * np.median(np.abs(rough), axis=1))
