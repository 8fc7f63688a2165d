from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from contrastive_jax.errors import UserError
from studies import push as study
from studies.push import Treatment, of_batch, pushes
from tests.helpers import small_config

M, TEMPERATURE = 12, 0.3
ARMS = {
    'simclr': Treatment(),
    'removal': Treatment('difficult', remove=True),
    'combined': Treatment('difficult', margin=0.2, temperature_scale=0.7),
    'margin_all': Treatment('all', margin=0.2),
}


@pytest.fixture(autouse=True)
def _promotion():
    """A study promotes types and ranks, as JAX does unless told otherwise."""
    with jax.numpy_rank_promotion('allow'), jax.numpy_dtype_promotion('standard'):
        yield


def _unit(seed, d=4):
    rows = np.random.default_rng(seed).normal(size=(M, d))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _difficult():
    mask = np.random.default_rng(5).uniform(size=(M, M)) < 0.3
    own = np.arange(M)
    mask[own, own] = mask[own, (own + M // 2) % M] = False
    return mask


@pytest.mark.parametrize('arm', ARMS)
def test_a_push_is_the_softmax_over_its_temperature(arm):
    """`w_ik / (tau rho^p_ik)`, in float64 and without a derivative."""
    similarity, treated, chosen = _unit(0) @ _unit(0).T, _difficult(), ARMS[arm]
    temperature = TEMPERATURE * np.where(treated, chosen.temperature_scale, 1.0)
    weight = np.exp((similarity + chosen.margin * treated) / temperature)
    weight[np.eye(M, dtype=bool) | (treated & chosen.remove)] = 0
    expected = weight / weight.sum(axis=1, keepdims=True) / temperature
    own = np.arange(M)
    positive = (own + M // 2) % M
    mean = np.mean(np.log(weight.sum(axis=1)) - similarity[own, positive] / TEMPERATURE)
    expected[own, positive] = 0
    value, found = pushes(
        jnp.asarray(similarity, jnp.float32),
        jnp.asarray(treated, jnp.float32),
        temperature=TEMPERATURE,
        remove=chosen.remove,
        margin=chosen.margin,
        temperature_scale=chosen.temperature_scale,
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert float(value) == pytest.approx(mean, rel=1e-5)


@pytest.mark.ci
def test_the_table_tells_what_an_arm_does():
    features, embeddings = (jnp.asarray(_unit(seed), jnp.float32) for seed in (1, 2))
    labels = jnp.arange(M // 2) % 2
    band = {'pos_high': 0.1, 'pos_low': 0.5}
    columns, (of_difficult, of_all) = of_batch(
        (features, embeddings), labels, ARMS, band, TEMPERATURE
    )
    push, difficult, one_class, angle, error = np.array([columns[arm] for arm in ARMS]).T
    # The loss whose gradient is taken is the one that is trained with.
    assert error.max() < 1e-5
    assert push[0] == 1
    assert angle[0] == pytest.approx(0, abs=0.1)
    assert angle[1:3].min() > 1
    # A margin on all negatives weighs each of them as much more: the push grows, its shares stay.
    assert push[3] > 1.01
    assert [difficult[3], one_class[3]] == pytest.approx([difficult[0], one_class[0]], rel=0.02)
    assert difficult[1] == 0
    assert difficult[2] > difficult[0] > 0
    assert np.all((one_class > 0) & (one_class < 1))
    # Of the five other images two are of the anchor's class.
    assert float(of_all) == pytest.approx(0.4)
    assert 0 <= float(of_difficult) <= 1


def test_a_denoiser_is_refused(tmp_path, monkeypatch):
    construction = SimpleNamespace(split=SimpleNamespace(labels=None))
    run = SimpleNamespace(config=small_config(model__name='energy'), construction=construction)
    monkeypatch.setattr(study, 'load_run', lambda workdir: run)
    with pytest.raises(UserError, match=r'holds a denoiser \(energy\), but pairs'):
        study.measure(tmp_path, 1)
