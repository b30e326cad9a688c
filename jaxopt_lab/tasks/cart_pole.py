"""Balance a pole on a cart, by the policy gradient."""

import math

import jax
import jax.numpy as jnp

from jaxopt_lab.checking import check_count
from jaxopt_lab.tasks.about import about
from jaxopt_lab.tasks.direction import maximize
from jaxopt_lab.tasks.task import Task, task_function

GRAVITY, CART, POLE, HALF_LENGTH, FORCE, TAU = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02  # SI units; TAU: seconds of a time step
FARTHEST, STEEPEST = 2.4, math.radians(12)
START = 0.05  # each coordinate starts uniformly within +- this
INPUTS, HIDDEN, ACTIONS = 4, 16, 2
HELD_OUT = 64  # episodes


def move(state: jax.Array, force: jax.Array) -> jax.Array:
    """Return the state (x, x', angle, angle'), along the last axis, a time step later, by Euler's method."""
    x, speed, angle, turn = jnp.moveaxis(state, -1, 0)
    mass = CART + POLE
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    pushed = (force + POLE * HALF_LENGTH * turn**2 * sine) / mass
    turning = (GRAVITY * sine - cosine * pushed) / (HALF_LENGTH * (4 / 3 - POLE * cosine**2 / mass))
    speeding = pushed - POLE * HALF_LENGTH * turning * cosine / mass
    return jnp.stack([x + TAU * speed, speed + TAU * speeding, angle + TAU * turn, turn + TAU * turning], axis=-1)


def is_up(state: jax.Array) -> jax.Array:
    """Return whether the cart is on its track and the pole within 12 degrees of upright."""
    return (jnp.abs(state[..., 0]) <= FARTHEST) & (jnp.abs(state[..., 2]) <= STEEPEST)


def logits(params: list[dict[str, jax.Array]], states: jax.Array) -> jax.Array:
    """Return the logits of pushing left and right."""
    first, last = params
    hidden = jnp.tanh(states @ first["weights"] + first["biases"][None, :])
    return hidden @ last["weights"] + last["biases"][None, :]


def episodes_of(params: list[dict[str, jax.Array]], batch: tuple[jax.Array, jax.Array]):
    """Play the policy; return states, actions and rewards, each with leading axes (time, episode).

    `batch` has the initial state of each episode, and uniform numbers (episode, time) that decide its actions. The
    reward is 1 for every time step until the pole has fallen, that of the fall included, then 0.
    """
    start, uniform = batch

    def step(carry, u):
        state, up = carry
        left, right = jnp.moveaxis(logits(params, state), -1, 0)
        action = u < jax.nn.sigmoid(right - left)
        after = move(state, jnp.where(action, FORCE, -FORCE).astype(state.dtype))
        # Where it has fallen it stays, so that numbers remain finite.
        after = jnp.where(up[:, None], after, state)
        return (after, up & is_up(after)), (state, action, up)

    up = jnp.ones(len(start), bool)
    _, (states, actions, rewards) = jax.lax.scan(step, (start, up), uniform.T)
    return states, actions, rewards.astype(start.dtype)


@about("control", 200, "return of 200, the horizon, which training reaches: trained here", 195.0)
@task_function
def cart_pole(horizon: int = 200, episodes: int = 8) -> Task:
    """Balance a pole on a cart by pushing it left or right: REINFORCE with a baseline (Williams 1992).

    The dynamics are those of Barto, Sutton & Anderson 1983, https://doi.org/10.1109/TSMC.1983.6313077, with the
    constants and limits of Gym's CartPole (horizon 200 in version 0, 500 in version 1): a reward of 1 for each time
    step of .02 s until the pole leans by more than 12 degrees, the cart is 2.4 m off, or the horizon is reached. The
    policy is a 4-16-2 tanh network; weights start normal with variance 1 / inputs, a tenth of that deviation in the
    last layer, so that both actions are about as likely; biases start at 0.

    Each batch is new episodes. The loss is a surrogate, whose gradient is the policy gradient (Sutton & Barto 2018,
    sections 13.3 and 13.4): the gradient, reversed, of the expected return as a share of the horizon,

        loss = -mean over episodes of sum_t log pi(a_t | s_t) (G_t - b_t) / horizon

    where G_t is the reward from t on and b_t the mean of G_t over the other episodes, which leaves the gradient
    unbiased. The value of the loss says nothing: trials are compared by `return`, the mean return of 64 episodes with
    fixed initial states and fixed random numbers for the actions.

    Args:
        horizon: Time steps of an episode, >= 1.
        episodes: Episodes of a batch, >= 2.

    Raises:
        ValueError: An argument is out of range.

    """
    check_count("horizon", horizon)
    check_count("episodes", episodes, least=2)

    def fresh(count):
        """Make a function `key -> batch` of `count` episodes."""

        def draw(key):
            starts, actions = jax.random.split(key)
            start = jax.random.uniform(starts, (count, INPUTS), minval=-START, maxval=START)
            return start, jax.random.uniform(actions, (count, horizon))

        return draw

    def init(key):
        first, last = jax.random.split(key)
        return [
            {"weights": jax.random.normal(first, (INPUTS, HIDDEN)) * INPUTS**-0.5, "biases": jnp.zeros(HIDDEN)},
            {"weights": jax.random.normal(last, (HIDDEN, ACTIONS)) * 0.1 * HIDDEN**-0.5, "biases": jnp.zeros(ACTIONS)},
        ]

    def loss(params, batch):
        # Nothing is differentiated through time, so the loop over time is run once, forwards.
        states, actions, rewards = jax.lax.stop_gradient(episodes_of(jax.lax.stop_gradient(params), batch))
        to_go = jnp.cumsum(rewards[::-1], axis=0)[::-1]
        n = to_go.shape[1]
        advantage = n / (n - 1) * (to_go - to_go.mean(axis=1, keepdims=True))  # to the mean of the n - 1 others
        log_p = jax.nn.log_softmax(logits(params, states.reshape(-1, INPUTS)), axis=-1).reshape(*actions.shape, ACTIONS)
        taken = jnp.where(actions, log_p[..., 1], log_p[..., 0])
        return -jnp.sum(taken * rewards * advantage) / (n * horizon)

    def mean_return(params, batch):
        return jnp.mean(jnp.sum(episodes_of(params, batch)[2], axis=0))

    return Task(
        name="cart_pole",
        init=init,
        loss=loss,
        train=fresh(episodes),
        validation=fresh(HELD_OUT),
        test=fresh(HELD_OUT),
        metrics={"return": maximize(mean_return)},
        main_metric="return",
    )
