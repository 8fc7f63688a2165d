import jax
import jax.numpy as jnp
import numpy as np
import pytest

from contrastive_jax.ebt import quality
from contrastive_jax.ebt.noise import CORRUPTIONS, signal_and_noise
from contrastive_jax.ebt.section import SIZES, Size
from contrastive_jax.models import Moments
from contrastive_jax.training.setup import set_up
from tests.helpers import small_config
from tests.objectives.checks import normal, quick_jit

LEVEL = 199


def _ddim(model, noisy):
    """The images after each number of evaluations, by a function in the place of the network."""
    return np.asarray(quick_jit(lambda noisy: quality._ddim(model, noisy, LEVEL))(noisy))


@pytest.mark.usefixtures('unchecked_types')
def test_diffusion_that_knows_the_noise_finds_the_image():
    signal, noise = (weights[LEVEL] for weights in signal_and_noise())
    clean, added = (jnp.asarray(normal(seed, 2, 4, 4, 1)) for seed in (0, 1))
    noisy = signal * clean + noise * added
    states = _ddim(lambda image, level: added, noisy)
    np.testing.assert_array_equal(states[0], noisy)
    # After one evaluation and, since each step goes down with the same noise, after any number.
    np.testing.assert_allclose(states[1:], np.stack([clean] * len(states[1:])), atol=2e-5)


@pytest.mark.usefixtures('unchecked_types')
def test_diffusion_goes_down_evenly_and_tells_the_network_its_level():
    noisy = normal(0, 2, 4, 4, 1)

    def estimate(image, level):
        """An estimate that depends on both, so that a wrong level shows."""
        return 0.5 * image + level[:, None, None, None] / 500

    states = _ddim(
        lambda image, level: estimate(image, level.astype(jnp.float32)), jnp.asarray(noisy)
    )
    signals, noises = (weights.astype(np.float64) for weights in signal_and_noise())
    for count, state in zip(quality.EVALUATIONS, states, strict=True):
        image = noisy.astype(np.float64)
        levels = [round(LEVEL * (count - index) / count) for index in range(count)]
        # Song et al. 2021, Eq. 12 with sigma = 0; the last step ends at the clean image.
        for index, level in enumerate(levels):
            found = estimate(image, np.full(2, level))
            image = (image - noises[level] * found) / signals[level]
            if index + 1 < count:
                lower = levels[index + 1]
                image = signals[lower] * image + noises[lower] * found
        np.testing.assert_allclose(state, image, atol=1e-4, err_msg=str(count))


def test_flops_are_those_of_one_image(monkeypatch):
    product = jax.jit(lambda x: x @ x).lower(jnp.ones((8, 8))).compile()
    if 'flops' not in (product.cost_analysis() or {}):
        pytest.skip('XLA counts no FLOPs here')
    monkeypatch.setitem(SIZES, 'small', Size(1, 2, 8))
    # Flax adds biases to products of another rank.
    with jax.numpy_rank_promotion('allow'):
        setup = set_up(small_config(model__name='feedforward'), Moments((0.5,), (0.25,)), 10)
        params, stats = setup.initial.params, setup.initial.stats
        two, eight = (
            quality._flops(setup.graphdef, params, stats, normal(0, count, 8, 8, 1))
            for count in (2, 8)
        )
    # A product alone takes two for each of its weights and each of the four tokens.
    weights = sum(leaf.size for leaf in jax.tree.leaves(params) if leaf.ndim == 2)
    assert two > 2 * 4 * weights
    # What is computed once for all images is small.
    assert two == pytest.approx(eight, rel=0.2)


@pytest.mark.parametrize(
    ('level', 'added', 'marked'),
    # Diffusion is trained on levels below three times `level + 1`.
    [(20, ['gaussian 20'], [49]), (99, [], [49, 199, 299]), (199, [], [49, 99, 299])],
)
def test_the_noise_of_training_is_measured_and_true_levels_are_trained_ones(level, added, marked):
    kinds = quality._kinds(level)
    assert kinds == [*CORRUPTIONS, *added]
    rows = [row for kind in kinds for row in quality._at_true_level(kind, level).items()]
    assert rows == [(f'gaussian {true}, told', true) for true in marked]
