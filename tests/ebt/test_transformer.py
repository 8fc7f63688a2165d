import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from contrastive_jax.ebt.section import SIZES, Size
from contrastive_jax.ebt.thinking import think
from contrastive_jax.ebt.transformer import EnergyTransformer, patches, unpatch
from contrastive_jax.models import Context

pytestmark = pytest.mark.usefixtures('any_rank')
TINY = Size(1, 2, 8)
RNG = np.random.default_rng(0)
FIRST, SECOND = (jnp.asarray(RNG.normal(size=(3, 4, 5)), jnp.float32) for _ in range(2))


def energy_of(stir=1.0, **options):
    """A transformer whose parameters, zeros too, have been stirred."""
    model = EnergyTransformer(5, TINY, ctx=Context(nnx.Rngs(0)), **options)
    graphdef, params = nnx.split(model, nnx.Param)
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    stirred = [
        leaf + stir * 0.3 * jax.random.normal(key, leaf.shape)
        for leaf, key in zip(leaves, keys, strict=True)
    ]
    return nnx.merge(graphdef, jax.tree.unflatten(tree, stirred))


@pytest.mark.ci
def test_the_energy_is_zero_at_first_and_one_number_a_sample():
    energy = energy_of(stir=0.0, segments=2)(FIRST, SECOND)
    np.testing.assert_array_equal(energy, np.zeros(3, np.float32))
    assert energy_of()(FIRST).shape == (3,)


@pytest.mark.ci
def test_two_segments_have_no_order():
    model = energy_of(segments=2)
    np.testing.assert_allclose(model(FIRST, SECOND), model(SECOND, FIRST), rtol=2e-5)
    # That is not because it sees nothing.
    assert np.abs(model(FIRST, SECOND) - model(FIRST, FIRST)).min() > 1e-3


def test_of_the_second_segment_they_have_one():
    model = energy_of(segments=2, of_second=True)
    assert np.abs(model(FIRST, SECOND) - model(SECOND, FIRST)).min() > 1e-3


def test_places_of_tokens_matter():
    model = energy_of()
    assert np.abs(model(FIRST) - model(FIRST[:, ::-1])).min() > 1e-4


@pytest.mark.newest
def test_samples_are_alone_in_energy_and_in_thinking():
    model = energy_of(segments=2)
    changed = SECOND.at[1].add(1.0)
    for inputs in (SECOND, changed):
        thought = think(lambda y: model(FIRST, y), inputs, steps=2, step_size=0.5)
        alone = think(lambda y: model(FIRST[:1], y), inputs[:1], steps=2, step_size=0.5)
        np.testing.assert_allclose(thought.trajectory[:, :1], alone.trajectory, atol=1e-6)
        np.testing.assert_allclose(thought.energies[:, :1], alone.energies, atol=1e-6)


@pytest.mark.slow
def test_it_is_smooth_twice():
    """Second derivatives along a line agree with differences of first ones."""
    model = energy_of()
    direction = jnp.asarray(RNG.normal(size=FIRST.shape), jnp.float32)

    def slope(t):
        return jax.grad(lambda t: jnp.sum(model(FIRST + t * direction)))(t)

    numeric = (slope(1e-2) - slope(-1e-2)) / 2e-2
    np.testing.assert_allclose(jax.grad(slope)(0.0), numeric, rtol=2e-2)


def test_the_step_size_is_learned_in_the_log_and_clipped():
    model = energy_of(stir=0.0, step_size=2.0)
    size, clipped = model.step_size(4)
    np.testing.assert_allclose([size, clipped], [8.0, 0.0])
    model.log_step[...] = jnp.float32(0.1)
    np.testing.assert_allclose(model.step_size(4)[0], 8 * np.exp(0.3), rtol=1e-6)
    model.log_step[...] = jnp.float32(-5.0)
    np.testing.assert_allclose(model.step_size(4), [8 / 16, 1.0], rtol=1e-6)


@pytest.mark.parametrize('side', [1, 2, 4])
def test_patches_are_cut_and_put_back(side):
    images = jnp.arange(2 * 8 * 8 * 3, dtype=jnp.float32).reshape(2, 8, 8, 3)
    tokens = patches(images, side)
    assert tokens.shape == (2, (8 // side) ** 2, side * side * 3)
    np.testing.assert_array_equal(tokens[0, 1, :3], images[0, 0, side])
    np.testing.assert_array_equal(unpatch(tokens, side), images)
    with pytest.raises(ValueError, match='multiple of 3'):
        patches(images, 3)


def test_sizes():
    assert {'small', 'base'} <= SIZES.keys()
    assert SIZES['small'].width < SIZES['base'].width
