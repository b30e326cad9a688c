"""The direction in which a metric is better: stated by its function, else inferred from its name."""

import dataclasses
import re
from collections.abc import Callable
from typing import Any

from jaxopt_lab.errors import ArgumentTypeError

MAX, MIN = "max", "min"

# Matched against the last whole words of a name; the longest match counts.
NAMES = {
    MAX: """accuracy acc auc auroc auprc roc_auc pr_auc auc_roc auc_pr r2 r_squared explained_variance score f1 f1_macro
        f1_micro f1_weighted fbeta precision average_precision recall specificity iou miou jaccard dice mcc kappa ndcg
        mrr bleu psnr ssim likelihood reward""",
    MIN: """loss logloss error errors err error_rate mse rmse msle rmsle mae mape smape nll
        neg_log_likelihood negative_log_likelihood perplexity ppl cross_entropy crossentropy bce brier brier_score crps
        ece fid fid_score wer cer regret deviance misclassification_rate word_error_rate""",
}
KNOWN = {name: way for way, names in NAMES.items() for name in names.split()}
TURNING = {"neg", "negative", "minus", "inverse", "non", "not"}  # words that may negate those after them


@dataclasses.dataclass(frozen=True)
class Metric:
    """A metric with a direction: what `maximize` and `minimize` return.

    Attributes:
        function: `(params, batch) -> scalar`.
        direction: "max" where greater is better, "min" where less is.

    """

    function: Callable[..., Any]
    direction: str

    def __post_init__(self):
        vars(self)["__wrapped__"] = self.function  # its signature says what the metric asks for

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)


def maximize(metric: Callable[..., Any]) -> Metric:
    """Say that greater values of a metric are better: `metrics={"purity": jl.maximize(purity)}`.

    Args:
        metric: `(params, batch) -> scalar`, as in `jl.Task`.

    Raises:
        TypeError: It is not a function, or already has a direction.

    """
    return _directed(metric, MAX, "maximize")


def minimize(metric: Callable[..., Any]) -> Metric:
    """Say that smaller values of a metric are better: `metrics={"imbalance": jl.minimize(imbalance)}`.

    Args:
        metric: `(params, batch) -> scalar`, as in `jl.Task`.

    Raises:
        TypeError: It is not a function, or already has a direction.

    """
    return _directed(metric, MIN, "minimize")


def direction_of(name: str, function: Any = None) -> str | None:
    """Return the direction in which a metric is better, "max" or "min"; None where neither function nor name says."""
    return function.direction if isinstance(function, Metric) else _by_name(name)


def _by_name(name: str) -> str | None:
    """Infer the direction from a name's last words: of `balanced_acc`, `val-F1`, `recall@10`; not of `accuracy_gap`."""
    words = re.findall(r"[a-z0-9]+", name.lower().replace("@", "_at_"))
    words = words[: words.index("at")] if "at" in words[1:] else words
    for first in range(len(words)):
        if (way := KNOWN.get("_".join(words[first:]))) is not None:
            return None if TURNING & set(words[:first]) else way
    return None


def _directed(metric: Any, way: str, called: str) -> Metric:
    if isinstance(metric, Metric):
        raise ArgumentTypeError(
            f"jl.{called} got a metric that already has a direction ({metric.direction}). Give it only one."
        )
    if not callable(metric):
        raise ArgumentTypeError(f"jl.{called} takes a metric's function, (params, batch) -> scalar, got {metric!r}.")
    return Metric(metric, way)
