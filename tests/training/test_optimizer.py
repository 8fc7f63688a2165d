import jax
import jax.numpy as jnp
import numpy as np
import pytest

from contrastive_jax.training.optimizer import count_steps, make_optimizer, make_schedule
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
