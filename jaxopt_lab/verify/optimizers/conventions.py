"""Where a method's sources disagree, and which of them ours follows: one entry a method that has such a place."""

CONVENTIONS = {
    "momentum": "As Optax: without dampening; PyTorch's is a schedule before it, its first gradient undamped.",
    "sgd": "As `momentum`.",
    "rmsprop": "As Optax: decay 0.9, eps under the root, momentum after the learning rate. PyTorch's eps is "
    "outside (`eps_in_sqrt=False`), its decay 0.99, its learning rate after the momentum.",
    "adagrad": "As Optax: the sum starts at 0.1, eps 1e-7 is under the root. PyTorch starts at 0 and adds 1e-10 to the "
    "root (`eps_in_sqrt=False`).",
    "adamw": "Decay is multiplied by the learning rate, as in both libraries; the paper's is not. Default 1e-4 is "
    "Optax's, PyTorch's is 1e-2.",
    "adabelief": "As Optax and the paper: not rectified. The authors' package rectifies by default (`rectify=True`).",
    "adamax": "eps, which the paper has not, is within the maximum, as in both libraries.",
    "adamaxw": "As `adamax` and `adamw`.",
    "amsgrad": "As Optax: the maximum is of the corrected v. PyTorch's is of v itself (`max_before_correction=True`); "
    "the paper corrects nothing (`bias_correction_mu`, `bias_correction_nu`).",
    "nadam": "As Optax: momentum is constant. PyTorch's rises with time (`momentum_decay=4e-3`).",
    "nadamw": "As `nadam` and `adamw`.",
    "radam": "As Optax and the authors' code: rectified from rho = 5 on (the paper: 4), eps after the correction. "
    "PyTorch adds it before (`eps_before_correction=True`).",
    "yogi": "As Optax: both means are corrected. The paper corrects neither (`bias_correction=False`).",
    "lion": "The default decay 1e-3 is Optax's; the authors' is 0.",
    "adan": "As the authors' code: decay is proximal (`proximal=False` is Optax's) and eps_root 0 (Optax: 1e-8).",
    "ademamix": "As Optax: no warm-up by default. The paper always warms up (`warmup_steps`).",
    "simplified_ademamix": "As Optax; the authors' code can warm b1 up as well.",
    "adopt": "As the paper and its authors: nothing moves in the first step, decay (which Optax has not) included.",
    "acprop": "As the paper: the first step is undivided, as in the authors' code.",
    "schedule_free_sgd": "As Optax: no warm-up by default; the paper asks for one (`warmup_steps`).",
    "schedule_free_adamw": "As Optax and the authors' code: v is corrected. In the paper the correction multiplies the "
    "learning rate (`correction_in_rate=True`). No warm-up by default.",
    "adadelta": "The learning rate is 1, as in PyTorch and, unwritten, in the paper.",
    "rprop": "As PyTorch (iRprop-). Sizes are clipped also where they neither grow nor shrink, which shows only "
    "where the learning rate is outside the limits.",
    "optimistic_adam": "As Optax: with Nesterov's look-ahead; the paper has none (`nesterov=False`).",
    "fromage": "As Optax: norms are at least `min_norm=1e-6`; the paper has no such floor (0).",
    "lars": "As Optax: the norm of gradient and decay together. The paper adds their norms (`joint_norm=False`).",
    "lamb": "As Optax: the paper's phi is the identity.",
    "novograd": "As Optax: b1 0.9 and b2 0.25; the paper's experiments mostly have 0.95 and 0.98.",
    "noisy_sgd": "The key of each step is the training loop's, where it gives one; else as Optax, from the state.",
    "dog": "As Optax: the training iterate is the answer. The authors advise to average (`averaging=8.0`).",
    "dowg": "As Optax: with an eps under the root, which the paper has not.",
    "prodigy": "As Optax: the bias is corrected. The paper and, by default, the authors do not "
    "(`bias_correction=False`). Without any gradient ours stands still, where Optax divides 0 by 0.",
    "dadapt_adamw": "As `prodigy`.",
    "cocob": "As Optax: with an eps and a decay, which the paper has not.",
    "momo": "As the paper: no floor under the norm of m, below which Optax stands still.",
    "momo_adam": "As `momo`.",
    "muon": "As Optax: the mean is corrected, Adam beside it looks ahead, the step is scaled by sqrt(max(1, outputs / "
    "inputs)). The author and PyTorch do not correct (`bias_correction=False`); Moonlight scales by "
    "0.2 sqrt(max(inputs, outputs)) (`consistent_rms=0.2`).",
    "adafactor": "As Optax: the learning rate is free, eps is a part of v. PyTorch's step is at most 1 / sqrt(t), its "
    "eps a floor under the root, its decay times the learning rate: schedules express it.",
    "sm3": "As Optax, with scalars, which it cannot take, and without its 1e-8 being fixed.",
    "madgrad": "As Optax and the authors: eps beside the learning rate. Decay is L2 by default; the authors' other "
    "kind is `decouple_decay=True`.",
    "sam": "One step is climb and descent; Optax's takes two, but for its opaque mode, which is the twin. Adaptive SAM "
    "(`adaptive=True`) is not in Optax.",
    "sophia": "As Optax: the mean is corrected, an estimate serves the next step. The authors do not correct "
    "(`bias_correction=False`), and the paper estimates before the step that it serves (`estimate_first=True`).",
    "lbfgs": "The line search looks for the strong Wolfe conditions; Optax's zoom search is another.",
    "galore": "As the paper: the shorter side is projected; Optax projects the longer (`project_longer=True`). The "
    "authors' scale is 0.25, the default here and in Optax is 1.",
}

TWINS = {
    "yogi": "m starts at 0",
    "adan": "b2 for 1 - b2",
    "acprop": "the deviation is the paper's, the first step the authors'",
    "rprop": "the step is made at once",
    "optimistic_adam": "its deprecation unheard",
    "noisy_sgd": "given the step's key",
    "dog": "its pair as two arguments",
    "prodigy": "its pair as two arguments",
    "dadapt_adamw": "its pair as two arguments",
    "adafactor": "the decay of v in full precision",
    "sm3": "scalars as vectors of one element",
    "madgrad": "the root of t in full precision",
    "sam": "in opaque mode",
    "sophia": "given the step's random signs",
    "lbfgs": "given the same extra arguments",
    "galore": "singular vectors in full precision",
    "momentum": "momentum 0.9",
}
"""How the twin was made from Optax's own where it is not simply that."""

NOT_TRACED = {
    ("muon", "ns_steps"): "how many products are made is the program's length",
    ("muon", "ns_coeffs"): "how many triples is the program's length; the numbers in them may be traced",
    ("adafactor", "min_dim_size_to_factor"): "it decides the state's shapes",
    ("prodigy", "slice_p"): "it decides the state's shapes",
    ("lbfgs", "memory_size"): "it is a shape of the state",
    ("galore", "rank"): "it is a shape of the state",
    ("noisy_sgd", "seed"): "it is a number of the program",
    ("sophia", "seed"): "it is a number of the program",
}
"""Numbers that a compiled program is made for, and why."""
