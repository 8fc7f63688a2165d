"""The gradient made in the forward pass, against the same losses differentiated by JAX.

Axes: b images, m = 2b rows (view 1, then view 2), d and k dimensions, n rows of a queue.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from contrastive_jax.numerics import map_anchors
from contrastive_jax.objectives import (
    DifficultBand,
    _compare,
    difficult_band,
    info_nce,
    nt_xent,
    queue_band,
)
from tests.marks import in_ci
from tests.objectives.checks import normal, quick_jit
from tests.objectives.test_losses import LOSSES, TEMPERATURE, assert_close, batch

BAND = {'pos_high': 0.1, 'pos_low': 0.6}


def queue(z, features, labels, **options):
    """The gradient of the queries, which are no rows of the comparison."""
    rows = jnp.asarray(normal(8, 16, 5))
    pairs = queue_band(features, rows, **BAND, **options)
    return info_nce(z, features, rows, temperature=TEMPERATURE, pairs=pairs, margin=0.2, **options)


CASES = {**LOSSES, 'queue': queue}


def differentiated_by_jax(function, common, anchors, per_anchor, shared, n, block_size):
    """What `mean_with_gradient` returns, without a rule of its own."""

    def of_anchor(inputs):
        anchor, own = inputs
        return function(common, anchor, own, shared)

    values, statistics = map_anchors(of_anchor, (anchors, per_anchor), n, block_size)
    return jnp.mean(values), statistics


def by_jax(function, *arguments):
    """Calls a function whose losses JAX differentiates."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_compare, 'mean_with_gradient', differentiated_by_jax)
        return function(*arguments)


# The other losses have gradients of references, and blocks that change nothing.
_OFTEN = [('combined', 7), ('queue', None), ('supervised', None)]
_RARELY = [case for case in itertools.product(CASES, [None, 7]) if case not in _OFTEN]


@pytest.mark.parametrize(('name', 'block_size'), [*_OFTEN, *in_ci(*_RARELY)])
def test_equals_the_gradient_of_jax(name, block_size):
    loss = functools.partial(CASES[name], block_size=block_size)

    def compiled():
        # A function of its own each time, so that JAX traces it again.
        return quick_jit(jax.value_and_grad(lambda *inputs: loss(*inputs), has_aux=True))

    assert_close(compiled()(*batch()), by_jax(compiled(), *batch()), rtol=2e-6)


def learnt(numbers, z, features, axis_name=None):
    temperature, margin, scale = numbers
    pairs = difficult_band(features, **BAND, axis_name=axis_name)
    return nt_xent(
        z,
        temperature=temperature,
        pairs=pairs,
        margin=margin,
        temperature_scale=scale,
        axis_name=axis_name,
        block_size=2,
    )[0]


NUMBERS = tuple(map(jnp.float32, (0.3, 0.2, 0.7)))


def test_learnt_numbers_have_their_gradient():
    z, features, _ = batch()
    found = quick_jit(jax.grad(learnt))(NUMBERS, z, features)
    exact = by_jax(quick_jit(jax.grad(lambda *inputs: learnt(*inputs))), NUMBERS, z, features)
    np.testing.assert_allclose(found, exact, rtol=1e-5)
    assert np.all(np.abs(np.asarray(exact)) > 1e-3)


@pytest.mark.parametrize('check_vma', [True, False])
def test_learnt_numbers_have_their_gradient_over_devices(check_vma):
    z, features, _ = batch()
    exact = quick_jit(jax.grad(learnt))(NUMBERS, z, features)

    def gradient(numbers, z, features):
        found = jax.grad(functools.partial(learnt, axis_name='devices'))(numbers, z, features)
        return jax.lax.pmean(found, 'devices')

    mapped = jax.shard_map(
        gradient,
        mesh=jax.make_mesh((4,), ('devices',), axis_types=(jax.sharding.AxisType.Auto,)),
        in_specs=(P(), P('devices'), P('devices')),
        out_specs=P(),
        check_vma=check_vma,
    )
    order = np.arange(24).reshape(2, 4, 3).transpose(1, 0, 2).reshape(-1)
    found = quick_jit(mapped)(NUMBERS, z[order], features[order])
    np.testing.assert_allclose(found, exact, rtol=2e-5)


def test_second_derivatives_equal_those_of_jax():
    z, features, _ = batch(b=3)

    def norm_of_gradient(z):
        return jnp.sum(jnp.square(jax.grad(learnt, argnums=1)(NUMBERS, z, features)))

    found = quick_jit(jax.grad(norm_of_gradient))(z)
    exact = by_jax(quick_jit(jax.grad(lambda z: norm_of_gradient(z))), z)
    np.testing.assert_allclose(found, exact, atol=1e-5 * np.max(np.abs(exact)), rtol=0)


def test_forward_mode_is_refused():
    z, features, _ = batch(b=3)
    with pytest.raises(TypeError, match='forward-mode'):
        jax.jvp(lambda z: learnt(NUMBERS, z, features), (z,), (z,))


@pytest.mark.parametrize('name', ['combined', 'supervised', 'queue'])
def test_vmap_equals_a_loop(name):
    batches = [batch()[:2], tuple(-rows[::-1] for rows in batch()[:2])]
    gradient = jax.grad(lambda z, features: CASES[name](z, features, batch()[2])[0])
    found = quick_jit(jax.vmap(gradient))(*map(jnp.stack, zip(*batches, strict=True)))
    for one, rows in zip(found, batches, strict=True):
        exact = quick_jit(gradient)(*rows)
        np.testing.assert_allclose(one, exact, atol=2e-6 * np.max(np.abs(exact)), rtol=0)


def test_thresholds_given_select_what_ranks_do():
    z, features, _ = batch()
    band = difficult_band(features, **BAND)
    gradient = jax.value_and_grad(functools.partial(nt_xent, temperature=0.3), has_aux=True)
    by_ranks, by_thresholds = (
        quick_jit(functools.partial(gradient, pairs=pairs, margin=0.2))(z)
        for pairs in (band, DifficultBand(*band))
    )
    assert_close(by_thresholds, by_ranks, rtol=2e-6)
    # Other thresholds count: a band that is rebuilt has no ranks.
    everything = band._replace(high=band.high + 9, low=band.low - 9)
    _, metrics = nt_xent(z, temperature=0.3, pairs=everything)
    assert metrics['selected_share'] == 1


@pytest.mark.parametrize('block_size', [256, 1024])
def test_products_are_computed_once(block_size):
    """`n^2 k` once and `n^2 d` three times, in the whole of selection, loss and gradient."""
    n, d, k = 1024, 128, 512

    def treated(z, features):
        band = difficult_band(features, **BAND, block_size=block_size)
        return nt_xent(z, temperature=0.2, pairs=band, margin=0.1, block_size=block_size)[0]

    shapes = [jax.ShapeDtypeStruct((n, size), jnp.float32) for size in (d, k)]
    analysis = jax.jit(jax.grad(treated)).lower(*shapes).compile().cost_analysis()
    # The body of the loop over blocks counts once.
    floor = 2 * n * block_size * (k + 3 * d)
    assert floor < analysis['flops'] < 1.1 * floor
