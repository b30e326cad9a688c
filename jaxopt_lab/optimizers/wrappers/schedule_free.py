"""Schedule-free: gradients are taken between a method's iterate and its average, which is the answer."""

from typing import Any

from jaxopt_lab.optimizers._schedule_free import averaged
from jaxopt_lab.optimizers.extras import accepted
from jaxopt_lab.types import Optimizer, Scalar, ScalarOrSchedule


def schedule_free(
    optimizer: Optimizer,
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    weight_decay: ScalarOrSchedule | None = None,
    weight_lr_power: Scalar = 2.0,
    weight_step_power: Scalar = 0.0,
    *,
    state_dtype: Any = None,
) -> Optimizer:
    """Schedule-free averaging around any optimizer (Defazio et al. 2024, https://arxiv.org/abs/2405.15682).

        y = (1 - b1) z + b1 x                            the parameters, where g is taken
        z <- z - learning_rate * weight_decay * y
        z <- z + update(g, z)                            the optimizer's, whose own decay is of z
        c = weight_t / (weight_1 + ... + weight_t)       weight_t = t^weight_step_power * learning_rate^weight_lr_power
        x <- (1 - c) x + c z

    Evaluate at x: `state.evaluation_params(params)`, as the training loop does. The averaging replaces a decaying
    learning rate, and b1 replaces momentum: use an optimizer without momentum, or with little. `schedule_free_sgd` and
    `schedule_free_adamw` are this wrapper around `sgd` and around Adam with b1 = 0, with a warm-up.

        def method(learning_rate, b1):
            rate = jl.schedules.warmup_constant(learning_rate, 0.1, steps)
            return jl.schedule_free(jl.rmsprop(rate), rate, b1)

    Optax 0.2.8 passes y to the optimizer instead of z, and under a schedule weighs a step by the next step's rate.

    Args:
        optimizer: The (init, update) pair that moves z, including Optax transformations and chains of them. One that
            evaluates the loss by itself does so near z; rather average within it: `jl.sam(learning_rate, base=...)`.
        learning_rate: The optimizer's own, for the weights and the decay at y; it does not scale the optimizer's steps.
            Scalar, traced or a schedule `step -> value`. The weights use the largest so far.
        b1: Share of the average in the point where gradients are taken, in (0, 1].
        weight_decay: Share of y taken off z each step, times the learning rate; >= 0; scalar, traced or a schedule;
            None is off.
        weight_lr_power: Power of the learning rate in the weights of the average.
        weight_step_power: Power of the step number in the weights of the average, the authors' r; > 0 forgets faster.
        state_dtype: Dtype of `z`, for example "float32" for bfloat16 parameters. None keeps the parameters' dtype, but
            float32 for float16 parameters.

    Returns:
        The (init, update) pair; `z` has the shapes of the parameters.

    Raises:
        ValueError: `update` was called without the parameters.

    """

    def step(grads, inner, z, rate, extra):
        return optimizer.update(grads, inner, z, **accepted(optimizer.update, extra))

    return averaged(
        optimizer.init,
        step,
        "schedule_free",
        learning_rate,
        b1,
        weight_decay,
        weight_lr_power,
        weight_step_power,
        state_dtype,
    )
