"""Methods that look for their step size themselves, against their authors' code."""

import jaxopt_lab as jl
from jaxopt_lab.verify.optimizers.golden.row import Row, with_l2

uncorrected = {"bias_correction": False}  # the authors' default

ROWS = {
    "dog/default": Row("dog", lambda: jl.dog(averaging=8.0)),
    "dog/reps_wd": Row("dog", lambda: jl.dog(1.0, 1e-2, 1e-4, 0.02, averaging=8.0)),
    "ldog/default": Row("dog", lambda: jl.dog(averaging=8.0, layerwise=True)),
    "ldog/init_eta_wd": Row(
        "dog", lambda: jl.dog(1.0, 1e-2, 1e-4, 0.02, averaging=8.0, init_step_kind="learning_rate", layerwise=True)
    ),
    "prodigy/default": Row("prodigy", lambda: jl.prodigy(**uncorrected)),
    "prodigy/biascorr_wd": Row(
        "prodigy", lambda: jl.prodigy(1.0, 0.9, 0.99, 0.95, 1e-6, 1e-3, 0.7, weight_decay=0.05, safeguard_warmup=True)
    ),
    "prodigy/growth_slice_l2": Row(
        "prodigy", lambda: with_l2(0.02, jl.prodigy(0.5, estim_lr0=1e-3, growth_rate=1.2, slice_p=3, **uncorrected))
    ),
    "dadapt_adam/default": Row("dadapt_adamw", lambda: jl.dadapt_adamw(**uncorrected)),
    "dadapt_adam/decouple_biascorr": Row("dadapt_adamw", lambda: jl.dadapt_adamw(1.0, 0.9, 0.99, 1e-6, 1e-3, 0.05)),
    "dadapt_adam/growth_l2": Row(
        "dadapt_adamw", lambda: with_l2(0.02, jl.dadapt_adamw(0.5, estim_lr0=1e-3, growth_rate=1.3, **uncorrected))
    ),
    "momo/default": Row("momo", lambda: jl.momo()),
    "momo/wd_fstar": Row("momo", lambda: jl.momo(0.5, 0.8, 0.0, 0.1, adapt_lower_bound=True)),
    "momo/bias_correction": Row("momo", lambda: jl.momo(0.7, 0.9, 0.05, 0.05, bias_correction=True)),
    "momo_adam/default": Row("momo_adam", lambda: jl.momo_adam()),
    "momo_adam/wd_fstar": Row(
        "momo_adam", lambda: jl.momo_adam(0.1, 0.8, 0.95, 1e-4, weight_decay=0.1, adapt_lower_bound=True)
    ),
    "momo_adam_extra/nodivide_wd": Row("momo_adam", lambda: jl.momo_adam(0.1, weight_decay=0.1, divide=False)),
    "momo_adam_extra/large_lr": Row("momo_adam", lambda: jl.momo_adam(1.0)),
}
