"""Adam's newer relatives: none has a twin in Optax, so that their witnesses are records of the authors' code."""

import jaxopt_lab as jl
from jaxopt_lab.verify.optimizers.case import Bounds, Case, crawl, rate, slow

output_axis = {"output_axis": "it says how a tensor is cut into vectors"}
seed = {"seed": "it is a constant of the program"}
between = Bounds(step32=2e-5, why="a part of the step is z - y, a difference of parameters: it carries their rounding")


def few_digits(what, step32, free32=1e-5):
    """Bounds for a mean of long memory that nothing corrects for what a traced float32 has lost of 1 - b."""
    return Bounds(step32=step32, free32=free32, why=f"of {what} a traced float32 has four digits")


CASES = {
    "laprop": Case(
        jl.laprop,
        None,
        slow,
        convention=(
            "As the authors' code: the learning rate is within the mean of steps, and decay is not multiplied by it. "
            "The paper has no decay. Its default eps is 1e-15."
        ),
    ),
    "laprop options": Case(
        jl.laprop, None, slow | {"eps": 1e-3, "weight_decay": 1e-3}, {"amsgrad": True, "centered": True}
    ),
    "adamp": Case(
        jl.adamp,
        None,
        slow,
        not_traced=output_axis,
        convention=(
            "As the authors' code: each output's weights are tested first, then the whole tensor. Outputs are along "
            "the last axis, as in JAX's libraries; in PyTorch they are along the first (`output_axis=0`)."
        ),
    ),
    "adamp options": Case(
        jl.adamp,
        None,
        slow | {"eps": 1e-3, "weight_decay": 0.1, "delta": 2.0},
        {"nesterov": True, "output_axis": 0},
    ),
    "qhadam": Case(
        jl.qhadam,
        None,
        crawl | {"nu1": 0.7},
        convention="Decay is the authors' decoupled option; their default adds it to the gradient.",
    ),
    "qhadam values": Case(
        jl.qhadam, None, crawl | {"b1": 0.8, "b2": 0.95, "nu1": 0.5, "nu2": 0.8, "eps": 1e-3, "weight_decay": 0.1}
    ),
    "adabound": Case(
        jl.adabound,
        None,
        slow | {"final_learning_rate": 0.01},
        convention=(
            "As the authors' code: the means are corrected, and the clipped rate is not divided by sqrt(t) (the paper: "
            "`bias_correction=False`, `over_root_t=True`). Decay is AdaBoundW's, not multiplied by the learning rate; "
            "AdaBound adds it to the gradient."
        ),
    ),
    "adabound as the paper": Case(
        jl.adabound,
        None,
        rate | {"gamma": 0.1, "weight_decay": 1e-3},
        {"amsbound": True, "bias_correction": False, "over_root_t": True},
    ),
    "came": Case(
        jl.came,
        None,
        crawl,
        bounds=few_digits("1 - b3 = 1e-4", 2e-4, 5e-5),
        convention="As the authors' code, which is the paper's algorithm; neither corrects a mean for its start at 0.",
    ),
    "came values": Case(
        jl.came,
        None,
        {"learning_rate": 1e-4, "b1": 0.8, "b2": 0.95, "b3": 0.98, "eps": 1e-8, "confidence_eps": 1e-6}
        | {"clipping_threshold": 0.7, "weight_decay": 0.5},
    ),
    "adam_mini": Case(
        jl.adam_mini,
        None,
        slow,
        convention=(
            "Every tensor is one block, as in the authors' code where a tensor's name says nothing. That code finds "
            "the blocks of transformers by names, and ours is told them (`shared`)."
        ),
    ),
    "adam_mini blocks": Case(
        jl.adam_mini,
        None,
        slow | {"eps": 1e-3, "weight_decay": 0.1},
        {"shared": {"weights": 0, "biases": False}},
    ),
    "stable_adamw": Case(
        jl.stable_adamw,
        None,
        slow,
        convention=("As the first author's code: clipping does not shorten the decay (the paper: `clip_decay=True`)."),
    ),
    "stable_adamw as the paper": Case(jl.stable_adamw, None, slow | {"clipping_threshold": 0.5}, {"clip_decay": True}),
    "grams": Case(
        jl.grams,
        None,
        slow,
        convention=(
            "As the authors' code: eps is added before the correction of v (the paper: `eps_before_correction=False`)."
        ),
    ),
    "grams as the paper": Case(jl.grams, None, slow | {"weight_decay": 0.1}, {"eps_before_correction": False}),
    "amos": Case(
        jl.amos,
        None,
        crawl,
        convention=(
            "As the authors' code, where nothing shares the means of squares unless it is told (`shared`), and decay "
            "and momentum are options."
        ),
    ),
    "amos options": Case(
        jl.amos,
        None,
        slow | {"eta": 0.5, "b2": 0.95, "l2": 0.01, "momentum": 0.9, "clip_value": 0.3},
        {"shared": {"weights": 0, "biases": False}},
    ),
    "adahessian": Case(
        jl.adahessian,
        None,
        slow,
        not_traced=seed,
        real_only=True,
        convention=(
            "As the authors' code for images: means over the positions of a kernel, of absolute values (the paper: "
            "`absolute=False`). Its other copy also averages each output's weights (`shared=0` where kernels have the "
            "shape (inputs, outputs))."
        ),
    ),
    "adahessian options": Case(
        jl.adahessian,
        None,
        slow | {"eps": 1e-2, "weight_decay": 0.1, "hessian_power": 0.5},
        {"shared": True, "absolute": False},
    ),
    "gpa_adamw": Case(
        jl.gpa_adamw,
        None,
        slow,
        bounds=between,
        convention=(
            'As the authors\' code: z decays. Their option is the decay of y alone (`decay_of="y"`), and in a later '
            'version decay is a part of the step (`decay_of="both"`).'
        ),
    ),
    "gpa_adamw schedule-free": Case(
        jl.gpa_adamw,
        None,
        slow | {"weight_decay": 0.1, "weight_lr_power": 1.0, "weight_step_power": 0.5},
        {"schedule_free": True, "decay_of": "y"},
        between,
    ),
    "gpa_adamw both": Case(
        jl.gpa_adamw, None, slow | {"weight_decay": 0.1, "evaluation_interpolation": 0.9}, {"decay_of": "both"}, between
    ),
    "schedule_free_radam": Case(
        jl.schedule_free_radam,
        None,
        slow,
        bounds=few_digits("1 - b2 = 1e-3, on which rho_t depends,", 5e-5),
        convention=(
            "As the authors' code: rectified above rho = 4, and nothing moves before (`silent_sgd_phase=False`: SGD)."
        ),
    ),
    "schedule_free_radam loud": Case(
        jl.schedule_free_radam, None, slow | {"b2": 0.95, "weight_decay": 0.1}, {"silent_sgd_phase": False}
    ),
}
