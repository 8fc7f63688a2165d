from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from contrastive_jax.ebt import quality as denoising
from contrastive_jax.ebt.noise import CORRUPTIONS, corrupt, signal_and_noise, to_signed
from contrastive_jax.ebt.section import DENOISERS, SIZES, Size
from contrastive_jax.models import Moments
from contrastive_jax.training.devices import map_over_devices, replicate
from contrastive_jax.training.setup import set_up
from tests.helpers import random_batch, small_config, split_over, state_and_step

S2 = {
    'denoise__steps': 2,
    'denoise__least_steps': 1,
    'denoise__loss': 'last',
    'denoise__step_size_spread': 2.0,
    'denoise__langevin': 0.1,
}


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    monkeypatch.setitem(SIZES, 'small', Size(1, 2, 8))
    # Flax adds biases to products of another rank.
    with jax.numpy_rank_promotion('allow'):
        yield


def _config(name, **changes):
    options = {'optimizer__name': 'adamw', 'optimizer__learning_rate': 0.1}
    return small_config(model__name=name, **(options | changes))


def _train(config, devices, steps=2):
    """Parameters and metrics after a few steps, as in `test_step`."""
    state, step = state_and_step(config, channels=1, mapped=devices > 1)
    state = replicate(state) if devices > 1 else state
    step = map_over_devices(step) if devices > 1 else jax.jit(step)
    for seed in range(steps):
        batch = random_batch(seed, config.batch_size, channels=1)
        state, metrics = step(state, split_over(devices, batch) if devices > 1 else batch)
    return jax.device_get(state), jax.device_get(metrics)


@pytest.mark.ci
@pytest.mark.parametrize(
    ('name', 'changes'),
    [
        ('energy_conditioned', S2),
        pytest.param('diffusion', {}, marks=pytest.mark.slow),
        pytest.param('energy', {'denoise__detach': False}, marks=pytest.mark.slow),
        pytest.param('feedforward', {}, marks=pytest.mark.slow),
    ],
)
def test_four_devices_equal_one(name, changes):
    # Adam divides by what may be zero but for rounding.
    config = _config(name, optimizer__name='sgd', **changes)
    one, one_metrics = _train(config, devices=1)
    four, four_metrics = _train(config, devices=4)
    for key, value in one_metrics.items():
        np.testing.assert_allclose(four_metrics[key], value, rtol=1e-4, atol=1e-6, err_msg=key)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), one.params, four.params)


def test_an_energy_of_nothing_leaves_the_noisy_image():
    state, step = state_and_step(_config('energy'), channels=1, mapped=False)
    _, metrics = jax.jit(step)(state, random_batch(0, 16, channels=1))
    np.testing.assert_allclose(metrics['last_error'], metrics['first_error'], rtol=1e-6)
    np.testing.assert_allclose(metrics['step_size'], 47 * 4, rtol=1e-6)
    assert metrics['nonfinite_inner_step'] == -1


@pytest.mark.ci
@pytest.mark.parametrize(
    'name',
    ['energy', *(pytest.param(n, marks=pytest.mark.slow) for n in ('feedforward', 'diffusion'))],
)
def test_the_loss_falls_on_one_batch(name):
    # Patches of no more numbers than the network is wide.
    state, step = state_and_step(_config(name, model__patch=2), channels=1, mapped=False)
    step, batch = jax.jit(step), random_batch(0, 16, channels=1)
    # Of noise nothing can be learned: each image is of one grey.
    batch = batch._replace(images=np.broadcast_to(batch.images[:, :1, :1], batch.images.shape))
    losses = []
    for _ in range(60):
        state, metrics = step(state, batch)
        losses.append(float(metrics['loss']))
    assert np.mean(losses[-10:]) < 0.9 * np.mean(losses[:10])


def test_the_schedule_is_the_product_of_its_steps():
    signal, noise = signal_and_noise()
    np.testing.assert_allclose(signal**2 + noise**2, 1, rtol=1e-5)
    np.testing.assert_allclose([signal[99], noise[99]], [0.947, 0.321], atol=1e-3)
    np.testing.assert_allclose([signal[199], noise[199]], [0.812, 0.584], atol=1e-3)
    assert signal[0] == pytest.approx(np.sqrt(1 - 1e-4))


@pytest.mark.parametrize('kind', CORRUPTIONS)
def test_corruptions_change_images_the_same_way_each_time(kind):
    images = to_signed(random_batch(0, 4, channels=1).images)
    assert images.min() >= -1
    assert images.max() <= 1
    once, again = (corrupt(images, kind, seed=0) for _ in range(2))
    assert once.dtype == np.float32
    np.testing.assert_array_equal(once, again)
    assert np.abs(once - images).mean() > 0.01


@pytest.mark.parametrize(
    'name', [pytest.param(n, marks=pytest.mark.slow) if n == 'energy' else n for n in DENOISERS]
)
def test_quality_of_an_untrained_denoiser(name):
    """It changes nothing, so that the corrupted image is as good as before; diffusion scales it."""
    config = _config(name)
    setup = set_up(config, Moments((0.5,), (0.25,)), 10)
    graphdef, state = setup.graphdef, setup.initial
    images = random_batch(0, 6, channels=1).images
    found = denoising.denoising_quality(
        graphdef, state.params, state.stats, images, config.denoise, seed=0
    )
    assert found['evaluations'] == list(denoising.EVALUATIONS)
    assert CORRUPTIONS.keys() <= found['psnr'].keys()
    assert found['flops'] is None or found['flops'] > 0
    assert ('guesses' in found) == (name == 'energy_conditioned')
    clean = to_signed(images)
    expected = denoising.psnr(corrupt(clean, 'gaussian 99', 0), clean)
    if name in ('energy', 'feedforward'):
        np.testing.assert_allclose(found['psnr']['gaussian 99'], expected, rtol=1e-5)
    if name == 'diffusion':
        told = found['psnr']['gaussian 199, told']
        signal = signal_and_noise()[0][199]
        scaled = denoising.psnr(corrupt(clean, 'gaussian 199', 0) / signal, clean)
        np.testing.assert_allclose(told[1:], scaled, rtol=1e-4)


def test_many_images_are_judged_by_a_sample_of_all_classes(monkeypatch):
    setup = set_up(_config('feedforward'), Moments((0.5,), (0.25,)), 10)
    labels = np.repeat(np.arange(5), 8)
    images = np.broadcast_to(labels[:, None, None, None], (40, 8, 8, 1)).astype(np.uint8)
    judged = []

    def keep(states, clean):
        judged.append(clean)
        return 0.0

    monkeypatch.setattr(denoising, '_MOST_IMAGES', 10)
    monkeypatch.setattr(denoising, '_over_batches', lambda function, noisy, key: noisy[None])
    monkeypatch.setattr(denoising, '_flops', lambda *arguments: None)
    monkeypatch.setattr(denoising, 'psnr', keep)
    state, options = setup.initial, small_config().denoise
    for known in (labels, None):
        denoising.denoising_quality(
            setup.graphdef, state.params, state.stats, images, options, 0, known
        )
    brightness = [np.round(127.5 * (clean[:, 0, 0, 0] + 1)).astype(int) for clean in judged]
    np.testing.assert_array_equal(brightness[0], np.repeat(np.arange(5), 2))
    # Without labels at random: not the first ten.
    assert len(brightness[-1]) == 10
    assert len(np.unique(brightness[-1])) > 2


def test_psnr_is_that_of_the_clipped_image():
    clean = np.zeros((2, 4, 4, 1), np.float32)
    assert denoising.psnr(clean + 0.5, clean) == pytest.approx(10 * np.log10(4 / 0.25))
    assert denoising.psnr(clean + 5, clean) == pytest.approx(10 * np.log10(4))


def test_the_lowest_of_several_guesses_is_compared_with_the_best():
    rng = np.random.default_rng(0)
    clean = rng.uniform(-0.5, 0.5, (5, 4, 4, 1)).astype(np.float32)

    def run(noisy, key):
        found = noisy + 0.1 * jax.random.normal(key, noisy.shape)
        # An energy that knows: the error itself.
        return found, jnp.mean(jnp.square(found - clean), axis=(1, 2, 3))

    found = denoising._compare(run, clean, clean, jax.random.key(0))
    assert found['rank_correlation'] == pytest.approx(1)
    assert found['lowest energy of 5'] == pytest.approx(found['best of 5'])
    assert found['best of 10'] >= found['best of 2'] >= found['any']
    assert found['mean of 10'] > found['best of 10']
