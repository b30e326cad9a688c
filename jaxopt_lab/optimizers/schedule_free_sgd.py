"""Schedule-free SGD: gradients are taken between SGD's iterate and its average, which is the answer."""

from typing import Any

from jaxopt_lab.optimizers._base import method, optimizer
from jaxopt_lab.optimizers._schedule_free import schedule_free
from jaxopt_lab.types import Optimizer, Prior, Scalar, ScalarOrSchedule


@method(
    learning_rate=Prior(1e-2, 1e1, "log", "up to Defazio et al. 2024, Appendix G, https://arxiv.org/abs/2405.15682"),
    b1=Prior(0.9, 0.98, "one_minus", "the values of the same"),
    weight_decay=Prior(1e-5, 1e-2, "log", "those of the same, 5e-5 and 2e-4, and about a decade around"),
)
def schedule_free_sgd(
    learning_rate: ScalarOrSchedule = 1.0,
    warmup_steps: Scalar | None = None,
    b1: Scalar = 0.9,
    weight_decay: ScalarOrSchedule | None = None,
    weight_lr_power: Scalar = 2.0,
    weight_step_power: Scalar = 0.0,
    *,
    state_dtype: Any = None,
) -> Optimizer:
    """Schedule-free SGD (Defazio et al. 2024, equations 1 to 3, https://arxiv.org/abs/2405.15682).

        y = (1 - b1) z + b1 x                                  the parameters, where g is taken
        rate = learning_rate * min(t / warmup_steps, 1)        t = 1, 2, ...
        z <- z - rate * (g + weight_decay * y)
        c = weight_t / (weight_1 + ... + weight_t)             weight_t = t^weight_step_power * rate^weight_lr_power
        x <- (1 - c) x + c z

    Evaluate at x: `state.evaluation_params(params)`, as the training loop does. (The weight uses the largest rate so
    far.) The averaging replaces a learning rate's decay and b1 replaces momentum; learning rates are 10 to 50 times
    SGD's with momentum. The paper needs a warm-up; Optax's default has none. In Optax 0.2.8 z is one step behind during
    the warm-up, so its first step is 0; the authors' code does not do this.

    Args:
        learning_rate: Step size of z, >= 0, in units of w per unit of g; scalar, traced or a schedule `step -> value`.
        warmup_steps: Steps of linear warm-up, >= 0; None: no warm-up.
        b1: Share of the average in the point where gradients are taken, in (0, 1].
        weight_decay: Share of y added to g; >= 0; scalar, traced or a schedule; None is off.
        weight_lr_power: Power of the learning rate in the weights of the average.
        weight_step_power: Power of the step number in the weights of the average, the authors' r; > 0 forgets faster.
        state_dtype: Dtype of `z`, for example "float32" for bfloat16 parameters. None keeps the parameters' dtype, but
            float32 for float16 parameters.

    Returns:
        The (init, update) pair; `z` has the shapes of the parameters.

    Raises:
        ValueError: `update` was called without the parameters.

    """
    gradient = optimizer(lambda params: (), lambda grads, state, params=None: (grads, state))
    return schedule_free(
        gradient,
        "schedule_free_sgd",
        learning_rate,
        warmup_steps,
        b1,
        weight_decay,
        weight_lr_power,
        weight_step_power,
        state_dtype,
    )
