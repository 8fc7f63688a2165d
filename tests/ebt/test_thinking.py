from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from contrastive_jax.ebt.thinking import think, thinking_loss
from contrastive_jax.training import devices

pytestmark = pytest.mark.usefixtures('any_rank')
LOWEST = jnp.array([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]])
GUESS = jnp.zeros((2, 3))
CURVE = jnp.array([1.0, 2.0, 0.5])


def bowl(state, curve=CURVE):
    """A quadratic energy, lowest at LOWEST."""
    return 0.5 * jnp.sum(curve * jnp.square(state - LOWEST), axis=-1)


def test_descent_reaches_the_minimum_as_the_closed_form_has_it():
    thought = think(bowl, GUESS, steps=60, step_size=0.3)
    # Each coordinate shrinks its distance by 1 - step * curve.
    powers = (1 - 0.3 * np.asarray(CURVE)) ** np.arange(61)[:, None]
    expected = np.asarray(LOWEST) * (1 - powers[:, None, :])
    np.testing.assert_allclose(thought.trajectory, expected, atol=2e-6)
    np.testing.assert_allclose(thought.trajectory[-1], LOWEST, atol=1e-3)
    assert np.all(np.diff(thought.energies, axis=0) <= 0)
    np.testing.assert_allclose(thought.energies[-1], bowl(thought.trajectory[-1]), rtol=1e-6)
    assert int(thought.nonfinite) == -1


def test_no_step_is_no_change():
    thought = think(bowl, GUESS, steps=0, step_size=1.0)
    np.testing.assert_array_equal(thought.trajectory, GUESS[None])
    np.testing.assert_allclose(thought.energies, bowl(GUESS)[None])


def test_each_sample_has_its_own_step_size_and_is_alone():
    sizes = jnp.array([0.1, 0.5])
    both = think(bowl, GUESS, steps=3, step_size=sizes).trajectory
    for sample, size in enumerate([0.1, 0.5]):
        alone = think(bowl, GUESS, steps=3, step_size=size).trajectory
        np.testing.assert_allclose(both[:, sample], alone[:, sample], rtol=1e-6)
    moved = think(bowl, GUESS.at[1].add(9.0), steps=3, step_size=sizes).trajectory
    np.testing.assert_array_equal(both[:, 0], moved[:, 0])


@pytest.mark.parametrize('dtype', [jnp.bfloat16, jnp.float16, jnp.float32])
def test_noise_has_the_type_of_the_guess(dtype):
    guess, keys = jnp.ones((3, 2), dtype), jax.random.split(jax.random.key(0), 3)
    with jax.enable_x64(True):
        thought = think(
            lambda y: jnp.sum(y * y, -1), guess, steps=2, step_size=0.1, noise=0.5, key=keys
        )
    assert thought.trajectory.dtype == dtype


def test_noise_is_that_of_the_sample_and_the_step():
    keys = jax.random.split(jax.random.key(0), 2)
    noisy = partial(think, bowl, steps=2, step_size=0.1, noise=0.5)
    both = noisy(GUESS, key=keys).trajectory
    swapped = noisy(GUESS, key=keys[::-1]).trajectory
    still = think(bowl, GUESS, steps=2, step_size=0.1).trajectory
    assert np.abs(both[1] - still[1]).min() > 1e-3
    assert np.abs(both[1] - swapped[1]).min() > 1e-3
    assert np.abs((both[2] - both[1]) - (both[1] - both[0])).min() > 1e-3
    with pytest.raises(ValueError, match='key'):
        noisy(GUESS)
    with pytest.raises(ValueError, match='steps'):
        think(bowl, GUESS, steps=-1, step_size=0.1)
    for last in (0, 3):
        with pytest.raises(ValueError, match=f'last={last}: .*from 1 to steps=2'):
            think(bowl, GUESS, steps=2, step_size=0.1, last=last)


def test_the_first_step_that_is_not_finite_is_named():
    def cliff(state):
        return jnp.sum(0 * jnp.sqrt(0.9 - state) - state, axis=-1)

    thought = think(cliff, jnp.zeros((2, 3)), steps=5, step_size=jnp.array([0.25, 0.0]))
    assert int(thought.nonfinite) == 4
    assert int(think(cliff, jnp.zeros((2, 3)), steps=3, step_size=0.25).nonfinite) == -1


@pytest.mark.parametrize('remat', [False, True])
@pytest.mark.parametrize('last', [None, 3])
def test_the_gradient_through_the_unroll_is_that_of_finite_differences(last, remat):
    def loss(curve):
        thought = think(partial(bowl, curve=curve), GUESS, steps=3, step_size=0.2, remat=remat)
        return thinking_loss(thought.trajectory, 0.5 * LOWEST, last=last)[0]

    gradient = jax.grad(loss)(CURVE)
    for place in range(3):
        bump = jnp.zeros(3).at[place].set(1e-2)
        numeric = (loss(CURVE + bump) - loss(CURVE - bump)) / 2e-2
        np.testing.assert_allclose(gradient[place], numeric, rtol=2e-3)


def test_detached_the_last_state_sees_the_last_step_alone():
    """`y3 = y2 - a grad E(y2)`, y2 constant: what the reference code trains on."""
    full = think(bowl, GUESS, steps=3, step_size=0.2).trajectory

    def of_last_step(curve):
        after = full[2] - 0.2 * jax.grad(lambda y: jnp.sum(bowl(y, curve)))(full[2])
        return thinking_loss(jnp.stack([GUESS, after]), 0.5 * LOWEST, last=1)[0]

    def detached(curve, detach):
        thought = think(partial(bowl, curve=curve), GUESS, steps=3, step_size=0.2, detach=detach)
        return thinking_loss(thought.trajectory, 0.5 * LOWEST, last=3)[0]

    def only(curve, last):
        thought = think(partial(bowl, curve=curve), GUESS, steps=5, step_size=0.2, last=last)
        return thinking_loss(thought.trajectory, 0.5 * LOWEST, last=last)[0]

    truncated = jax.grad(detached)(CURVE, detach=True)
    seen = think(bowl, GUESS, steps=3, step_size=0.2, last=2).trajectory
    np.testing.assert_allclose(seen, full, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(jax.grad(only))(CURVE, jnp.int32(3)), truncated, rtol=1e-5)
    np.testing.assert_allclose(truncated, jax.grad(of_last_step)(CURVE), rtol=1e-5)
    assert np.abs(jax.grad(detached)(CURVE, detach=False) - truncated).max() > 1e-2


def test_the_loss_is_the_mean_of_hubers_function():
    rng = np.random.default_rng(0)
    states, target = rng.normal(size=(4, 5, 2, 3)) * 2, rng.normal(size=(5, 2, 3))
    errors = np.abs(states - target)
    huber = np.where(errors < 1, errors**2 / 2, errors - 0.5)
    states, target = jnp.asarray(states, jnp.float32), jnp.asarray(target, jnp.float32)
    loss, metrics = thinking_loss(states, target)
    np.testing.assert_allclose(loss, huber[1:].mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics['first_error'], np.mean(errors[0] ** 2), rtol=1e-5)
    np.testing.assert_allclose(metrics['last_error'], np.mean(errors[-1] ** 2), rtol=1e-5)
    for last in (1, 2, 3):
        one, _ = jax.jit(thinking_loss)(states, target, last=jnp.int32(last))
        np.testing.assert_allclose(one, huber[last].mean(), rtol=1e-5)


def test_devices_share_the_mean():
    rng = np.random.default_rng(1)
    states = jnp.asarray(rng.normal(size=(3, 8, 2)), jnp.float32)
    target = jnp.asarray(rng.normal(size=(8, 2)), jnp.float32)
    whole, _ = thinking_loss(states, target)
    mapped = jax.pmap(
        partial(thinking_loss, axis_name=devices.AXIS), axis_name=devices.AXIS, in_axes=(1, 0)
    )
    shares, _ = mapped(states.reshape(3, 4, 2, 2), target.reshape(4, 2, 2))
    np.testing.assert_allclose(shares, np.full(4, whole), rtol=1e-6)


@pytest.mark.parametrize(('states', 'last'), [(3, 0), (3, 3), (3, np.int64(9)), (1, None)])
@pytest.mark.usefixtures('unchecked_types')
def test_a_state_that_is_not_there_has_no_loss(states, last):
    with pytest.raises(ValueError, match='need a guess and at least one more state'):
        thinking_loss(jnp.ones((states, 2, 3)), jnp.ones((2, 3)), last=last)
    if last is not None:
        with pytest.raises(ValueError, match='must be a step'):
            think(jnp.sum, jnp.ones((2, 3)), steps=2, step_size=0.1, last=last)
