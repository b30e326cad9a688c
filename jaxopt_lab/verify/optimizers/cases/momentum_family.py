"""SGD's newer relatives: none has a twin in Optax, so that their witnesses are records of the authors' code."""

import jaxopt_lab as jl
from jaxopt_lab.verify.optimizers.case import Bounds, Case, rate, slow

CASES = {
    "qhm": Case(
        jl.qhm,
        None,
        rate,
        bounds=Bounds(step32=1e-5, why="of 1 - momentum = 1e-3 a traced float32 has four digits"),
        convention='Decay is the authors\' option "direct"; their default adds it to the gradient.',
    ),
    "qhm values": Case(jl.qhm, None, rate | {"momentum": 0.9, "nu": 0.5, "weight_decay": 0.1}),
    "aggmo": Case(
        jl.aggmo,
        None,
        slow,
        not_traced={"count": "it is the number of buffers"},
        convention="As the authors' code and its `from_exp_form`.",
    ),
    "aggmo betas": Case(jl.aggmo, None, slow, {"betas": (0.5, 0.8, 0.9, 0.95)}),
    "sgdp": Case(
        jl.sgdp,
        None,
        slow | {"momentum": 0.9},
        not_traced={"output_axis": "it says how a tensor is cut into vectors"},
        convention=(
            "As the authors' code, which subtracts in place, and so projects the momentum itself unless it looks ahead "
            "(the paper: `keep_projected=False`). Outputs are along the last axis, as in JAX's libraries; in PyTorch "
            "they are along the first (`output_axis=0`)."
        ),
    ),
    "sgdp options": Case(
        jl.sgdp,
        None,
        slow | {"momentum": 0.8, "dampening": 0.2, "weight_decay": 0.05, "delta": 2.0},
        {"nesterov": True, "output_axis": 0},
    ),
    "sgdp as the paper": Case(jl.sgdp, None, slow | {"momentum": 0.9, "delta": 2.0}, {"keep_projected": False}),
    "asgd": Case(
        jl.asgd,
        None,
        rate,
        convention=(
            "As PyTorch, except that its rates are float32. The answer is the average, which PyTorch only keeps in its "
            "state."
        ),
    ),
    "asgd values": Case(jl.asgd, None, rate | {"decay": 0.01, "power": 0.6, "averaging_start": 5.0}),
    "mirror_madgrad": Case(
        jl.mirror_madgrad,
        None,
        slow,
        convention="As the authors' code, the only source.",
    ),
    "mirror_madgrad decoupled": Case(
        jl.mirror_madgrad, None, slow | {"weight_decay": 0.1, "eps": 1e-6}, {"decouple_decay": True}
    ),
    "dadapt_sgd": Case(
        jl.dadapt_sgd,
        None,
        {"learning_rate": 0.1, "estim_lr0": 1e-3},
        convention="As the authors' code: the first gradient, by whose norm steps are divided, is that without decay.",
    ),
    "dadapt_sgd values": Case(
        jl.dadapt_sgd,
        None,
        {"learning_rate": 0.5, "momentum": 0.9, "estim_lr0": 1e-2, "weight_decay": 0.02, "growth_rate": 1.3},
    ),
}
