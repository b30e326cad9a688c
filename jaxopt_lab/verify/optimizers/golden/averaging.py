"""Mixtures and averages against their authors' code: how its conventions are expressed in ours."""

import jaxopt_lab as jl
from jaxopt_lab.verify.optimizers.golden.row import Row, with_l2

ROWS = {
    "ademamix/default": Row("ademamix", lambda: jl.ademamix(0.01, alpha=2.0)),
    "ademamix/warmups_wd": Row(
        "ademamix", lambda: jl.ademamix(0.02, 0.8, 0.95, 0.99, 5.0, 1e-6, weight_decay=0.1, warmup_steps=20)
    ),
    "adopt/default": Row("adopt", lambda: jl.adopt(0.02)),
    "adopt/decoupled_wd_noclip": Row("adopt", lambda: jl.adopt(0.02, 0.8, 0.95, 1e-3, 0.1, use_clipping=False)),
    "adopt/l2": Row("adopt", lambda: with_l2(0.05, jl.adopt(0.02))),
    "adopt/betas": Row("adopt", lambda: jl.adopt(0.02, 0.8, 0.95)),
    "schedulefree_sgd/default": Row("schedule_free_sgd", lambda: jl.schedule_free_sgd(0.5)),
    "schedulefree_sgd/warmup_wd_r": Row("schedule_free_sgd", lambda: jl.schedule_free_sgd(0.8, 8, 0.8, 0.01, 1.0, 0.5)),
    "schedulefree_adamw/default": Row("schedule_free_adamw", lambda: jl.schedule_free_adamw(0.05)),
    "schedulefree_adamw/warmup_wd_r": Row(
        "schedule_free_adamw", lambda: jl.schedule_free_adamw(0.08, 8, 0.8, 0.95, 1e-4, 0.05, 1.0, 0.5)
    ),
    "schedulefree_extra/sgd_warmup": Row("schedule_free_sgd", lambda: jl.schedule_free_sgd(0.5, 8)),
    "schedulefree_extra/adamw_warmup_wd": Row(
        "schedule_free_adamw", lambda: jl.schedule_free_adamw(0.05, 8, weight_decay=0.02)
    ),
}
