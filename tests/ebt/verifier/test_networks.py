from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from contrastive_jax.ebt.verifier import fitting, infer
from contrastive_jax.ebt.verifier.drawing import draw_pairs
from contrastive_jax.ebt.verifier.networks import NETWORKS, Encoded, make_verifier
from contrastive_jax.ebt.verifier.pairs import Pairs
from contrastive_jax.errors import UserError
from contrastive_jax.models import Context
from contrastive_jax.numerics import unit_rows
from contrastive_jax.training import init_state
from contrastive_jax.training.watch import Watch
from tests.objectives.checks import normal


def _encoded(seed):
    return Encoded(unit_rows(jnp.asarray(normal(seed, 3, 6))), jnp.asarray(normal(seed, 3, 4, 5)))


A, B = _encoded(0), _encoded(1)


def _untrained(name):
    return make_verifier(name, A, 0.5, Context(nnx.Rngs(jax.random.key(0))))


def _verifier(name, seed=None):
    graphdef, params, _ = nnx.split(_untrained(name), nnx.Param, ...)
    if seed is not None:
        leaves, tree = jax.tree.flatten(params)
        rng = np.random.default_rng(seed)
        moved = [leaf + 0.3 * rng.standard_normal(leaf.shape).astype(np.float32) for leaf in leaves]
        params = jax.tree.unflatten(tree, moved)
    return nnx.merge(graphdef, params)


@pytest.mark.parametrize('name', NETWORKS)
def test_at_first_the_ranking_is_the_cosines(name):
    verifier = _verifier(name)
    np.testing.assert_array_equal(verifier.residual(A, B), np.zeros(3))
    cosine = np.sum(np.asarray(A.unit) * np.asarray(B.unit), axis=1)
    np.testing.assert_allclose(verifier.cosine_energy(A, B), -2 * cosine, rtol=1e-5)


@pytest.mark.parametrize('name', NETWORKS)
def test_the_order_of_a_pair_does_not_matter(name):
    verifier = _verifier(name, seed=2)
    there, back = verifier.residual(A, B), verifier.residual(B, A)
    assert np.std(there) > 1e-3
    np.testing.assert_allclose(there, back, rtol=2e-5, atol=1e-6)


def test_thinking_lowers_the_energy_and_none_changes_nothing():
    verifier = _verifier('transformer', seed=3)
    graphdef, params, _ = nnx.split(verifier, nnx.Param, ...)
    # So flat that no step goes too far.
    head = params['network']['transformer']['head']
    head[...] = 0.0003 * head[...]
    fitted = fitting.Fitted(graphdef, params, {}, 0)
    i, j = np.array([0, 1, 2]), np.array([2, 0, 1])
    found = infer.pair_energies(fitted, A, B, i, j, steps=2)
    assert np.all(found.gain[0] == 0)
    assert np.all(found.motion[0] == 0)
    assert np.all(np.diff(found.gain, axis=0) > 0)
    assert np.all(found.motion[1:] > 0)
    plain = infer.pair_energies(fitted, A, B, i, j)
    np.testing.assert_allclose(plain.energy, found.energy, rtol=1e-5, atol=1e-6)


def test_negatives_are_others_those_of_the_band_first():
    rng = np.random.default_rng(0)
    partners = np.stack([(np.arange(30) + shift) % 30 for shift in range(1, 9)], axis=1)
    pairs = Pairs(np.arange(30), partners, np.zeros((30, 8), np.float32))
    drawn = draw_pairs(rng, pairs, 30)
    assert len(set(drawn.anchors.tolist())) == len(drawn.anchors) == 16
    hard = drawn.negatives[:, :4]
    assert np.all(np.isin((hard - drawn.anchors[:, None]) % 30, np.arange(1, 9)))
    assert all(len(set(row)) == 4 for row in hard.tolist())
    assert not np.any(drawn.negatives == drawn.anchors[:, None])
    np.testing.assert_array_equal(drawn.positives, drawn.anchors)


@pytest.mark.parametrize('partners', [1, 3, 8])
def test_no_image_is_positive_and_negative_at_once(partners):
    rng, n = np.random.default_rng(0), 12
    band = (np.arange(n)[:, None] + np.arange(1, partners + 1)) % n
    pairs = Pairs(np.arange(n), band, np.zeros(band.shape, np.float32))
    # Neighbours are in the band, and are drawn as negatives of the whole data set too.
    neighbours = (np.arange(n)[:, None] + [1, 2]) % n, np.ones((n, 2), bool)
    for _ in range(50):
        drawn = draw_pairs(rng, pairs, n, neighbours)
        assert not np.any(drawn.negatives == drawn.positives[:, None])
        assert not np.any(drawn.negatives == drawn.anchors[:, None])
        assert drawn.negatives.shape == (n, min(partners, 4) + 2)
        if partners == 8:
            assert np.all((drawn.negatives[:, :4] - drawn.anchors[:, None]) % n <= 8)


def test_positives_are_mutual_neighbours_or_the_anchor_itself():
    rng = np.random.default_rng(0)
    pairs = Pairs(np.arange(30), (np.arange(30)[:, None] + 9) % 30, np.zeros((30, 1), np.float32))
    nearest = (np.arange(30)[:, None] + [1, 2, 3]) % 30
    # Of even images the second and the third are mutual, of odd ones none is.
    mutual = (np.arange(30)[:, None] % 2 == 0) & np.array([[False, True, True]])
    for _ in range(5):
        drawn = draw_pairs(rng, pairs, 30, (nearest, mutual))
        steps, even = (drawn.positives - drawn.anchors) % 30, drawn.anchors % 2 == 0
        assert set(steps[even]) == {2, 3}
        assert set(steps[~even]) == {0}


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'loss': np.nan}, 'perceptron, step 12: loss=nan'),
        ({'nonfinite_inner_step': 1.0}, 'perceptron, step 12.*inner step 1 of thinking'),
    ],
)
def test_what_is_not_finite_is_named_with_its_step(change, message):
    good = {'loss': 1.0, 'gradient_norm': 1.0, 'nonfinite_inner_step': -1.0}
    fine = {'transformer': good, 'perceptron': good}
    seen = []
    watch = Watch(lambda step, verifiers: seen.append(fitting._checked(step, verifiers)))
    for step in (10, 11):
        watch.add(step, fine)
    watch.check_all()
    assert seen == [fine, fine]
    watch.add(12, fine | {'perceptron': good | change})
    with pytest.raises(UserError, match=message):
        watch.check_all()


def _batch(anchors=4, partners=4):
    """Anchors, each with a positive that is nearly itself, negatives, and a mixture."""
    tokens = normal(7, anchors, partners + 2, 4, 5)
    unit = normal(8, anchors, partners + 2, 6)
    for array in (tokens, unit):
        array[:, 1] = array[:, 0] + 0.1 * array[:, 1]
        array[:, -1] = (array[:, 1] + array[:, 2]) / 2
    mixing = jnp.full(anchors, 0.5)
    return Encoded(unit_rows(jnp.asarray(unit)), jnp.asarray(tokens)), mixing


@pytest.mark.parametrize(
    ('name', 'thinking', 'steps'),
    [('perceptron', False, 60), pytest.param('transformer', True, 200, marks=pytest.mark.slow)],
)
def test_training_finds_the_positives(name, thinking, steps):
    encoded, mixing = _batch()
    optimizer, key = fitting._optimizer(steps), jax.random.key(0)
    build = partial(make_verifier, name, A, 0.5)
    graphdef, state = init_state(build, optimizer, model_key=key, run_key=key)
    step = jax.jit(fitting._make_step(graphdef, thinking, optimizer))
    losses = []
    for _ in range(steps):
        state, metrics = step(state, (encoded, mixing))
        losses.append(float(metrics['nce']))
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    assert int(metrics['nonfinite_inner_step']) == -1
    assert (float(metrics['thinking']) > 0) == thinking
