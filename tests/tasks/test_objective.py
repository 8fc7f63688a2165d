"""The objective that a config describes, against losses with the numbers written out here.

Axes: m rows, n rows of the queue, k features, d embedding.
"""

from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest

from contrastive_jax import objectives
from contrastive_jax.tasks import moco
from contrastive_jax.tasks.objective import make_objective
from tests.helpers import small_config
from tests.objectives import references
from tests.objectives.checks import normal, quick_jit

M, N = 12, 16
# All different and no defaults, so that no number can stand for another one.
NUMBERS = {
    'loss__temperature': 0.23,
    'loss__mu': 1.7,
    'loss__tau_plus': 0.13,
    'loss__beta': 1.9,
    'pairs__pos_high': 0.2,
    'pairs__pos_low': 0.6,
    'pairs__margin': 0.17,
    'pairs__temperature_scale': 0.83,
}
# An arm takes its strengths from the numbers above, and leaves out those that it does not apply.
ARMS = {
    'simclr': {},
    'removal': {'pairs': 'band', 'remove': True},
    'margin': {'pairs': 'band', 'margin': 0.17},
    'temperature': {'pairs': 'band', 'temperature_scale': 0.83},
    'combined': {'pairs': 'band', 'margin': 0.17, 'temperature_scale': 0.83},
    'margin_all': {'pairs': 'all', 'margin': 0.17},
    'temperature_all': {'pairs': 'all', 'temperature_scale': 0.83},
}
# The function of each loss, its numbers, and what else its config sets.
TREATED = {
    'nt_xent': (objectives.nt_xent, {'temperature': 0.23}, {'loss__name': 'nt_xent'}),
    'info_nce': (objectives.info_nce, {'temperature': 0.23}, {'moco__queue_size': N}),
    'spectral': (objectives.spectral, {'mu': 1.7}, {'loss__name': 'spectral'}),
}
UNTREATED = {
    'debiased': (objectives.debiased, {'temperature': 0.23, 'tau_plus': 0.13}, {}),
    'hard_negative': (
        objectives.hard_negative,
        {'temperature': 0.23, 'tau_plus': 0.13, 'beta': 1.9},
        {},
    ),
    'decoupled': (objectives.decoupled, {'temperature': 0.23}, {}),
    'decoupled, weighted': (
        objectives.decoupled,
        {'temperature': 0.23, 'weight_temperature': 0.41},
        {'loss__weight_temperature': 0.41},
    ),
    'supervised': (objectives.supervised, {'temperature': 0.23}, {}),
}


def _rows():
    """Features `[m, k]`, embeddings `[m, d]` and labels `[m]`.

    Features and embeddings have one shape, so that one in place of the other is no error. The
    views of an image are no closer than others: the correction of `debiased` is above its floor.
    """
    return normal(0, M, 5), normal(1, M, 5), np.tile(np.arange(M // 2) % 3, 2)


def _objective(config, **negatives):
    """Loss and metrics of a config on these rows."""
    rows = map(jnp.asarray, _rows())
    return quick_jit(partial(make_objective(config), **negatives))(*rows)


def _keys_and_queue():
    """Keys `[m, d]`, and a queue of n rows."""
    keys, features, embeddings = (
        jnp.asarray(normal(seed, rows, 5)) for seed, rows in ((3, M), (4, N), (5, N))
    )
    return keys, moco.Queue(features, embeddings, jnp.arange(N) % 4)


def test_pairs_are_selected_by_features_and_compared_by_embeddings():
    features, embeddings, labels = _rows()
    config = small_config(arm='combined', **NUMBERS)
    value, metrics = _objective(config)
    by_features, by_embeddings = (
        references.difficult_pairs(rows, 0.2, 0.6) for rows in (features, embeddings)
    )
    assert (by_features != by_embeddings).any()
    exact = references.nt_xent(embeddings, 0.23, by_features, margin=0.17, temperature_scale=0.83)
    np.testing.assert_allclose(value, exact, rtol=1e-5)
    share = references.different_class_share(by_features, labels)
    assert share != references.different_class_share(by_embeddings, labels)
    np.testing.assert_allclose(metrics['different_class_share'], share, rtol=1e-6)


@pytest.mark.parametrize(
    ('arm', 'name'),
    [
        *((arm, 'nt_xent') for arm in ARMS),
        # Two arms have all numbers.
        *((arm, name) for arm in ('removal', 'combined') for name in ('info_nce', 'spectral')),
    ],
)
def test_each_arm_has_the_numbers_of_the_config(arm, name):
    loss, numbers, changes = TREATED[name]
    config = small_config(arm=arm, **NUMBERS, **changes)
    features, embeddings = map(jnp.asarray, _rows()[:2])
    if name == 'info_nce':
        keys, queue = _keys_and_queue()
        value, _ = _objective(config, keys=keys, queue=queue)
        inputs = embeddings, keys, queue.embeddings
        select = partial(objectives.queue_band, queue=queue.features)
    else:
        value, _ = _objective(config)
        inputs, select = (embeddings,), objectives.difficult_band

    def expected(features, *inputs):
        treatment = dict(ARMS[arm])
        if treatment.get('pairs') == 'band':
            treatment['pairs'] = select(features, pos_high=0.2, pos_low=0.6)
        return loss(*inputs, **numbers, **treatment)[0]

    np.testing.assert_allclose(value, quick_jit(expected)(features, *inputs), rtol=1e-5)


@pytest.mark.parametrize('name', UNTREATED)
def test_each_loss_without_treatment_has_the_numbers_of_the_config(name):
    loss, numbers, changes = UNTREATED[name]
    config = small_config(loss__name=name.split(',')[0], arm='simclr', **NUMBERS, **changes)
    value, _ = _objective(config)
    _, embeddings, labels = map(jnp.asarray, _rows())
    if loss is objectives.supervised:
        numbers = numbers | {'labels': labels}
    exact, _ = quick_jit(partial(loss, **numbers))(embeddings)
    np.testing.assert_allclose(value, exact, rtol=1e-5)
