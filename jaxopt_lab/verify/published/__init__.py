"""Published comparisons, judged again: what was published is reproduced, and then counted honestly."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxopt_lab.statistics.judge import Judgement, judge
from jaxopt_lab.statistics.pairs import unpaired
from jaxopt_lab.statistics.profiles import profile_score
from jaxopt_lab.verify.finding import Finding

if TYPE_CHECKING:
    import pandas as pd

HERE = Path(__file__).parent
REFERENCE = "adamw"
TABULAR = "https://arxiv.org/abs/2604.15297"
COUNTS = {"muon": (12, 3, 2), "adamw-ema": (12, 4, 1)}  # wins, ties and losses against AdamW, Welch's t-test at .05
ALGOPERF = "AlgoPerf v0.5, https://arxiv.org/abs/2306.07179"
SCORES = {
    "shampoo_submission": 0.7784,
    "schedule_free_adamw": 0.7077,
    "generalized_adam": 0.6383,
    "cyclic_lr": 0.6301,
    "nadamp": 0.5909,
    "baseline": 0.5707,
    "amos": 0.4918,
    "caspr_adaptive": 0.4722,
    "lawa_queue": 0.3699,
    "lawa_ema": 0.3384,
    "schedule_free_prodigy": 0.0,
}
HELD_OUT = {  # variant of a workload -> the workload
    "criteo1tb_embed_init": "criteo1tb",
    "fastmri_tanh": "fastmri",
    "imagenet_resnet_large_bn_init": "imagenet_resnet",
    "librispeech_conformer_layernorm": "librispeech_conformer",
    "ogbg_model_size": "ogbg",
    "wmt_glu_tanh": "wmt",
}
MOST = 4.0  # times the fastest, on a workload and on its variant


def tabular() -> "pd.DataFrame":
    """Return the scores of 16 optimizers on 17 data sets by 10 seeds, as `jl.judge` takes them."""
    import pandas as pd

    return pd.read_csv(HERE / "tabular_optimizers.csv").rename(columns={"dataset": "task"})


def algoperf() -> "pd.DataFrame":
    """Return the seconds to target on the base workloads, by submission: infinite where its variant was missed."""
    import pandas as pd

    times = pd.read_csv(HERE / "algoperf_external_tuning.csv", index_col="submission").fillna(np.inf)
    counted = times.drop(columns=list(HELD_OUT))
    for variant, workload in HELD_OUT.items():
        missed = ~(times[variant] <= MOST * times[variant].min())
        counted.loc[missed, workload] = np.inf
    return counted


def reproduced() -> list[Finding]:
    """Return what was published, computed from the data."""
    found, runs = [], tabular()
    scores = {key: own.sort_values("seed")["score"].to_numpy() for key, own in runs.groupby(["optimizer", "task"])}
    for name, published in COUNTS.items():
        pairs = [unpaired(scores[name, task], scores[REFERENCE, task]) for task in runs["task"].unique()]
        ways = [0 if pair.p > 0.05 else np.sign(pair.effect) for pair in pairs]
        for what, way, figure in zip(("wins", "ties", "losses"), (1, 0, -1), published, strict=True):
            line = f"{name} against AdamW on 17 data sets: {what}"
            found.append(Finding(line, "published", figure, ways.count(way), 0.0, "a count", TABULAR))
    times = algoperf()
    for name, score in zip(times.index, profile_score(times.to_numpy(), MOST).tolist(), strict=True):
        why = "theirs sums 100 trapezes"
        bound = 0.002 / (SCORES[name] or 1)
        found.append(Finding(f"AlgoPerf's score of {name}", "published", SCORES[name], score, bound, why, ALGOPERF))
    return found


def judged() -> Judgement:
    """Return what remains of the tabular comparison with AdamW, corrected over data sets and methods."""
    return judge(tabular(), higher_is_better=True, reference=REFERENCE)
