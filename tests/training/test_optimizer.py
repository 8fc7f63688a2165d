import jax
import jax.numpy as jnp
import numpy as np
import pytest

from contrastive_jax.training.optimizer import (
    count_steps,
    make_optimizer,
    make_schedule,
    with_equal_updates,
)
from tests.config.test_config import load_config
from tests.helpers import small_config


def test_schedule_warms_up_and_falls_to_zero():
    config = small_config(
        epochs=10, batch_size=512, optimizer__warmup_epochs=2.0, optimizer__learning_rate=0.3
    )
    schedule = make_schedule(config, steps_per_epoch=5)
    np.testing.assert_allclose(schedule(0), 0)
    np.testing.assert_allclose(schedule(5), 0.3, rtol=1e-6)
    np.testing.assert_allclose(schedule(10), 0.6, rtol=1e-6)  # the peak, for 512 images
    np.testing.assert_allclose(schedule(30), 0.3, rtol=1e-6)  # half of the cosine
    np.testing.assert_allclose(schedule(50), 0, atol=1e-7)


def test_equal_steps_have_equal_schedules_however_many_images_there_are():
    config = small_config(steps=50, epochs=10, optimizer__warmup_epochs=2.0)
    few, many = (make_schedule(config, steps_per_epoch=n) for n in (3, 40))
    for step in (0, 5, 10, 30, 50):
        assert few(step) == many(step)
    by_epochs = make_schedule(
        small_config(epochs=10, optimizer__warmup_epochs=2.0), steps_per_epoch=5
    )
    assert [few(step) for step in range(51)] == [by_epochs(step) for step in range(51)]


def test_the_steps_of_a_run_are_those_given_or_those_of_its_epochs():
    assert count_steps(small_config(epochs=7), 5) == 35
    assert count_steps(small_config(epochs=7, steps=3), 5) == 3


def test_equal_updates_are_those_of_all_images_and_change_no_other_config():
    config = small_config(epochs=7, batch_size=16, equal_updates=True)
    assert count_steps(with_equal_updates(config, 100), 3) == 7 * 6
    assert config.steps == 0
    plain = small_config(epochs=7, batch_size=16)
    assert with_equal_updates(plain, 100) is plain


def test_a_run_of_one_step_has_a_schedule():
    config = small_config(epochs=2, steps=1, optimizer__warmup_epochs=1.9)
    assert make_schedule(config, steps_per_epoch=5)(0) > 0


@pytest.mark.parametrize('name', ['sgd', 'lars', 'adamw'])
def test_weight_decay_shrinks_matrices_alone(name):
    config = small_config(
        optimizer__name=name, optimizer__weight_decay=0.1, optimizer__learning_rate=0.1
    )
    optimizer = make_optimizer(config, lambda step: 0.1)
    params = {'kernel': jnp.full((3, 2), 2.0), 'bias': jnp.full((2,), 2.0)}
    nothing = jax.tree.map(jnp.zeros_like, params)
    with jax.numpy_dtype_promotion('standard'):  # as the step calls it
        updates, _ = optimizer.update(nothing, optimizer.init(params), params)
    assert (updates['kernel'] < 0).all()
    np.testing.assert_array_equal(updates['bias'], 0)


def test_sgd_is_momentum_on_the_gradient_with_decay():
    config = small_config(optimizer__name='sgd', optimizer__weight_decay=0.1)
    optimizer = make_optimizer(config, lambda step: 0.5)
    params = {'kernel': jnp.array([[2.0]])}
    state = optimizer.init(params)
    momentum, weight = 0.0, 2.0
    for gradient in (1.0, -3.0):
        grads = {'kernel': jnp.array([[gradient]])}
        updates, state = optimizer.update(grads, state, {'kernel': jnp.array([[weight]])})
        momentum = 0.9 * momentum + gradient + 0.1 * weight
        np.testing.assert_allclose(updates['kernel'], -0.5 * momentum, rtol=1e-6)
        weight -= 0.5 * momentum


W, G = np.array([[3.0, 0.0], [0.0, 4.0]]), np.array([[0.0, 1.0], [2.0, 2.0]])  # of length 5 and 3


def _updates(config, rates, gradients):
    """What the optimiser of a config makes of some gradients, a step each, from `W`."""
    optimizer = make_optimizer(config, lambda step: jnp.asarray(rates, jnp.float32)[step])
    params = {'kernel': jnp.asarray(W, jnp.float32), 'bias': jnp.ones(2)}
    state, found = optimizer.init(params), []
    for gradient in gradients:
        grads = {'kernel': jnp.asarray(gradient, jnp.float32), 'bias': jnp.array([1.0, -1.0])}
        with jax.numpy_dtype_promotion('standard'):  # as the step calls it
            updates, state = jax.jit(optimizer.update)(grads, state, params)
        params = jax.tree.map(jnp.add, params, updates)
        found.append({name: np.asarray(update) for name, update in updates.items()})
    return found


@pytest.mark.parametrize(('variant', 'coefficient'), [('cifar10', 0.02), ('simclr', 0.001)])
def test_lars_moves_a_matrix_by_a_share_of_its_length(variant, coefficient):
    config, rate, decay = load_config('cifar', variant), 2.0, 1e-4
    first, second = _updates(config, [rate, rate / 2], [G, G])
    decayed = G + decay * W
    exact = -rate * coefficient * 5 / np.linalg.norm(decayed) * decayed
    np.testing.assert_allclose(first['kernel'], exact, rtol=1e-5)
    relative = np.linalg.norm(first['kernel']) / 5
    np.testing.assert_allclose(relative, rate * coefficient, rtol=1e-5)
    np.testing.assert_allclose(first['bias'], [-rate, rate], rtol=1e-6)
    # The rate of a step is in what momentum keeps of it.
    moved = W + exact
    decayed = G + decay * moved
    ratio = coefficient * np.linalg.norm(moved) / np.linalg.norm(decayed)
    np.testing.assert_allclose(
        second['kernel'], 0.9 * exact - rate / 2 * ratio * decayed, rtol=1e-4
    )


@pytest.mark.parametrize('scale', [1e-3, 1.0, 1e3])
def test_clipped_lars_is_the_shorter_of_sgd_and_a_share_of_the_length(scale):
    config, rate, decay, gradient = load_config('cifar', 'solo_learn'), 0.4, 1e-4, scale * G
    first, second = _updates(config, [rate, rate / 2], [gradient, gradient])

    def kept(weight, rate):
        length = np.linalg.norm(weight)
        ratio = 0.02 * length / (3 * scale + decay * length)
        return min(ratio / rate, 1) * (gradient + decay * weight)

    buffer = kept(W, rate)
    np.testing.assert_allclose(first['kernel'], -rate * buffer, rtol=1e-5)
    relative = np.linalg.norm(first['kernel']) / 5
    assert relative <= 0.02 * (1 + 1e-5)
    sgd = rate * np.linalg.norm(gradient + decay * W) / 5
    np.testing.assert_allclose(relative, min(sgd, 0.02), rtol=1e-3)
    # The rate of a step applies to all that momentum keeps.
    buffer = 0.9 * buffer + kept(W - rate * buffer, rate / 2)
    np.testing.assert_allclose(second['kernel'], -rate / 2 * buffer, rtol=1e-4)
    np.testing.assert_allclose(first['bias'], [-rate, rate], rtol=1e-6)


def test_clipped_lars_stands_still_at_a_rate_or_a_gradient_of_zero():
    config = load_config('cifar', 'solo_learn')
    first, second = _updates(config, [0.0, 0.4], [G, np.zeros((2, 2))])
    np.testing.assert_array_equal(first['kernel'], 0)
    # Momentum of the first gradient, and no decay.
    np.testing.assert_allclose(second['kernel'], -0.4 * 0.9 * (G + 1e-4 * W), rtol=1e-5)


@pytest.mark.parametrize(
    ('variant', 'peak', 'relative'),
    [('cifar10', 0.8, 0.016), ('simclr', 2.0, 0.002), ('solo_learn', 0.4, 0.02)],
)
def test_the_steps_of_the_recipes_are_those_of_the_documentation(variant, peak, relative):
    config = load_config('cifar', variant)
    schedule = make_schedule(config, steps_per_epoch=100)
    np.testing.assert_allclose(schedule(1000), peak, rtol=1e-6)
    clipped = config.optimizer.name == 'lars_clipped'
    factor = 1 if clipped else peak
    np.testing.assert_allclose(factor * config.optimizer.trust_coefficient, relative)
